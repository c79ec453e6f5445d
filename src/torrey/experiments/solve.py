"""`solve`: what each method of a recipe makes of a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..inverse import Adam, LevenbergMarquardt, Reconstruction, reconstruct
from ..mesh import TetMesh
from ..shape import AbstractShape, Posed, Tube, pretrained
from .baselines import descend_in_vertices, fit_cylinder
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
    """Return what the method of `spec` makes of `problem`."""
    adam = Adam(max_iterations=spec["iterations"])
    generator = torch.Generator().manual_seed(task_seed(spec))
    given: dict[str, Any] = {"sigma": problem.sigma, "n_starts": spec["starts"], "generator": generator}
    measured = problem.signal, problem.acquisition, problem.tissue
    known = spec["pose"] == "known"
    if spec["model"] == "cylinder":
        return _solution(fit_cylinder(*measured, pose_known=known, **given).reconstruction)
    if spec["model"] == "vertices":
        # it has one start, the template
        return _solution(
            descend_in_vertices(*measured, template=problem.template, optimiser=adam, sigma=problem.sigma)
        )
    newton = LevenbergMarquardt(max_iterations=spec["iterations"])
    return _solution(
        reconstruct(
            *measured,
            shape=_shape_model(spec, pose_known=known),
            optimiser=adam if spec["optimiser"] == "adam" else newton,
            solver=problem.solver,
            **given,
        )
    )


def _solution(result: Reconstruction) -> Solution:
    best = int(np.argmin(result.start_misfits))
    misfits = np.array([item.misfit for item in result.history if item.start == best])
    return Solution(result.mesh, result.misfit, {"misfit": misfits})


def _shape_model(spec: Spec, *, pose_known: bool) -> AbstractShape:
    """Return the shape model of `spec`, which finds the pose where it is not known."""
    if spec["model"] == "tube":
        # its centreline has any direction
        return Tube()
    family = spec["family"] if spec["trained_on"] == "family" else "mixed"
    model = pretrained(spec["model"], family)
    return model if pose_known else Posed(model)
