r"""The small matrices of matrix formalism, differentiable in the element geometry.

With Φ the kept modes, held fixed, the reduced problem of a moved mesh x is

    M_r ξ' = −(S_r + i q·J_r) ξ,   M_r = ΦᵀM(x)Φ,  S_r = ΦᵀS(x)Φ,  J_r = ΦᵀJ(x)Φ,  b_r = ΦᵀM(x)1

and, made symmetric by M_r^{−½}, the matrices S̃, J̃ and the vector ν of `ReducedModel`. They depend on the
span of Φ only, so equal eigenvalues need no care. Their derivative with Φ held fixed misses the part of dΦ
outside the span; the exact derivative of the truncated model adds it, of all modes or of the slow ones only
(`out_of_span`).
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
from .geometry import Coefficients, ElementGeometry, element_geometry
from .out_of_span import OutOfSpan, Outside
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
    positions : (nodes, 3) Tensor
        Of the nodes about the centroid, µm.
    centroid : (3,) Tensor
        Subtracted from positions, µm; signals do not see it.
    """

    space: FunctionSpace
    modes: Eigenmodes
    vectors: Tensor
    model: ReducedModel
    moments: Tensor
    positions: Tensor
    centroid: Tensor


def modal_basis(
    space: FunctionSpace, modes: Eigenmodes, moments: Tensor, positions: Tensor, centroid: Tensor
) -> ModalBasis:
    """Reduce the first `moments` (3, Z), µm⁴, of the `positions` (nodes, 3) of nodes to the kept modes.

    Both are about the `centroid` (3,), µm.
    """
    Phi = modes.vectors[:, : modes.n_modes]
    device = moments.device
    reduced = torch.stack([torch.from_numpy(Phi.T @ (space.matrix(J) @ Phi)) for J in moments])
    start = torch.from_numpy(Phi.T @ modes.mass.sum(1))
    rates = torch.diag(torch.from_numpy(modes.values[: modes.n_modes].copy()))
    model = ReducedModel(rates.to(device), (reduced + reduced.mT).to(device) / 2, start.to(device))
    vectors = torch.from_numpy(Phi.copy()).to(device)
    return ModalBasis(space, modes, vectors, model, moments, positions, centroid)


def reduced_model(geometry: ElementGeometry, basis: ModalBasis, *, out_of_span: OutOfSpan) -> ReducedModel:
    """Return the reduced operators as differentiable functions of the `geometry` that `basis` was made on.

    The derivative, in reverse and in forward mode, has the change out of their span of no modes, the slow
    ones or all; the last two are for eigenmodes. Second derivatives raise.
    """
    return ReducedModel(*_Reduce.apply(*geometry, basis, Outside.of(basis.modes, out_of_span)))


def reduced_tangents(
    vertices: Tensor,
    coefficients: Coefficients,
    basis: ModalBasis,
    displacements: Tensor,
    *,
    out_of_span: OutOfSpan = "none",
) -> ReducedModel:
    """Return the derivative of the reduced operators along `displacements` (P, V, 3), µm.

    With Φ held, or with the change out of their span of the slow modes or all; these are for eigenmodes.
    """
    space = basis.space

    def geometry(x: Tensor) -> ElementGeometry:
        return element_geometry(x, space, coefficients)

    centred = (vertices - basis.centroid).detach()
    tangents = assemble(space, ElementGeometry(*pushforward(geometry, centred, displacements)))
    model = _along(basis, tangents)
    outside = Outside.of(basis.modes, out_of_span)
    return model if outside is None else _add_out_of_span(basis, outside, tangents, model)


def _along(basis: ModalBasis, tangents: PairValues) -> ReducedModel:
    """Return the derivative of the reduced operators along P `tangents` of the matrices, with Φ held."""
    space, Phi = basis.space, basis.vectors
    P, n = len(tangents.mass), Phi.shape[1]
    stacked = torch.cat([tangents.mass[:, None], tangents.stiffness[:, None], tangents.moments], dim=1)
    reduced = _reduce_pairs(space, stacked.flatten(0, 1), Phi).view(P, 5, n, n)
    dM, dS, dJ = reduced[:, 0], reduced[:, 1], reduced[:, 2:]
    rates, J, start = basis.model
    return ReducedModel(
        dS - _symmetric(dM @ rates) / 2,
        dJ - _symmetric(dM[:, None] @ J) / 2,
        _row_sums(space, tangents.mass) @ Phi - dM @ start / 2,
    )


