"""Images of polynomials whose streamlines are known, for the tests of the compiled kernels."""

import numpy as np
import torch

from torrey.tractography.meridians import ELEVATIONS, elevation_table
from torrey.tractography.polynomial import monomials
from torrey.tractography.propagation.compiled import PolynomialImage, Settings

SPACING = 2.0
"""mm; the affine also shifts and turns, so that an axis mixed up is seen."""


def spread_directions(n=400, seed=0):
    vectors = torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return vectors / vectors.norm(dim=1, keepdim=True)


def polynomials_of(function, degree):
    """Return the coefficients (..., n) of even functions on the sphere: directions (m, 3) to (m, ...)."""
    directions = spread_directions()
    values = function(directions).reshape(len(directions), -1)
    return torch.linalg.lstsq(monomials(directions, degree), values).solution.T


def affine():
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [0, 0, -1], [np.sin(angle), np.cos(angle), 0]])
    matrix = np.eye(4)
    matrix[:3, :3] = SPACING * turn
    matrix[:3, 3] = [-7.0, 12.0, -5.0]
    return matrix


def image_of(values, shape, dtype=np.float64):
    values = np.ascontiguousarray(np.asarray(values, dtype=dtype))
    degree = {6: 2, 15: 4, 28: 6, 45: 8}[values.shape[1]]
    occupied = (values != 0).any(1).astype(np.uint8)
    to_voxel = np.linalg.inv(affine())[:3].copy()
    table = elevation_table(degree, ELEVATIONS).numpy().astype(dtype)
    return PolynomialImage(values, occupied, np.array(shape), to_voxel, degree, table)


def voxel_centres(shape):
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    return index @ affine()[:3, :3].T + affine()[:3, 3]


def fibres_along(directions, degree):
    """Return the polynomials (V, n) of (u·a)^degree, with one peak of height one along each a (V, 3)."""
    axes = torch.as_tensor(directions)
    return polynomials_of(lambda u: (u @ axes.T) ** degree, degree).numpy()


def quadratic_forms(matrices, degree):
    """Return the polynomials (V, n) of uᵀMu for matrices (V, 3, 3)."""
    stack = torch.as_tensor(matrices)
    return polynomials_of(lambda u: torch.einsum("mi,vij,mj->mv", u, stack, u), degree).numpy()


def settings(**changes):
    usual = {
        "step": 0.5,
        "cosine": 0.5,
        "cutoff": 0.1,
        "most_points": 1000,
        "least_points": 1,
        "unidirectional": False,
        "rk4": False,
        "sharpen": True,
    }
    return Settings(**{**usual, **changes})
