"""`Streamlines`: many curves of unequal length in one array of points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Streamlines:
    """Curves, as points laid end to end and the place where each begins.

    Parameters
    ----------
    points : (P, 3) Tensor
        Positions in mm, world RAS+; may carry gradients.
    offsets : (S + 1,) Tensor
        Streamline s holds points[offsets[s]:offsets[s + 1]]. int64.
    seed_indices : (S,) Tensor, optional
        Which seed made each streamline, where that is known. int64.
    seed_places : (S,) Tensor, optional
        Which of its own points the seed is, counted from 0, where that is known. int64.

    Raises
    ------
    InputError
        When shapes do not fit, or offsets do not rise from 0 to P.
    """

    points: Tensor
    offsets: Tensor
    seed_indices: Tensor | None = None
    seed_places: Tensor | None = None

    def __post_init__(self) -> None:
        if self.points.dim() != 2 or self.points.shape[1] != 3:
            raise InputError(f"points have shape {tuple(self.points.shape)}; expected (P, 3)")
        steps = self.offsets.diff()
        if self.offsets.dim() != 1 or len(self.offsets) < 1 or bool((steps < 0).any()):
            raise InputError("offsets do not rise; expected (S + 1,) places where streamlines begin")
        if int(self.offsets[0]) != 0 or int(self.offsets[-1]) != len(self.points):
            ends = f"{int(self.offsets[0])} to {int(self.offsets[-1])}"
            raise InputError(f"offsets run from {ends}; expected 0 to {len(self.points)}, all points")
        for name in ("seed_indices", "seed_places"):
            values = getattr(self, name)
            if values is not None and len(values) != len(steps):
                raise InputError(f"{len(values)} {name}; expected {len(steps)}, one a streamline")

    @classmethod
    def from_list(cls, curves: Sequence[Tensor]) -> Streamlines:
        """Lay curves (n_s, 3) end to end."""
        if not curves:
            return cls(torch.zeros(0, 3, dtype=torch.float64), torch.zeros(1, dtype=torch.int64))
        counts = torch.tensor([0, *(len(curve) for curve in curves)])
        return cls(torch.cat([torch.as_tensor(curve) for curve in curves]), counts.cumsum(0))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Tensor:
        """Return the points (n, 3) of one streamline."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"streamline {index} of {len(self)}")
        index %= len(self)
        return self.points[int(self.offsets[index]) : int(self.offsets[index + 1])]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.points.split(self.n_points.tolist()))

    @property
    def n_points(self) -> Tensor:
        """(S,) number of points of each streamline."""
        return self.offsets.diff()

    @cached_property
    def owners(self) -> Tensor:
        """(P,) the streamline that each point belongs to."""
        index = torch.arange(len(self), device=self.offsets.device)
        return index.repeat_interleave(self.n_points)

    @property
    def lengths(self) -> Tensor:
        """(S,) arc lengths in mm, differentiable in `points`."""
        within = self.owners[1:] == self.owners[:-1]
        pieces = self.points.diff(dim=0)[within].norm(dim=1)
        zeros = pieces.new_zeros(len(self))
        lengths: Tensor = zeros.index_add(0, self.owners[1:][within], pieces)
        return lengths

    @property
    def ends(self) -> Tensor:
        """(S, 2, 3) first and last point of each streamline, differentiable in `points`.

        Raises
        ------
        InputError
            When a streamline has no point.
        """
        if bool((self.n_points == 0).any()):
            empty = int((self.n_points == 0).nonzero()[0, 0])
            raise InputError(f"streamline {empty} has no point; expected at least one to have ends")
        return torch.stack([self.points[self.offsets[:-1]], self.points[self.offsets[1:] - 1]], 1)

    def select(self, chosen: Tensor) -> Streamlines:
        """Return the streamlines named by a mask (S,) or by indices, in that order."""
        index = chosen.nonzero()[:, 0] if chosen.dtype == torch.bool else chosen
        counts = self.n_points[index]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        within = torch.arange(int(offsets[-1]), device=counts.device) - offsets[:-1].repeat_interleave(counts)
        rows = self.offsets[:-1][index].repeat_interleave(counts) + within
        seeds, places = (
            None if values is None else values[index] for values in (self.seed_indices, self.seed_places)
        )
        return Streamlines(self.points[rows], offsets, seeds, places)

    def detach(self) -> Streamlines:
        """Return the same streamlines without gradients."""
        return Streamlines(self.points.detach(), self.offsets, self.seed_indices, self.seed_places)
