r"""The small matrices of matrix formalism, differentiable in the vertices and the diffusion tensor.

With Φ the kept modes, held fixed, the reduced problem of a moved mesh x is

    M_r ξ' = −(S_r + i q·J_r) ξ,   M_r = ΦᵀM(x)Φ,  S_r = ΦᵀS(x)Φ,  J_r = ΦᵀJ(x)Φ,  b_r = ΦᵀM(x)1

and, made symmetric by M_r^{−½}, the matrices S̃, J̃ and the vector ν of `ReducedModel`. They depend on the
span of Φ only, so equal eigenvalues need no care. Their derivative with Φ held fixed misses the part of dΦ
outside the span; the exact derivative of the truncated model adds it (`out_of_span`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..autodiff import pushforward
from .assembly import PairValues, assemble, assemble_adjoint
from .eigenmodes import Eigenmodes
from .geometry import ElementGeometry, element_geometry
from .out_of_span import solve_out_of_span
from .space import FunctionSpace

_GATHER = 4_000_000
"""Floats in one gathered block of node values: 32 MB."""


class ReducedModel(NamedTuple):
    """Reduced operators; leading dimensions are batches of tangents.

    Attributes
    ----------
    rates : (..., n, n) Tensor
        S̃, 1/ms: diagonal at the mesh that the modes were computed on.
    moments : (..., 3, n, n) Tensor
        J̃, µm, about the centroid.
    magnetisation : (..., n) Tensor
        ν, µm^(3/2): the uniform unit magnetisation in the modes; ν·ν is the volume.
    """

    rates: Tensor
    moments: Tensor
    magnetisation: Tensor


class ModalBasis(NamedTuple):
    """Modes of one mesh, as torch tensors on the device of its vertices.

    Attributes
    ----------
    space : FunctionSpace
        Nodes and pattern.
    modes : Eigenmodes
        As computed.
    vectors : (nodes, n) Tensor
        Φ, the kept ones.
    model : ReducedModel
        Values of the reduced operators on the mesh the modes were computed on.
    moments : (3, Z) Tensor
        Pair values of J about the centroid, µm⁴.
    centroid : (3,) Tensor
        Subtracted from positions, µm; signals do not see it.
    """

    space: FunctionSpace
    modes: Eigenmodes
    vectors: Tensor
    model: ReducedModel
    moments: Tensor
    centroid: Tensor


def modal_basis(space: FunctionSpace, modes: Eigenmodes, moments: Tensor, centroid: Tensor) -> ModalBasis:
    """Reduce the centred first `moments` (3, Z), µm⁴, to the kept modes."""
    Phi = modes.vectors[:, : modes.n_modes]
    device = moments.device
    reduced = torch.stack([torch.from_numpy(Phi.T @ (space.matrix(J) @ Phi)) for J in moments])
    start = torch.from_numpy(Phi.T @ modes.mass.sum(1))
    rates = torch.diag(torch.from_numpy(modes.values[: modes.n_modes].copy()))
    model = ReducedModel(rates.to(device), (reduced + reduced.mT).to(device) / 2, start.to(device))
    return ModalBasis(space, modes, torch.from_numpy(Phi.copy()).to(device), model, moments, centroid)


def reduced_model(
    vertices: Tensor, diffusion_tensor: Tensor, basis: ModalBasis, *, exact: bool
) -> ReducedModel:
    """Return the reduced operators as differentiable functions of `vertices` (V, 3) and D (3, 3).

    `exact` adds the out-of-span part to the derivative. Second derivatives raise.
    """
    return ReducedModel(*_Reduce.apply(vertices, diffusion_tensor, basis, exact))


def reduced_tangents(
    vertices: Tensor, diffusion_tensor: Tensor, basis: ModalBasis, displacements: Tensor
) -> ReducedModel:
    """Return the derivative of the reduced operators along `displacements` (P, V, 3), µm, with Φ held."""
    space, Phi = basis.space, basis.vectors
    tangents = assemble(space, _geometry_tangents(vertices, diffusion_tensor, basis, displacements))
    P, n = len(displacements), Phi.shape[1]
    stacked = torch.cat([tangents.mass[:, None], tangents.stiffness[:, None], tangents.moments], dim=1)
    reduced = _reduce_pairs(space, stacked.flatten(0, 1), Phi).view(P, 5, n, n)
    dM, dS, dJ = reduced[:, 0], reduced[:, 1], reduced[:, 2:]
    rates, J, start = basis.model
    return ReducedModel(
        dS - _symmetric(dM @ rates) / 2,
        dJ - _symmetric(dM[:, None] @ J) / 2,
        dM @ start / 2,
    )


class _Reduce(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, vertices: Tensor, diffusion: Tensor, basis: ModalBasis, exact: bool
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(vertices, diffusion)
        ctx.basis, ctx.exact = basis, exact
        return tuple(t.clone() for t in basis.model)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, rates: Tensor, moments: Tensor, start: Tensor) -> tuple[Tensor | None, ...]:
        vertices, diffusion = ctx.saved_tensors
        basis: ModalBasis = ctx.basis
        cotangent = _pair_cotangent(basis, ReducedModel(rates, moments, start), exact=ctx.exact)
        element = assemble_adjoint(basis.space, cotangent)
        with torch.enable_grad():
            x = vertices.detach().requires_grad_()
            D = diffusion.detach().requires_grad_()
            geometry = element_geometry(x - basis.centroid, basis.space.tets, D)
            grads = torch.autograd.grad(geometry, (x, D), element)
        return grads[0], grads[1], None, None


def _pair_cotangent(basis: ModalBasis, bar: ReducedModel, *, exact: bool) -> PairValues:
    """Pull cotangents of the reduced operators back to one value for each node pair."""
    rates, J, start = basis.model
    G_S = _symmetric(bar.rates) / 2
    G_J = _symmetric(bar.moments) / 2
    G_M = -_symmetric(rates @ G_S) / 2 - _symmetric(J @ G_J).sum(0) / 2
    G_M = G_M + _symmetric(torch.outer(bar.magnetisation, start)) / 4
    Phi, pairs = basis.vectors, basis.space.pairs
    left = torch.stack([Phi @ G for G in (G_M, G_S, *G_J)])
    if exact and not basis.modes.complete:
        X = _out_of_span(basis, left[2:])
        left[0] += X * rates.diagonal()
        left[1] -= X
    values = _sample_products(pairs, Phi, left)
    values = values * torch.where(pairs[:, 0] == pairs[:, 1], 1.0, 2.0).to(values)
    return PairValues(values[0], values[1], values[2:])


def _out_of_span(basis: ModalBasis, left: Tensor) -> Tensor:
    """Solve for the adjoint of dΦ outside the span, driven by 2 Σ_u J_u `left`_u with Φ G_u (3, nodes, n)."""
    space = basis.space
    force = sum(space.matrix(J) @ side.cpu().numpy() for J, side in zip(basis.moments, left, strict=True))
    return torch.from_numpy(solve_out_of_span(basis.modes, 2 * force)).to(left)


def _sample_products(pairs: Tensor, Phi: Tensor, left: Tensor) -> Tensor:
    """Return the symmetric part of left_k Φᵀ (K, nodes, nodes) at the node `pairs` (Z, 2) only: (K, Z)."""
    K, _, n = left.shape
    values = left.new_empty(K, len(pairs))
    step = max(1, _GATHER // n)
    for start in range(0, len(pairs), step):
        i, j = pairs[start : start + step].unbind(1)
        Phi_i, Phi_j = Phi[i], Phi[j]
        for k in range(K):
            both = torch.einsum("zn,zn->z", left[k][i], Phi_j) + torch.einsum("zn,zn->z", left[k][j], Phi_i)
            values[k, start : start + step] = both / 2
    return values


def _reduce_pairs(space: FunctionSpace, values: Tensor, Phi: Tensor) -> Tensor:
    """Return ΦᵀA_kΦ (K, n, n) for symmetric sparse matrices with pair `values` (K, Z).

    A row of all K matrices has one pattern, so that A_kΦ is a small dense product a row: twice as fast as K
    sparse products.
    """
    basis = Phi.cpu().numpy()
    n = basis.shape[1]
    entries = np.ascontiguousarray(values.cpu().numpy().T)
    reduced = np.zeros((n, len(values) * n))
    step = max(1, _GATHER // (len(values) * n))
    for start in range(0, space.n_nodes, step):
        end = min(start + step, space.n_nodes)
        products = np.empty((end - start, len(values), n))
        for node in range(start, end):
            neighbours, pairs = space.row(node)
            np.dot(entries[pairs].T, basis[neighbours], out=products[node - start])
        reduced += basis[start:end].T @ products.reshape(end - start, -1)
    return torch.from_numpy(reduced).to(values).view(n, -1, n).transpose(0, 1)


def _geometry_tangents(
    vertices: Tensor, diffusion_tensor: Tensor, basis: ModalBasis, displacements: Tensor
) -> ElementGeometry:
    """Return the derivative of the element geometry along each of `displacements` (P, V, 3)."""
    centred = (vertices - basis.centroid).detach()

    def geometry(x: Tensor) -> ElementGeometry:
        return element_geometry(x, basis.space.tets, diffusion_tensor.detach())

    return ElementGeometry(*pushforward(geometry, centred, displacements))


def _symmetric(matrix: Tensor) -> Tensor:
    """Return X + Xᵀ."""
    return matrix + matrix.mT
