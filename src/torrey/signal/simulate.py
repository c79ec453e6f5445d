"""`simulate`: the one verb from mesh to signal; that of each compartment, and of many meshes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..errors import InputError
from ..fem.blas_threads import one_blas_thread
from ..mesh import TetMesh
from ..mesh.validate import require_valid
from .bloch_torrey import BlochTorrey
from .matrix_formalism import MatrixFormalism
from .tissue import Tissue


def simulate(
    mesh: TetMesh,
    tissue: Tissue,
    acquisition: Acquisition,
    *,
    solver: MatrixFormalism | BlochTorrey | None = None,
) -> Tensor:
    r"""Simulate the diffusion MRI signal of a tissue on a mesh.

    Solves the Bloch–Torrey equation ∂M/∂t = ∇·D∇M − M/T2 − i q(t)·x M in each compartment, with M(0) = ρ, and
    integrates M at the echo. Through the interface of compartments 1 and 2 flows κ 2(ρ₂M₁ − ρ₁M₂)/(ρ₁ + ρ₂),
    through an outer boundary the surface relaxivity times M; other walls reflect. The pulses are centred in
    the echo time.

    Parameters
    ----------
    mesh : TetMesh
        One or more compartments, µm, which share vertices where they touch or have their own at the same
        points. Gradients flow to `mesh.vertices`.
    tissue : Tissue
        Gradients flow to diffusivity, T2, spin density, permeability and surface relaxivity.
    acquisition : Acquisition
        N measurements with any waveforms. Gradients flow to the gradient vectors.
    solver : MatrixFormalism or BlochTorrey, optional
        How to solve; matrix formalism to an estimated truncation error of 1e-4 by default.

    Returns
    -------
    (N,) complex Tensor
        ∫ρM dx at the echo time, µm³.

    Raises
    ------
    InputError
        When tissue and mesh differ in their compartments, or compartments with a permeability do not touch.
    MeshError
        When the mesh has inverted or degenerate tets, or disconnected parts.

    Warns
    -----
    AccuracyWarning
        When the cut or the mesh is too coarse for the gradients, with the number.
    """
    require_valid(mesh)
    # a second thread gains nothing, and on a busy machine its waiting costs several times as much
    with one_blas_thread():
        return (solver or MatrixFormalism()).signal(mesh, tissue, acquisition)


def simulate_compartments(
    mesh: TetMesh,
    tissue: Tissue,
    acquisition: Acquisition,
    *,
    solver: MatrixFormalism | BlochTorrey | None = None,
) -> Tensor:
    """Simulate the signal of each compartment, which add up to that of `simulate`.

    Each is ∫ρM over the compartment at the echo, of spins that started anywhere. Where compartments exchange,
    it is complex also for pulses that are symmetric in time: spins from elsewhere bring a phase along.

    Parameters
    ----------
    mesh, tissue, acquisition, solver
        As for `simulate`. The tolerance of a solver is that of each compartment, over S(0) of all that
        exchange. Gradients flow to the same values.

    Returns
    -------
    (N, C) complex Tensor
        µm³; the sum over compartments is that of `simulate` within the tolerances of both.

    Raises
    ------
    InputError, MeshError
        As for `simulate`.

    Warns
    -----
    AccuracyWarning
        As for `simulate`.
    """
    require_valid(mesh)
    with one_blas_thread():
        return (solver or MatrixFormalism()).compartment_signals(mesh, tissue, acquisition)


def simulate_batch(
    meshes: Sequence[TetMesh],
    tissue: Tissue | Sequence[Tissue],
    acquisition: Acquisition,
    *,
    solver: MatrixFormalism | BlochTorrey | None = None,
) -> Tensor:
    """Simulate many meshes, side by side on as many cores as PyTorch uses.

    Small meshes leave most of a second core idle when they are solved one by one; here each has a core.

    Parameters
    ----------
    meshes : sequence of B TetMesh
        Of one connectivity or of several; for `vertices` (B, V, 3), `[mesh.with_vertices(v) for v in
        vertices]`.
    tissue : Tissue or sequence of B Tissue
        One for all, or one each.
    acquisition, solver
        As for `simulate`.

    Returns
    -------
    (B, N) complex Tensor
        Signals, µm³, differentiable as those of `simulate`.

    Raises
    ------
    InputError
        When there is no mesh, or the numbers of meshes and tissues differ; and as `simulate`.
    """
    tissues = [tissue] * len(meshes) if isinstance(tissue, Tissue) else list(tissue)
    if not meshes or len(tissues) != len(meshes):
        raise InputError(
            f"simulate_batch: {len(meshes)} meshes and {len(tissues)} tissues, expected as many, at least one"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
            waiting = [
                pool.submit(simulate, mesh, own, acquisition, solver=solver)
                for mesh, own in zip(meshes, tissues, strict=True)
            ]
            try:
                return torch.stack([each.result() for each in waiting])
            finally:
                for each in waiting:
                    each.cancel()
    finally:
        torch.set_num_threads(threads)
