r"""The apparent diffusion coefficient while spins near walls alone have felt them.

Mitra, Sen and Schwartz (Phys. Rev. B 47, 8565 (1993)) for pulses of finite duration along a direction u, as
in SpinDoctor (Li et al., NeuroImage 202, 116120 (2019)):

    ADC = D (1 − 4√D/(3√π) C A_u/V),     A_u = ∮ (u·n)² dS,
    C = 4/35 · ((Δ+δ)^{7/2} + (Δ−δ)^{7/2} − 2δ^{7/2} − 2Δ^{7/2}) / (δ²(Δ − δ/3)).

Where D is a matrix, coordinates D^{−½}x make it one: D^{3/2}A_u becomes ∮ (n·Du)²/√(n·Dn) dS.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..mesh import TetMesh
from ..mesh.compartments import split_compartments
from ..mesh.validate import require_valid
from ..units import pgse_diffusion_weighting
from .apparent_diffusion import directions
from .operators import check_compartments
from .tissue import Tissue


def short_time_diffusion(mesh: TetMesh, tissue: Tissue, acquisition: Acquisition) -> Tensor:
    """Return the short-time apparent diffusion coefficient of each compartment.

    It holds while √(DΔ) is small beside radii of curvature and the width of the compartment; beyond, it may
    be negative.

    Parameters
    ----------
    mesh : TetMesh
        One or more compartments, µm. Gradients flow to `mesh.vertices`.
    tissue : Tissue
        Gradients flow to the diffusivity. In this order of √t nothing else counts: what passes or relaxes at
        walls comes with the next one.
    acquisition : Acquisition
        N measurements with pulsed gradients, of which only direction and timings count.

    Returns
    -------
    (N, C) Tensor
        µm²/ms.

    Raises
    ------
    InputError
        When tissue and mesh differ in their compartments, a measurement has another waveform, or no gradient.
    MeshError
        As for `torrey.simulate`.
    """
    acquisition.require_pgse("short-time diffusion")
    u = directions(acquisition)
    check_compartments(mesh, tissue)
    require_valid(mesh)
    count = mesh.n_compartments
    D = tissue.diffusion_tensor.to(mesh.vertices.device).expand(count, 3, 3)
    volumes = D.new_zeros(count).index_add(0, mesh.compartments, mesh.volumes.double())
    hindrance = _hindrance(mesh, D) / volumes[:, None, None]
    delta, Delta = acquisition.small_delta.to(D), acquisition.big_delta.to(D)
    power = (Delta + delta) ** 3.5 + (Delta - delta) ** 3.5 - 2 * (delta**3.5 + Delta**3.5)
    C = 4 / 35 * power / pgse_diffusion_weighting(delta, Delta)
    tensors = D - 4 / (3 * math.sqrt(math.pi)) * C[:, None, None, None] * hindrance
    u = u.to(D)
    return torch.einsum("ni,ncij,nj->nc", u, tensors, u)


def _hindrance(mesh: TetMesh, D: Tensor) -> Tensor:
    """Return ∮ (Dn)(Dn)ᵀ/√(n·Dn) dS (C, 3, 3) over all faces of each compartment."""
    split = split_compartments(mesh)
    triangles = torch.cat([split.walls, split.interfaces.flatten(0, 1)])
    owner = torch.cat([split.wall_compartments, split.sides.flatten()])
    a, b, c = mesh.vertices.double()[split.parent[triangles]].unbind(1)
    area = torch.linalg.cross(b - a, c - a) / 2
    across = torch.einsum("fij,fj->fi", D[owner], area)
    each = across[:, :, None] * across[:, None] / (area * across).sum(1).sqrt()[:, None, None]
    return torch.zeros_like(D).index_add(0, owner, each)
