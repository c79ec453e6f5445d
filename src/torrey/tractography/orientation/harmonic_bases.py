"""The same function on the sphere in the bases and axes of MRtrix and of DIPY.

All hold even degrees, with coefficient l(l+1)/2 + m for degree l and order m. With Y_lm the complex harmonics
with Condon–Shortley phase, and k = |m|, the functions that a coefficient multiplies are

| basis | m < 0 | m > 0 |
|---|---|---|
| `tournier07`: MRtrix, and DIPY's with legacy=False | √2 Im Y_lk | √2 Re Y_lk |
| `tournier07_legacy`: DIPY's with legacy=True | Im Y_lk | Re Y_lk |
| `descoteaux07` | √2 (−1)^k Re Y_lk | √2 Im Y_lk |
| `descoteaux07_legacy`: DIPY's default | √2 Re Y_lk | √2 Im Y_lk |

MRtrix's directions are in world axes, DIPY's along the axes of the image.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ...errors import InputError
from ..grid import Grid
from ..harmonics import degree_of, harmonics
from .directions import spiral_directions

Basis = Literal["tournier07", "tournier07_legacy", "descoteaux07", "descoteaux07_legacy"]


def convert_harmonics(coefficients: Tensor, *, source: Basis, target: Basis) -> Tensor:
    """Return the coefficients (..., n) in basis `target` of a function given in basis `source`.

    Raises
    ------
    InputError
        When a basis is unknown, or no even degree has n coefficients.
    """
    degree = degree_of(coefficients.shape[-1])
    from_place, from_factor = _from_tournier(source, degree)
    to_place, to_factor = _from_tournier(target, degree)
    # every basis is its own column of the table above, so c_source = factor · c_tournier[place]
    tournier = (coefficients / from_factor.to(coefficients))[..., from_place.argsort()]
    return tournier[..., to_place] * to_factor.to(coefficients)


def rotate_harmonics(coefficients: Tensor, rotation: Tensor) -> Tensor:
    """Return the coefficients (..., n), MRtrix's basis, of u ↦ f(Rᵀu): the function turned by R.

    Parameters
    ----------
    coefficients : (..., n) Tensor
    rotation : (3, 3) Tensor
        R, orthogonal; it may be a reflection.

    Raises
    ------
    InputError
        When `rotation` is not orthogonal.
    """
    rotation = rotation.to(coefficients)
    eye = torch.eye(3).to(rotation)
    if rotation.shape != (3, 3) or not torch.allclose(rotation @ rotation.T, eye, rtol=0, atol=1e-5):
        raise InputError("rotation is not orthogonal; expected (3, 3) with R Rᵀ = 1")
    degree = degree_of(coefficients.shape[-1])
    directions = spiral_directions(4 * coefficients.shape[-1]).to(coefficients)
    turned = harmonics(directions @ rotation, degree)
    matrix: Tensor = torch.linalg.lstsq(harmonics(directions, degree), turned).solution
    rotated: Tensor = coefficients @ matrix.T
    return rotated


def to_voxel_axes(coefficients: Tensor, grid: Grid) -> Tensor:
    """Return coefficients (..., n), MRtrix's basis, along the image's axes, as DIPY's, from world axes."""
    return rotate_harmonics(coefficients, _axes(grid).T)


def to_world_axes(coefficients: Tensor, grid: Grid) -> Tensor:
    """Return coefficients (..., n), MRtrix's basis, in world axes from those along the axes of the image."""
    return rotate_harmonics(coefficients, _axes(grid))


def _axes(grid: Grid) -> Tensor:
    """Return the orthogonal matrix (3, 3) nearest to the directions of the image's axes, as columns."""
    left, _, right = torch.linalg.svd(grid.affine[:3, :3] / grid.voxel_sizes)
    nearest: Tensor = left @ right
    return nearest


def _from_tournier(basis: Basis, degree: int) -> tuple[Tensor, Tensor]:
    """Return the place and the factor, so that coefficients are factor · tournier07[place]."""
    if basis not in get_args(Basis):
        raise InputError(f"basis is {basis!r}; expected {', '.join(get_args(Basis))}")
    orders = [(l, m) for l in range(0, degree + 1, 2) for m in range(-l, l + 1)]
    same = basis.startswith("tournier07")
    place = [l * (l + 1) // 2 + (m if same else -m) for l, m in orders]
    factor = torch.ones(len(orders), dtype=torch.float64)
    for i, (_, m) in enumerate(orders):
        if basis == "tournier07_legacy" and m:
            factor[i] = math.sqrt(2)
        if basis == "descoteaux07" and m < 0:
            factor[i] = (-1) ** m
    return torch.tensor(place), factor
