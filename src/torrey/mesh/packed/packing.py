"""Random packings: discs in a square and balls in a cube that touch neither each other nor the walls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.special import gammaincinv
from torch import Tensor

from ...errors import ConvergenceError, InputError

_SHAKES = 12
"""Times that cells which got stuck are displaced and relaxed again before they must grow more slowly."""

_SHAKE = 0.3
"""Standard deviation of those displacements over the mean radius."""

_LEAST_GROWTH = 0.005
"""Step of all radii, as a share of the wanted ones, below which the fraction counts as out of reach."""

_ABOVE = 1e-4
"""The gap aimed at is wider than the one asked for by this share of the mean radius, so that an energy close
to zero is enough."""


@dataclass(frozen=True, eq=False)
class Packing:
    """Discs in a square or balls in a cube, centred on the origin.

    Parameters
    ----------
    centres : (n, 2) or (n, 3) Tensor or array_like
        µm.
    radii : (n,) Tensor or array_like
        µm.
    side : float
        Of the square or cube, µm.

    Raises
    ------
    InputError
        When cells touch each other or the walls, or a shape or sign is wrong.
    """

    centres: Tensor
    radii: Tensor
    side: float

    def __post_init__(self) -> None:
        centres = torch.as_tensor(self.centres, dtype=torch.float64)
        if centres.ndim != 2 or len(centres) == 0 or centres.shape[1] not in (2, 3):
            raise InputError(f"packing: centres have shape {tuple(centres.shape)}, expected (n, 2) or (n, 3)")
        radii = _checked_radii(self.radii, "packing")
        if len(radii) != len(centres):
            raise InputError(f"packing: {len(radii)} radii for {len(centres)} centres, expected one for each")
        object.__setattr__(self, "centres", centres)
        object.__setattr__(self, "radii", radii)
        if not self.gap > 0:
            raise InputError(
                f"packing: the smallest gap between two cells, or a cell and a wall, is {self.gap:.3g} µm, "
                "expected a positive one"
            )

    @property
    def volume_fraction(self) -> float:
        """Share of the square or cube that the cells take."""
        dimension = self.centres.shape[1]
        return _unit_ball(dimension) * float((self.radii**dimension).sum()) / self.side**dimension

    @property
    def gap(self) -> float:
        """Smallest distance between two cells, or a cell and a wall, µm; negative where they overlap."""
        return _smallest_gap(self.centres.numpy(), self.radii.numpy(), self.side)


def pack_cylinders(
    radii: object, *, volume_fraction: float, gap: float, generator: torch.Generator
) -> Packing:
    """Return parallel cylinders at random places of a square, as the discs they are across.

    Cells start at uniformly random places and repel each other softly until all gaps are as wide as asked
    for. The side follows from the radii and the fraction: more cells, a wider square.

    Parameters
    ----------
    radii : (n,) Tensor or array_like
        µm; see `gamma_radii`.
    volume_fraction : float
        Of the cells in the square. With narrow gaps 0.7 is reached within seconds.
    gap : float
        Least distance between two cells, and a cell and a wall, µm.
    generator : torch.Generator
        Equal seeds give equal packings.

    Raises
    ------
    InputError
        When a number is out of range.
    ConvergenceError
        When the fraction is not reached; the message names the one that was.
    """
    return _pack(radii, volume_fraction, gap, generator, "pack_cylinders", dimension=2)


def pack_spheres(radii: object, *, volume_fraction: float, gap: float, generator: torch.Generator) -> Packing:
    """Return balls at random places of a cube, as `pack_cylinders` does discs of a square.

    Walls keep few balls from packing densely: with a gap of a twentieth of the radius 50 equal balls reach
    0.46, and 200 reach 0.5.
    """
    return _pack(radii, volume_fraction, gap, generator, "pack_spheres", dimension=3)


def gamma_radii(n_cells: int, *, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Return radii (n_cells,) drawn from a gamma distribution of this mean and standard deviation, µm."""
    if not (n_cells >= 1 and 0 < mean < math.inf and 0 < std < math.inf):
        raise InputError(
            f"gamma_radii: {n_cells} cells of mean {mean} and std {std} µm, expected positive numbers"
        )
    shape = (mean / std) ** 2
    level = torch.rand(n_cells, generator=generator, dtype=torch.float64)
    return torch.from_numpy(gammaincinv(shape, level.numpy()) * (mean / shape))


