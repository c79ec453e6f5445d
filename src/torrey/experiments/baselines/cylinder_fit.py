"""`fit_cylinder`: the straight cylinder that explains a signal best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...acquisition import Acquisition
from ...inverse import LevenbergMarquardt, Reconstruction, reconstruct
from ...shape import AbstractShape, StraightCylinder
from ...signal.tissue import Tissue


@dataclass(frozen=True, eq=False)
class CylinderFit:
    """A fitted cylinder: `length` and `radius`, µm, its `axis`, a (3,) unit vector up to sign, and the rest."""

    length: float
    radius: float
    axis: Tensor
    reconstruction: Reconstruction


def fit_cylinder(
    signal: Tensor,
    acquisition: Acquisition,
    tissue: Tissue,
    *,
    shape: AbstractShape | None = None,
    n_starts: int = 2,
    sigma: float | None = None,
    normalised: bool = False,
    generator: torch.Generator | None = None,
) -> CylinderFit:
    """Fit a straight cylinder to a signal by Levenberg–Marquardt.

    Parameters
    ----------
    signal, acquisition, tissue, sigma, normalised, generator
        As for `torrey.reconstruct`.
    shape : AbstractShape, optional
        `StraightCylinder()` by default, which lies along z; the pose is free in a shape model that turns one.
    n_starts : int
        Starts, each of the size that the signal suggests, varied at random.

    Raises
    ------
    InputError
        As `torrey.reconstruct`.
    """
    result = reconstruct(
        signal,
        acquisition,
        tissue,
        shape=StraightCylinder() if shape is None else shape,
        optimiser=LevenbergMarquardt(),
        n_starts=n_starts,
        sigma=sigma,
        normalised=normalised,
        generator=generator,
    )
    # scaling and turning a template is linear, so that its two ends say all
    flat = StraightCylinder(template=result.mesh)
    length, radius = flat.latent_of(result.mesh.vertices).exp().tolist()
    return CylinderFit(length, radius, torch.tensor([0.0, 0.0, 1.0]), result)
