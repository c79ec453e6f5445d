r"""Integrals over parts of a shape, in the modes: what of a reduced state lies in each part.

With 1_c the function that is one on a part and zero elsewhere,

    u_c = M_r^{−½} ΦᵀM(x)1_c,     ∫M over the part = u_cᵀη,

as ν of `reduced` is for the whole shape, and of parts that make it up the u_c add up to ν. The derivative is
that of `reduced` too: Φ is held fixed, and its change outside the span is added for as many modes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .assembly import PairValues, assemble, assemble_adjoint
from .geometry import ElementGeometry
from .out_of_span import OutOfSpan, Outside
from .reduced import ModalBasis, change_outside, sample_products


def reduced_observers(
    geometry: ElementGeometry, basis: ModalBasis, parts: Tensor, *, out_of_span: OutOfSpan
) -> Tensor:
    """Return u (K, n), µm^(3/2), differentiable in the `geometry` that `basis` was made on.

    Parameters
    ----------
    geometry, basis, out_of_span
        As for `reduced_model`.
    parts : (K, nodes) Tensor
        The functions 1_c by their values at the nodes.
    """
    observers: Tensor = _Observe.apply(*geometry, basis, parts, Outside.of(basis.modes, out_of_span))
    return observers


class _Observe(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *_, ctx.basis, parts, ctx.outside = inputs
        loads = ctx.basis.modes.mass @ parts.cpu().numpy().T
        ctx.loads = torch.from_numpy(loads).to(ctx.basis.vectors)
        observers: Tensor = ctx.loads.mT @ ctx.basis.vectors
        # dM changes what is projected, and at half the weight the norm of the modes
        ctx.sources = parts.to(observers).mT - ctx.basis.vectors @ observers.mT / 2
        return observers

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        basis: ModalBasis = ctx.basis
        pairs = assemble(basis.space, ElementGeometry(*tangents[:-3]))
        moved = torch.from_numpy(basis.space.matrix(pairs.mass) @ ctx.sources.cpu().numpy())
        change: Tensor = moved.to(basis.vectors).mT @ basis.vectors
        if ctx.outside is not None:
            X = torch.from_numpy(change_outside(basis, ctx.outside, pairs)).to(change)
            change[:, : ctx.outside.n_modes] += ctx.loads.mT @ X
        return change

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        basis: ModalBasis = ctx.basis
        Phi, pairs = basis.vectors, basis.space.pairs
        # of ūᵀΦᵀdM(1 − ½Φu) for each part
        mass = sample_products(pairs, Phi @ bar.mT, ctx.sources[None])
        stiffness = torch.zeros_like(mass)
        if ctx.outside is not None:
            few = slice(ctx.outside.n_modes)
            force = (ctx.loads @ bar[:, few]).cpu().numpy()
            X = torch.from_numpy(ctx.outside.solve(basis.modes, force)).to(Phi)
            rates = basis.model.rates.diagonal()[few]
            more = sample_products(pairs, Phi[:, few], torch.stack([X * rates, -X]))
            mass, stiffness = mass + more[:1], more[1:]
        twice = torch.where(pairs[:, 0] == pairs[:, 1], 1.0, 2.0).to(Phi)
        moments = torch.zeros_like(basis.moments)
        cotangent = PairValues(mass[0] * twice, stiffness[0] * twice, moments)
        return (*assemble_adjoint(basis.space, cotangent), None, None, None)
