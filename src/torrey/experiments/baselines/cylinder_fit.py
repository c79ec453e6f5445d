"""`fit_cylinder`: the straight cylinder that explains a signal best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...acquisition import Acquisition
from ...inverse import LevenbergMarquardt, Reconstruction, reconstruct
from ...mesh import TetMesh
from ...shape import Posed, StraightCylinder
from ...signal import MatrixFormalism, Tissue


@dataclass(frozen=True, eq=False)
class CylinderFit:
    """A fitted cylinder: `length` and `radius`, µm, and its `axis`, a (3,) unit vector of either sign."""

    length: float
    radius: float
    axis: Tensor
    reconstruction: Reconstruction


def fit_cylinder(
    signal: Tensor,
    acquisition: Acquisition,
    tissue: Tissue,
    *,
    pose_known: bool = False,
    template: TetMesh | None = None,
    solver: MatrixFormalism | None = None,
    n_starts: int = 2,
    sigma: float | None = None,
    normalised: bool = False,
    generator: torch.Generator | None = None,
) -> CylinderFit:
    """Fit a straight cylinder to a signal by Levenberg–Marquardt.

    Parameters
    ----------
    signal, acquisition, tissue, solver, sigma, normalised, generator
        As for `torrey.reconstruct`.
    pose_known : bool
        Whether the axis is z; it is found where not.
    template : TetMesh, optional
        Of `StraightCylinder`, by default one of its own.
    n_starts : int
        Starts, each of the size that the signal suggests, varied at random.

    Raises
    ------
    InputError
        As `torrey.reconstruct`.
    """
    cylinder = StraightCylinder() if template is None else StraightCylinder(template=template)
    posed = Posed(cylinder)
    result = reconstruct(
        signal,
        acquisition,
        tissue,
        shape=cylinder if pose_known else posed,
        optimiser=LevenbergMarquardt(),
        solver=solver,
        n_starts=n_starts,
        sigma=sigma,
        normalised=normalised,
        generator=generator,
    )
    size, rotation = (
        (result.latent, torch.eye(3, dtype=torch.float64)) if pose_known else posed.split(result.latent)
    )
    length, radius = size.exp().tolist()
    return CylinderFit(length, radius, rotation[:, 2], result)
