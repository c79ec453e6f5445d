"""The task of all recipes: make the signal of a shape, reconstruct it, and measure how near it came."""

from __future__ import annotations

import torch

from ..inverse.metrics import chamfer_up_to_symmetry
from .problem import problem_of
from .solve import solve
from .task import Outcome, Spec

_POINTS = 4000
"""Samples on each surface: the mean distance is then known to 2 %."""


def fit_shape(spec: Spec) -> Outcome:
    """Return how near the method of `spec` comes to the shape of `spec`.

    The values are d′ between surfaces and between vertices, µm, the misfit, rms over S(0), and the error of
    the volume over the true one; the arrays the found mesh, and the curves of `Solution`.
    """
    problem = problem_of(spec)
    found = solve(problem, spec)
    truth, mesh = problem.mesh, found.mesh
    volume, true_volume = float(mesh.volume.detach()), float(truth.volume)
    with torch.no_grad():
        values = {
            "d_prime": chamfer_up_to_symmetry(mesh, truth, n_points=_POINTS),
            "d_prime_vertices": chamfer_up_to_symmetry(mesh.vertices, truth.vertices),
            "volume_error": abs(volume / true_volume - 1),
        }
    if found.misfit is not None:
        values["misfit"] = found.misfit
    arrays = {"vertices": mesh.vertices.detach().numpy(), "tets": mesh.tets.numpy()}
    return Outcome(values, {**arrays, **{f"curve_{name}": curve for name, curve in found.curves.items()}})
