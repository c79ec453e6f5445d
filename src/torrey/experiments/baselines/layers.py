"""The fixed ends of a network, found from data: from signals to inputs, and from outputs to vertices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SAME = 1e-6
"""Relative difference of a column's mean from the largest under which it counts as one without a gradient."""

_STEADY = 1e-6
"""Standard deviation under which an input says nothing."""


class Inputs(nn.Module):
    """Signals (n, N), µm³ or over S(0), to log S(0) and S/S(0), standardised, (n, N + 1).

    S(0) is the mean of the measurements without a gradient, which are those with the largest mean signal.
    """

    unweighted: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, n_measurements: int) -> None:
        super().__init__()
        self.register_buffer("unweighted", torch.zeros(n_measurements))
        self.register_buffer("mean", torch.zeros(n_measurements + 1))
        self.register_buffer("deviation", torch.ones(n_measurements + 1))

    def fit(self, signals: Tensor) -> None:
        """Find S(0), means and deviations from the `signals` (n, N) of training."""
        means = signals.mean(0)
        unweighted = (means >= (1 - _SAME) * means.max()).to(signals)
        self.unweighted.copy_(unweighted / unweighted.sum())
        inputs = self._raw(signals)
        deviation, mean = torch.std_mean(inputs, dim=0, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > _STEADY, deviation, torch.inf))

    def reference(self, signals: Tensor) -> Tensor:
        """Return S(0) of each of `signals` (n, N), (n, 1)."""
        return (signals @ self.unweighted)[:, None]

    def forward(self, signals: Tensor) -> Tensor:
        """Return the inputs (n, N + 1) of `signals` (n, N)."""
        standard: Tensor = (self._raw(signals) - self.mean) / self.deviation
        return standard

    def _raw(self, signals: Tensor) -> Tensor:
        reference = self.reference(signals)
        return torch.cat([reference.log(), signals / reference], dim=1)


class PrincipalVertices(nn.Module):
    """Codes (n, K) of unit variance to vertices (n, V, 3), µm: mean + codes · principal components."""

    mean: Tensor
    components: Tensor

    def __init__(self, n_codes: int, n_vertices: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3 * n_vertices))
        self.register_buffer("components", torch.zeros(n_codes, 3 * n_vertices))

    def fit(self, vertices: Tensor) -> None:
        """Find mean and components from the `vertices` (n, V, 3) of training."""
        flat = vertices.flatten(1)
        self.mean.copy_(flat.mean(0))
        _, scale, components = torch.linalg.svd(flat - self.mean, full_matrices=False)
        kept = len(self.components)
        self.components.copy_(scale[:kept, None] * components[:kept] / len(flat) ** 0.5)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the vertices (n, V, 3), µm, of `codes` (n, K)."""
        vertices: Tensor = (self.mean + codes @ self.components).unflatten(1, (-1, 3))
        return vertices


class AllVertices(nn.Module):
    """Every coordinate an output of its own: mean + root mean square difference from it · output."""

    mean: Tensor
    scale: Tensor

    def __init__(self, n_vertices: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_vertices, 3))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, vertices: Tensor) -> None:
        """Find the mean and the scale from the `vertices` (n, V, 3) of training."""
        self.mean.copy_(vertices.mean(0))
        self.scale.copy_((vertices - self.mean).square().mean().sqrt())

    def forward(self, outputs: Tensor) -> Tensor:
        """Return the vertices (n, V, 3), µm, of `outputs` (n, 3V)."""
        vertices: Tensor = self.mean + self.scale * outputs.unflatten(1, (-1, 3))
        return vertices
