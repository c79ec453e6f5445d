"""Directions spread evenly over the sphere, where u and −u count as one.

They minimise the Coulomb energy of 2n charges at ±uᵢ: Σ_{i<j} 1/|uᵢ − uⱼ| + 1/|uᵢ + uⱼ|.

Jones, Horsfield and Simmons, Magn. Reson. Med. 42, 515 (1999).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Generator, Tensor

from ..errors import ConvergenceError, InputError

_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def electrostatic_directions(n_directions: int, *, generator: Generator | None = None) -> Tensor:
    """Return `n_directions` unit vectors (n, 3) that repel each other and each other's opposites.

    Parameters
    ----------
    n_directions : int
        n ≥ 1.
    generator : torch.Generator, optional
        Start from random directions; without it the start is a spiral and the answer always the same.

    Returns
    -------
    (n, 3) Tensor of float64
        Each with z ≥ 0 to rounding.
    """
    if isinstance(n_directions, bool) or not isinstance(n_directions, int) or n_directions < 1:
        raise InputError(f"n_directions: expected a whole number ≥ 1, got {n_directions!r}")
    start = _spiral(n_directions) if generator is None else _random(n_directions, generator)
    # Projecting out the length keeps points on the sphere; the energy does not depend on it.
    found = minimize(
        _energy_and_gradient,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-14, "gtol": 1e-7},
    )
    if not np.isfinite(found.fun):
        raise ConvergenceError(f"n_directions = {n_directions}: the energy diverged; two directions coincide")
    directions = found.x.reshape(-1, 3)
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    directions[directions[:, 2] < 0] *= -1
    return torch.from_numpy(directions)


def electrostatic_energy(directions: Tensor) -> float:
    """Return Σ_{i<j} 1/|uᵢ − uⱼ| + 1/|uᵢ + uⱼ| of unit vectors (n, 3)."""
    return float(_energy_and_gradient(directions.detach().cpu().numpy().ravel())[0])


def _energy_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    points = flat.reshape(-1, 3)
    length = np.linalg.norm(points, axis=1, keepdims=True)
    u = points / length
    cosine = u @ u.T
    np.fill_diagonal(cosine, 0.0)
    near, far = 1 / np.sqrt(2 - 2 * cosine), 1 / np.sqrt(2 + 2 * cosine)
    pull = near**3 - far**3
    energy = 0.5 * float((near + far).sum() - len(u) * np.sqrt(2))
    slope = pull @ u - pull.diagonal()[:, None] * u
    tangent = slope - (slope * u).sum(axis=1, keepdims=True) * u
    return energy, (tangent / length).ravel()


def _spiral(n: int) -> NDArray[np.float64]:
    z = (np.arange(n) + 0.5) / n
    angle = np.arange(n) * _GOLDEN_ANGLE
    radius = np.sqrt(1 - z**2)
    return np.stack((radius * np.cos(angle), radius * np.sin(angle), z), axis=1)


def _random(n: int, generator: Generator) -> NDArray[np.float64]:
    return torch.randn(n, 3, dtype=torch.float64, generator=generator, device=generator.device).cpu().numpy()
