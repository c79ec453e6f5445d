"""Parts of an axon, which are axons too: what a `Sweep` is trained on besides the shapes themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from ..spline import spline_matrix
from .channels import N_CONTROL, from_coefficients, observation_matrix, observed, split

TEMPLATE_LAYERS = 20
"""Layers of the template, whose vertices have their mean in the origin."""

LAYERS = 4 * TEMPLATE_LAYERS
"""Layers at which coefficients are determined: ten for each of 8 beads."""


def window(coefficients: Tensor, start: float, length: float) -> Tensor:
    """Return the coefficients (195,) of the part from `start` to `start + length` of an axon from 0 to 1.

    Beyond its ends the axon goes on as its point reflection there, which continues a sine from a node
    and a straight line as they were. The part is stretched to the size of the whole, and centred.
    """
    s = torch.linspace(0, 1, LAYERS + 1, dtype=torch.float64)
    odd, even = continued(start + length * s)
    x, y, u, v, size = split(coefficients)
    values = torch.stack([odd @ x, odd @ y, odd @ u, length * (even @ v)])
    return normalised(torch.cat([(values @ _fit_of_values().T).ravel(), size]))


def normalised(coefficients: Tensor) -> Tensor:
    """Return the coefficients (195,) of the same shape with a mean radius of 1 and its vertices centred."""
    channels = from_coefficients(coefficients, LAYERS)
    mean = torch.trapezoid(channels.radius) / LAYERS
    centre = channels.centre - channels.centre[:: LAYERS // TEMPLATE_LAYERS].mean(0)
    size = torch.cat([channels.size[:2] + mean.log(), channels.size[2:]])
    return fit_of_channels() @ observed(
        replace(channels, centre=centre / mean, radius=channels.radius / mean, size=size)
    )


@cache
def fit_of_channels() -> Tensor:
    """Return the matrix (195, 326) from what is observed at `LAYERS` layers to coefficients."""
    fit: Tensor = torch.linalg.pinv(observation_matrix(LAYERS))
    return fit


@cache
def _fit_of_values() -> Tensor:
    s = torch.linspace(0, 1, LAYERS + 1, dtype=torch.float64)
    fit: Tensor = torch.linalg.pinv(spline_matrix(N_CONTROL, s))
    return fit


def continued(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrices (·, 48) to values at `parameters`, between −1 and 2, of odd and even continuations."""
    below, above = (parameters < 0)[:, None], (parameters > 1)[:, None]
    inside = torch.where(parameters < 0, -parameters, torch.where(parameters > 1, 2 - parameters, parameters))
    even = spline_matrix(N_CONTROL, inside)
    first, last = spline_matrix(N_CONTROL, parameters.new_tensor([0.0, 1.0]))
    odd = torch.where(below, 2 * first - even, torch.where(above, 2 * last - even, even))
    return odd, even
