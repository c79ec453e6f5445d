"""What shapes learned from a family share: codes of training shapes, and facts about the training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .base import Extent
from .template import TemplateShape, straight

MANY_CODES = 24
"""Codes of training shapes of which a start of a fit takes one."""

_MIXED = 3
"""Codes that a latent between codes is a mean of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedShape(TemplateShape):
    """Shapes like those of a training set, in canonical pose: along z, with the mean vertex in the origin.

    Parameters
    ----------
    template : TetMesh
        That of the training shapes, along z.
    codes : (M, P) Tensor
        Latents of some training shapes.
    about : mapping of str to Any
        JSON-serialisable facts that travel with the weights: family, settings, errors.
    """

    codes: Tensor
    about: Mapping[str, Any] = field(default_factory=dict)

    @abstractmethod
    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the latent (P,) of canonical `vertices` (V, 3), µm."""

    @property
    def n_latent(self) -> int:
        """Number of parameters P."""
        return self.codes.shape[1]

    @property
    def n_candidates(self) -> int:
        """As many of `codes` as make one of them likely to be near."""
        return MANY_CODES

    def gauge(self, latent: Tensor) -> Tensor:
        """Return nothing (0,): canonical shapes are centred, and the signal sees all else."""
        return latent.new_zeros(0)

    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return the code of the straight template of the given size, or one of `codes` at random.

        The axis of the extent is left to whoever turns the canonical shape, and so is the size of a code.
        """
        if generator is None:
            return self.latent_of(straight(self.template, extent))
        return self.codes[int(torch.randint(len(self.codes), (), generator=generator))]

    def between_codes(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Return random latents (count, P), each a weighted mean of three of `codes`.

        A linear model maps the mean of codes to the mean of shapes, whose
        layers are as upright as theirs; outside of that range it has shapes with inverted tets.
        """
        chosen = torch.randint(len(self.codes), (count, _MIXED), generator=generator)
        # exponential numbers over their sum are uniform on the triangle
        weights = -torch.rand(count, _MIXED, generator=generator, dtype=torch.float64).log()
        return torch.einsum("nk,nkp->np", weights / weights.sum(1, keepdim=True), self.codes[chosen])
