"""Derivatives along many directions at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def pushforward(
    function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, tangents: Tensor
) -> tuple[Tensor, ...]:
    """Return the derivatives of each output of `function` at `x` along `tangents`, (K, *output.shape) each.

    Parameters
    ----------
    function : callable
        x → outputs, differentiable twice in reverse mode.
    x : Tensor
        Any shape.
    tangents : (K, *x.shape) Tensor
        Directions.

    Notes
    -----
    The reverse derivative g(u) = Jᵀu is linear in u, so its own reverse derivative along v is Jv. This takes
    as long as forward mode, which would import PyTorch's compiler on its first use: two seconds.
    """
    x = x.detach().requires_grad_()
    outputs = function(x)
    duals = [torch.zeros_like(output).requires_grad_() for output in outputs]
    (pulled,) = torch.autograd.grad(outputs, x, duals, create_graph=True)

    def along(tangent: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(pulled, duals, tangent, retain_graph=True)

    return torch.func.vmap(along)(tangents)


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the derivatives (P, ...) of `function` at `x` (P,) in each component, first dimension P."""
    (columns,) = pushforward(lambda y: (function(y),), x, torch.eye(len(x), dtype=x.dtype, device=x.device))
    return columns
