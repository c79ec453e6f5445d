"""Adam, the first-order descent of the ReMiDi paper, kept out of folds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConvergenceError, InputError

_MOST_HALVINGS = 30


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Settings of the method; see Kingma and Ba, ICLR 2015, and arXiv 2502.01988 for its use here.

    Parameters
    ----------
    learning_rate : float
        Length of a first step of each unknown, in its own unit: µm for a vertex.
    max_iterations : int
        Gradients at most.
    loss_multiplier : float
        Factor on loss and gradient. Steps do not depend on it, except where a gradient comes near Adam's
        1e-8.
    patience : int
        Stop when the best loss has not fallen by the fraction `gain_tolerance` over this many iterations.
    gain_tolerance : float
        Dimensionless.

    Raises
    ------
    InputError
        When a value is not positive.
    """

    learning_rate: float = 0.02
    max_iterations: int = 750
    loss_multiplier: float = 1.0
    patience: int = 100
    gain_tolerance: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("learning_rate", "max_iterations", "loss_multiplier", "patience", "gain_tolerance"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"Adam: {name} is {value}, expected a positive number")


def descend(
    value_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]],
    admissible: Callable[[Tensor], bool],
    start: Tensor,
    settings: Adam,
    *,
    accepted: Callable[[Tensor, Tensor], bool],
) -> tuple[Tensor, str]:
    """Minimise a loss from `start` (P,); return the best x (P,) and why the descent stopped.

    Every x that is evaluated is admissible: a step to one that is not is halved until it is, at most
    thirty times, while Adam's running means stay as they are. Against a wall the steps so become shorter
    and shorter along their direction, and the descent stops there.

    Parameters
    ----------
    value_and_gradient : callable
        x (P,) → loss, a 0-d Tensor, and its gradient (P,).
    admissible : callable
        x (P,) → whether x may be evaluated.
    start : (P,) Tensor
        Admissible.
    settings : Adam
        Of the method.
    accepted : callable
        Called with every x and its loss, without the multiplier; the descent stops where it returns True.

    Raises
    ------
    InputError
        When the start is not admissible.
    ConvergenceError
        When a loss or a gradient is not finite.
    """
    if not admissible(start.detach()):
        raise InputError("Adam: the start is not admissible, expected a shape that does not fold")
    x = torch.nn.Parameter(start.detach().clone())
    optimiser = torch.optim.Adam([x], lr=settings.learning_rate)
    best, lowest = x.detach().clone(), math.inf
    reference, since = math.inf, 0
    for iteration in range(settings.max_iterations):
        here = x.detach().clone()
        loss, gradient = value_and_gradient(here)
        _require_finite(loss, gradient, iteration)
        if float(loss) < lowest:
            best, lowest = here, float(loss)
        if accepted(here, loss):
            return best, "within the noise" if iteration else "within the noise at the start"
        if lowest < reference - settings.gain_tolerance * abs(reference) or reference == math.inf:
            reference, since = lowest, iteration
        elif iteration - since >= settings.patience:
            return best, f"no gain in {settings.patience} iterations"
        x.grad = settings.loss_multiplier * gradient.detach()
        optimiser.step()
        if not _step_back(x, here, admissible):
            return best, f"no admissible step in {_MOST_HALVINGS} halvings"
    return best, "iteration limit"


def _step_back(x: Tensor, here: Tensor, admissible: Callable[[Tensor], bool]) -> bool:
    """Halve the step from `here` to `x`, in place, until it is admissible; return whether one was."""
    step = x.detach() - here
    for _ in range(_MOST_HALVINGS + 1):
        if admissible(x.detach()):
            return True
        step = step / 2
        x.data.copy_(here + step)
    return False


def _require_finite(loss: Tensor, gradient: Tensor, iteration: int) -> None:
    if not bool(torch.isfinite(loss)):
        raise ConvergenceError(f"Adam: the loss is {float(loss)} at iteration {iteration}, expected finite")
    if not bool(torch.isfinite(gradient).all()):
        bad = int((~torch.isfinite(gradient)).sum())
        raise ConvergenceError(
            f"Adam: {bad} of {gradient.numel()} values of the gradient are not finite "
            f"at iteration {iteration}"
        )
