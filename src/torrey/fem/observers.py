r"""Integrals over parts of a shape, in the modes: what of a reduced state lies in each part.

With 1_c the function that is one on a part and zero elsewhere,

    u_c = M_r^{−½} ΦᵀM(x)1_c,     ∫M over the part = u_cᵀη,

as ν of `reduced` is for the whole shape, and of parts that make it up the u_c add up to ν. The derivative is
that of `reduced` too: Φ is held fixed, and the exact derivative adds the change of Φ outside its span.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .assembly import PairValues, assemble_adjoint
from .geometry import ElementGeometry
from .out_of_span import solve_out_of_span
from .reduced import ModalBasis, sample_products


def reduced_observers(
    geometry: ElementGeometry, basis: ModalBasis, parts: Tensor, *, exact: bool = False
) -> Tensor:
    """Return u (K, n), µm^(3/2), differentiable in the `geometry` that `basis` was made on, in reverse mode.

    Parameters
    ----------
    geometry, basis
        As for `reduced_model`.
    parts : (K, nodes) Tensor
        The functions 1_c by their values at the nodes.
    exact : bool
        Whether to add the out-of-span part to the derivative.
    """
    observers: Tensor = _Observe.apply(*geometry, basis, parts, exact)
    return observers


class _Observe(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *_, ctx.basis, ctx.parts, ctx.exact = inputs
        loads = ctx.basis.modes.mass @ ctx.parts.cpu().numpy().T
        ctx.loads = torch.from_numpy(loads).to(ctx.basis.vectors)
        observers: Tensor = ctx.loads.mT @ ctx.basis.vectors
        ctx.observers = observers
        return observers.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        basis: ModalBasis = ctx.basis
        Phi, pairs = basis.vectors, basis.space.pairs
        # of ūᵀ(ΦᵀdM 1 − ½ΦᵀdMΦ u) for each part
        mass = sample_products(pairs, Phi @ bar.mT, (ctx.parts.to(Phi).mT - Phi @ ctx.observers.mT / 2)[None])
        stiffness = torch.zeros_like(mass)
        if ctx.exact and not basis.modes.complete:
            force = (ctx.loads @ bar).cpu().numpy()
            X = torch.from_numpy(solve_out_of_span(basis.modes, force)).to(Phi)
            more = sample_products(pairs, Phi, torch.stack([X * basis.model.rates.diagonal(), -X]))
            mass, stiffness = mass + more[:1], more[1:]
        twice = torch.where(pairs[:, 0] == pairs[:, 1], 1.0, 2.0).to(Phi)
        moments = torch.zeros_like(basis.moments)
        cotangent = PairValues(mass[0] * twice, stiffness[0] * twice, moments)
        return (*assemble_adjoint(basis.space, cotangent), None, None, None)
