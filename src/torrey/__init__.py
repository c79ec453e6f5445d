"""Torrey: differentiable diffusion MRI in PyTorch, from a measured signal to the shape that made it.

Lengths in µm, times in ms, b-values in s/mm², gradients in mT/m, diffusivities in µm²/ms, signals in µm³.
"""

from importlib.metadata import version

from .acquisition import Acquisition as Acquisition
from .mesh import TetMesh as TetMesh
from .mesh import read_mesh as read_mesh
from .mesh import write_mesh as write_mesh
from .signal import MatrixFormalism as MatrixFormalism
from .signal import Tissue as Tissue
from .signal import simulate as simulate

__version__ = version("torrey")
