"""Torrey: differentiable diffusion MRI in PyTorch, from microstructure to connectome.

Lengths in µm, times in ms, b-values in s/mm², gradients in mT/m, diffusivities in µm²/ms, signals in µm³. In
`tractography` lengths and positions are in mm, the latter in world RAS+.

Names are imported on first use: PyTorch takes seconds to load, which `torrey --help` should not cost.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import acquisition as acquisition
    from . import errors as errors
    from . import inverse as inverse
    from . import mesh as mesh
    from . import report as report
    from . import shape as shape
    from . import signal as signal
    from . import tractography as tractography
    from .acquisition import Acquisition as Acquisition
    from .inverse import metrics as metrics
    from .inverse.reconstruct import reconstruct as reconstruct
    from .mesh import TetMesh as TetMesh
    from .mesh import read_mesh as read_mesh
    from .mesh import write_mesh as write_mesh
    from .signal import BlochTorrey as BlochTorrey
    from .signal import MatrixFormalism as MatrixFormalism
    from .signal import Tissue as Tissue
    from .signal.simulate import simulate as simulate
    from .signal.simulate import simulate_batch as simulate_batch
    from .signal.simulate import simulate_compartments as simulate_compartments

    __version__: str

_HOMES = {
    "Acquisition": "acquisition",
    "BlochTorrey": "signal",
    "MatrixFormalism": "signal",
    "TetMesh": "mesh",
    "Tissue": "signal",
    "read_mesh": "mesh",
    "reconstruct": "inverse",
    "simulate": "signal",
    "simulate_batch": "signal",
    "simulate_compartments": "signal",
    "write_mesh": "mesh",
}
"""The public names and the package each lives in."""

_MODULES = {
    "acquisition": ".acquisition",
    "errors": ".errors",
    "inverse": ".inverse",
    "mesh": ".mesh",
    "metrics": ".inverse.metrics",
    "report": ".report",
    "shape": ".shape",
    "signal": ".signal",
    "tractography": ".tractography",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name], __name__)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("torrey")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_HOMES, *_MODULES, "__version__"})
