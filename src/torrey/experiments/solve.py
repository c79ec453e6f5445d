"""`solve`: what each method of a recipe makes of a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import InputError
from ..inverse import Adam, LevenbergMarquardt, reconstruct
from ..inverse.metrics import cylinder_of_equal_volume
from ..mesh import TetMesh
from ..shape import AbstractShape, Tube, Vertices
from .problem import Problem
from .task import Spec, task_seed


@dataclass(frozen=True, eq=False)
class Solution:
    """What a method found.

    Attributes
    ----------
    mesh : TetMesh
        µm.
    misfit : float
        Root mean square of predicted − measured over S(0).
    curves : mapping of str to ndarray
        Over the iterations of the best start: "misfit" (I,), "d_prime" (I,), µm, "volume" (I,), µm³, "latent"
        (I, P); those that the method has.
    """

    mesh: TetMesh
    misfit: float
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)


def solve(problem: Problem, spec: Spec) -> Solution:
    """Return what the method of `spec` makes of `problem`.

    Raises
    ------
    InputError
        When there is no such model.
    """
    if spec["model"] == "equal_cylinder":
        return Solution(cylinder_of_equal_volume(problem.mesh), 0.0)
    optimiser: Adam | LevenbergMarquardt
    if spec["optimiser"] == "adam":
        optimiser = Adam(max_iterations=spec["iterations"])
    else:
        optimiser = LevenbergMarquardt(max_iterations=spec["iterations"])
    result = reconstruct(
        problem.signal,
        problem.acquisition,
        problem.tissue,
        shape=_shape_model(problem, spec),
        optimiser=optimiser,
        n_starts=spec["starts"],
        sigma=problem.sigma,
        generator=torch.Generator().manual_seed(task_seed(spec)),
    )
    best = int(np.argmin(result.start_misfits))
    misfits = np.array([item.misfit for item in result.history if item.start == best])
    return Solution(result.mesh, result.misfit, {"misfit": misfits})


def _shape_model(problem: Problem, spec: Spec) -> AbstractShape:
    """Return the shape model of `spec`."""
    if spec["model"] == "tube":
        return Tube()
    if spec["model"] == "vertices":
        return Vertices(template=problem.template)
    raise InputError(f"model: {spec['model']} is not there yet")
