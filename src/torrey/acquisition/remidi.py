"""The protocol of the ReMiDi paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .acquisition import Acquisition
from .directions import electrostatic_directions


def remidi_protocol(
    *, n_directions: int = 30, big_delta: Sequence[float] = (10.0, 25.0, 50.0)
) -> Acquisition:
    """Return the protocol of the ReMiDi paper (arXiv 2502.01988): 1 890 measurements.

    Pulsed gradients of δ = 5 ms, each separation with b = 0, 500, …, 10 000 s/mm² in each direction;
    directions vary fastest, separations slowest.

    Parameters
    ----------
    n_directions : int
        Directions that repel each other; the paper compares 3, 15, 30 and 60.
    big_delta : sequence of float
        Separations Δ, ms; 5, 20, 45 and 95 ms between pulses are Δ = 10, 25, 50 and 100.
    """
    bvals = torch.arange(0.0, 10_001.0, 500.0, dtype=torch.float64)
    return Acquisition.shells_of(
        bvals, electrostatic_directions(n_directions), small_delta=5.0, big_delta=list(big_delta)
    )