class _Reduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        *_, ctx.basis, ctx.outside = inputs
        return tuple(t.clone() for t in ctx.basis.model)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, rates: Tensor, moments: Tensor, start: Tensor) -> tuple[Tensor | None, ...]:
        basis: ModalBasis = ctx.basis
        cotangent = _pair_cotangent(basis, ctx.outside, ReducedModel(rates, moments, start))
        return (*assemble_adjoint(basis.space, cotangent), None, None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        basis: ModalBasis = ctx.basis
        pairs = assemble(basis.space, ElementGeometry(*tangents[:-2]))
        batch = PairValues(*(values[None] for values in pairs))
        model = _along(basis, batch)
        if ctx.outside is not None:
            model = _add_out_of_span(basis, ctx.outside, batch, model)
        return tuple(t[0] for t in model)


def _pair_cotangent(basis: ModalBasis, outside: Outside | None, bar: ReducedModel) -> PairValues:
    """Pull cotangents of the reduced operators back to one value for each node pair."""
    rates, J, start = basis.model
    G_S = _symmetric(bar.rates) / 2
    G_J = _symmetric(bar.moments) / 2
    G_M = -_symmetric(rates @ G_S) / 2 - _symmetric(J @ G_J).sum(0) / 2
    G_M = G_M - _symmetric(torch.outer(bar.magnetisation, start)) / 4
    Phi, pairs = basis.vectors, basis.space.pairs
    left = torch.stack([Phi @ G for G in (G_M, G_S, *G_J)])
    if outside is not None:
        few = slice(outside.n_modes)
        X = _out_of_span(basis, outside, left[2:, :, few], bar.magnetisation[few])
        left[0, :, few] += X * rates.diagonal()[few]
        left[1, :, few] -= X
    values = sample_products(pairs, Phi, left)
    values[0] += (Phi @ bar.magnetisation)[pairs].mean(1)
    values = values * torch.where(pairs[:, 0] == pairs[:, 1], 1.0, 2.0).to(values)
    return PairValues(values[0], values[1], values[2:])


def _out_of_span(basis: ModalBasis, outside: Outside, left: Tensor, start: Tensor) -> Tensor:
    """Solve for the adjoint of dΦ outside the span, driven by 2 Σ_u J_u Φ G_u and M1 times `start`.

    `left` holds columns of Φ G_u (3, nodes, k), `start` (k,) of the cotangent of ν. The second
    part vanishes where uniform magnetisation is in the span.
    """
    space, load = basis.space, basis.modes.mass.sum(1)
    force = 2 * sum(space.matrix(J) @ side.cpu().numpy() for J, side in zip(basis.moments, left, strict=True))
    force = force + np.outer(load, start.cpu().numpy())
    return torch.from_numpy(outside.solve(basis.modes, force)).to(left)


def change_outside(basis: ModalBasis, outside: Outside, tangents: PairValues) -> np.ndarray:
    """Return dΦ outside the span (nodes, k) along `tangents`, of (S − λM) dφ = −(dS − λ dM) φ."""
    dM, dS = (basis.space.matrix(values) for values in (tangents.mass, tangents.stiffness))
    k = outside.n_modes
    Phi = basis.modes.vectors[:, :k]
    return -outside.solve(basis.modes, dS @ Phi - dM @ Phi * basis.modes.values[:k])


def _add_out_of_span(
    basis: ModalBasis, outside: Outside, tangents: PairValues, model: ReducedModel
) -> ReducedModel:
    """Add to P tangents of the reduced operators what dΦ outside the span makes of them.

    Of S̃ it changes nothing, its modes being orthogonal.
    """
    Phi, k = basis.vectors.cpu().numpy(), outside.n_modes
    images = np.stack([(basis.space.matrix(J) @ Phi).T for J in basis.moments])
    load = basis.modes.mass.sum(1)
    across = np.zeros(model.moments.shape)
    started = np.zeros(model.magnetisation.shape)
    for p, pairs in enumerate(zip(*tangents, strict=True)):
        X = change_outside(basis, outside, PairValues(*pairs))
        across[p, :, :, :k] = images @ X
        started[p, :k] = X.T @ load
    return ReducedModel(
        model.rates,
        model.moments + _symmetric(torch.from_numpy(across).to(model.moments)),
        model.magnetisation + torch.from_numpy(started).to(model.magnetisation),
    )


def _row_sums(space: FunctionSpace, values: Tensor) -> Tensor:
    """Return A1 (..., nodes) for symmetric matrices with pair `values` (..., Z)."""
    i, j = space.pairs.unbind(1)
    sums = values.new_zeros(*values.shape[:-1], space.n_nodes).index_add_(-1, i, values)
    return sums.index_add_(-1, j, values * (i != j))


def sample_products(pairs: Tensor, Phi: Tensor, left: Tensor) -> Tensor:
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


def _symmetric(matrix: Tensor) -> Tensor:
    """Return X + Xᵀ."""
    return matrix + matrix.mT