def _pack(
    radii: object, fraction: float, gap: float, generator: torch.Generator, what: str, *, dimension: int
) -> Packing:
    radius = _checked_radii(radii, what).numpy()
    if not 0 < fraction < 1:
        raise InputError(f"{what}: volume_fraction is {fraction}, expected between 0 and 1")
    if not (gap > 0 and math.isfinite(gap)):
        raise InputError(f"{what}: gap is {gap}, expected a positive number of µm")
    side = float((_unit_ball(dimension) * (radius**dimension).sum() / fraction) ** (1 / dimension))
    if side / 2 <= radius.max() + gap + _ABOVE * radius.mean():
        raise InputError(
            f"{what}: a cell of radius {radius.max():.3g} does not fit the side of {side:.3g} µm with its "
            "gaps, expected more cells or a smaller fraction"
        )
    start = torch.rand(len(radius), dimension, generator=generator, dtype=torch.float64)
    centres = side * (start.numpy() - 0.5)
    size, step = 0.0, 1.0
    while step > _LEAST_GROWTH:
        grown = _grown(centres, min(1, size + step) * radius, gap, side, generator)
        if grown is None:
            step /= 2
            continue
        centres, size = grown, min(1, size + step)
        if size == 1:
            return Packing(torch.from_numpy(centres), torch.from_numpy(radius), side)
    raise ConvergenceError(
        f"{what}: reached the volume fraction {size**dimension * fraction:.3f}, asked for {fraction}; "
        "expected a smaller fraction or gap, or more cells, which fit the walls better"
    )


def _grown(
    centres: np.ndarray, radius: np.ndarray, gap: float, side: float, generator: torch.Generator
) -> np.ndarray | None:
    """Return centres (n, d) at which cells of `radius` (n,) keep the `gap`, or None where none are found."""
    aim = gap + _ABOVE * radius.mean()
    reach = side / 2 - radius - aim
    for _ in range(_SHAKES):
        centres = _relaxed(np.clip(centres, -reach[:, None], reach[:, None]), radius, aim, reach)
        if _smallest_gap(centres, radius, side) >= gap:
            return centres
        shake = torch.randn(centres.shape, generator=generator, dtype=torch.float64).numpy()
        centres = centres + _SHAKE * radius.mean() * shake
    return None


def _relaxed(start: np.ndarray, radius: np.ndarray, gap: float, reach: np.ndarray) -> np.ndarray:
    """Return centres (n, d) at a minimum of ½Σ(overlap)², each coordinate within ±reach (n,) of its cell."""
    furthest = 2 * radius.max() + gap

    def energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        centres = flat.reshape(start.shape)
        first, second = cKDTree(centres).query_pairs(furthest, output_type="ndarray").T
        apart = centres[first] - centres[second]
        distance = np.linalg.norm(apart, axis=1)
        overlap = np.maximum(radius[first] + radius[second] + gap - distance, 0)
        push = (overlap / np.maximum(distance, 1e-12))[:, None] * apart
        slope = np.zeros_like(centres)
        np.add.at(slope, first, -push)
        np.add.at(slope, second, push)
        return 0.5 * float(overlap @ overlap), slope.ravel()

    bound = np.repeat(reach, start.shape[1])
    found = minimize(
        energy,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([-bound, bound], axis=1),
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 0.0, "gtol": 1e-3 * _ABOVE * radius.mean()},
    )
    relaxed: np.ndarray = found.x.reshape(start.shape)
    return relaxed


def _smallest_gap(centres: np.ndarray, radius: np.ndarray, side: float) -> float:
    """Return the smallest distance between two cells, or a cell and a wall, negative where they overlap."""
    walls = side / 2 - np.abs(centres).max(1) - radius
    i, j = np.triu_indices(len(radius), 1)
    pairs = np.linalg.norm(centres[i] - centres[j], axis=1) - radius[i] - radius[j]
    return float(np.concatenate([walls, pairs]).min())


def _unit_ball(dimension: int) -> float:
    return math.pi if dimension == 2 else 4 / 3 * math.pi


def _checked_radii(radii: object, what: str) -> Tensor:
    values = torch.as_tensor(radii, dtype=torch.float64)
    if values.ndim != 1 or len(values) == 0:
        raise InputError(f"{what}: radii have shape {tuple(values.shape)}, expected (n,), µm")
    if not bool(((values > 0) & torch.isfinite(values)).all()):
        worst = float(values[~((values > 0) & torch.isfinite(values))][0])
        raise InputError(f"{what}: a radius is {worst}, expected positive numbers of µm")
    return values
