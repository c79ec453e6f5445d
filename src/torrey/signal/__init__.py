"""From a mesh and a protocol to signals. Lengths in µm, times in ms, signals in µm³."""

from .bloch_torrey import BlochTorrey as BlochTorrey
from .matrix_formalism import MatrixFormalism as MatrixFormalism
from .simulate import simulate as simulate
from .tissue import Tissue as Tissue
from .tissue_file import read_tissue as read_tissue
