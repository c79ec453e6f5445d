"""What all shapes that move the vertices of a template share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import InputError
from ..mesh import TetMesh, tet_volumes
from .base import AbstractShape, Extent

_NEAR_FOLD = 0.5
"""Volume of a tet over its usual one below which the barrier against folding rises."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateShape(AbstractShape):
    """Shapes with the tets of a `template`, which tells how large each of them usually is.

    Raises
    ------
    InputError
        When the template has an inverted tet.
    """

    template: TetMesh

    def __post_init__(self) -> None:
        volumes = self._template_volumes
        if bool((volumes <= 0).any()):
            tet = int(volumes.argmin())
            raise InputError(
                f"{type(self).__name__}: tet {tet} of the template has the volume "
                f"{float(volumes[tet]):.3g} µm³, expected positive"
            )

    @property
    def tets(self) -> Tensor:
        """Connectivity (T, 4), that of the template."""
        return self.template.tets

    @cached_property
    def _rest(self) -> Tensor:
        return self.template.vertices.detach().double()

    @cached_property
    def _template_volumes(self) -> Tensor:
        return tet_volumes(self._rest, self.template.tets)

    def fold_margin(self, latent: Tensor) -> float:
        """Return the smallest volume of a tet over that in the template, relative to that of the whole."""
        ratios, whole = self._volume_ratios(latent.detach())
        return float(ratios.min() / whole) if float(whole) > 0 else float(ratios.min())

    def fold_barrier(self, latent: Tensor) -> Tensor:
        """Return how far each tet's relative volume has fallen below half of that in the template (T,)."""
        ratios, whole = self._volume_ratios(latent)
        lack: Tensor = torch.relu(_NEAR_FOLD - ratios / whole)
        return lack

    def _volume_ratios(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        volumes = tet_volumes(self.vertices(latent), self.tets)
        rest = self._template_volumes.to(volumes)
        return volumes / rest, volumes.sum() / rest.sum()

    def _check(self, latent: Tensor) -> None:
        if latent.shape != (self.n_latent,):
            raise InputError(
                f"{type(self).__name__}: latent has shape {tuple(latent.shape)}, expected ({self.n_latent},)"
            )


def straight(template: TetMesh, extent: Extent) -> Tensor:
    """Return the canonical vertices (V, 3), µm, of a `template` along z that is scaled to `extent`.

    Along z it takes the length of the extent, and across it the volume of a cylinder of that length and
    radius. The axis of the extent is not seen: canonical vertices lie along z with their mean in the origin.
    """
    vertices = template.vertices.detach().double()
    height = float(vertices[:, 2].max() - vertices[:, 2].min())
    area = float(template.volume.detach()) / height
    wider = extent.radius * math.sqrt(math.pi / area)
    scaled = vertices * vertices.new_tensor([wider, wider, extent.length / height])
    return scaled - scaled.mean(0)
