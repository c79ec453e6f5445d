"""`simulate`: the one verb from mesh to signal."""

from __future__ import annotations

from torch import Tensor

from ..acquisition import Acquisition
from ..errors import InputError
from ..mesh import TetMesh
from ..mesh.validate import require_valid
from .matrix_formalism import MatrixFormalism
from .tissue import Tissue


def simulate(
    mesh: TetMesh, tissue: Tissue, acquisition: Acquisition, *, solver: MatrixFormalism | None = None
) -> Tensor:
    r"""Simulate the diffusion MRI signal of a mesh with reflecting walls.

    Solves the Bloch–Torrey equation ∂M/∂t = ∇·D∇M − M/T2 − i q(t)·x M with M(0) = 1 and integrates ρM at the
    echo.

    Parameters
    ----------
    mesh : TetMesh
        One compartment, µm. Gradients flow to `mesh.vertices`.
    tissue : Tissue
        Gradients flow to diffusivity, T2 and spin density.
    acquisition : Acquisition
        N measurements. Gradients flow to the gradient vectors.
    solver : MatrixFormalism, optional
        How to solve; matrix formalism to an estimated truncation error of 1e-4 by default.

    Returns
    -------
    (N,) complex Tensor
        ∫ρM dx at the echo time, µm³.

    Raises
    ------
    InputError
        When the mesh has several compartments.
    MeshError
        When the mesh has inverted or degenerate tets, or disconnected parts.

    Warns
    -----
    AccuracyWarning
        When the cut or the mesh is too coarse for the gradients, with the number.
    """
    if mesh.n_compartments > 1:
        raise InputError(f"mesh: {mesh.n_compartments} compartments, this version simulates one")
    require_valid(mesh)
    return (solver or MatrixFormalism()).signal(mesh, tissue, acquisition)
