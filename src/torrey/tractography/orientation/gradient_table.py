"""`GradientTable`: the b-value and the direction in world axes of each volume of a diffusion image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError

B0_THRESHOLD = 10.0
"""Volumes up to this b-value, s/mm², count as b = 0 (MRtrix's `BZeroThreshold`)."""

SHELL_GAP = 80.0
"""b-values further apart than this, s/mm², are of different shells (MRtrix's `BValueEpsilon`)."""


@dataclass(frozen=True, eq=False)
class GradientTable:
    """Which diffusion weighting each volume has.

    Parameters
    ----------
    bvals : (N,) Tensor
        b-values, s/mm². float64.
    directions : (N, 3) Tensor
        Unit vectors in world axes (RAS+); those of b = 0 may be zero. Lengths that differ from 1 by less than
        5 % are put right, and b-values multiplied by their squares, as MRtrix does.

    Raises
    ------
    InputError
        When shapes do not fit, a number is not finite, a b-value is negative or in the wrong unit, or a
        direction is no unit vector; the message counts volumes from 1.
    """

    bvals: Tensor
    directions: Tensor

    def __post_init__(self) -> None:
        bvals = torch.as_tensor(self.bvals, dtype=torch.float64)
        directions = torch.as_tensor(self.directions, dtype=torch.float64)
        if bvals.dim() != 1 or len(bvals) == 0:
            raise InputError(f"bvals have shape {tuple(bvals.shape)}; expected (N,), one a volume")
        if directions.shape != (len(bvals), 3):
            raise InputError(f"directions have shape {tuple(directions.shape)}; expected ({len(bvals)}, 3)")
        _require_none(~bvals.isfinite() | (bvals < 0), "bval", bvals, "a finite number from 0, in s/mm²")
        if 0 < float(bvals.max()) <= B0_THRESHOLD:
            raise InputError(f"the largest bval is {float(bvals.max()):g}; expected s/mm², not ms/µm²")
        lengths = directions.norm(dim=1)
        weighted = bvals > B0_THRESHOLD
        bad = ~lengths.isfinite() | (weighted & ((lengths - 1).abs() >= 0.05))
        _require_none(bad, "length of the direction", lengths, "a unit vector")
        lengths = torch.where(lengths > 0, lengths, 1.0)
        object.__setattr__(self, "bvals", bvals * lengths**2)
        object.__setattr__(self, "directions", directions / lengths[:, None])

    @property
    def n_volumes(self) -> int:
        """N."""
        return len(self.bvals)

    @property
    def b0s(self) -> Tensor:
        """(N,) which volumes are not weighted, b ≤ 10 s/mm²."""
        return self.bvals <= B0_THRESHOLD

    @property
    def shells(self) -> tuple[tuple[float, Tensor], ...]:
        """Mean b-value, s/mm², and mask (N,) of the volumes of each shell above b = 0, rising."""
        weighted = (~self.b0s).nonzero()[:, 0]
        order = weighted[self.bvals[weighted].argsort(stable=True)]
        cuts = (self.bvals[order].diff() > SHELL_GAP).nonzero()[:, 0] + 1
        shells = []
        for members in order.tensor_split(cuts.tolist()) if len(order) else ():
            mask = torch.zeros(self.n_volumes, dtype=torch.bool)
            mask[members] = True
            shells.append((float(self.bvals[members].mean()), mask))
        return tuple(shells)

    def shell(self, bval: float | None = None) -> Tensor:
        """Return the mask (N,) of the shell at `bval`, s/mm², or of the one of the largest b-value.

        Raises
        ------
        InputError
            When no shell is within 80 s/mm² of `bval`, or every volume has b = 0.
        """
        if not self.shells:
            raise InputError("every volume has b = 0; expected a shell of diffusion weighting")
        if bval is None:
            return self.shells[-1][1]
        nearest, mask = min(self.shells, key=lambda shell: abs(shell[0] - bval))
        if abs(nearest - bval) > SHELL_GAP:
            known = ", ".join(f"{b:.0f}" for b, _ in self.shells)
            raise InputError(f"no shell at b = {bval:g} s/mm²; expected one of {known}")
        return mask

    def require_volumes(self, n_volumes: int) -> None:
        """Raise an `InputError` unless an image of `n_volumes` has one row each."""
        if n_volumes != self.n_volumes:
            raise InputError(f"{self.n_volumes} b-values and directions for an image of {n_volumes} volumes")


def _require_none(bad: Tensor, what: str, values: Tensor, expected: str) -> None:
    if bool(bad.any()):
        i = int(bad.nonzero()[0, 0])
        raise InputError(f"volume {i + 1}: {what} is {float(values[i]):g}; expected {expected}")
