"""`solve`: what each method of a recipe makes of a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..inverse import Adam, LevenbergMarquardt, Reconstruction, reconstruct
from ..inverse.metrics import chamfer_up_to_symmetry
from ..mesh import TetMesh
from ..shape import AbstractShape, Posed, Sweep, Tube, pretrained
from .baselines import descend_in_vertices, fit_cylinder
from .networks import network_of
from .problem import Problem
from .task import Spec, task_seed

_MOST_MEASURED = 60
"""Iterations of which distance and volume are measured, evenly spread."""

_POINTS = 1000

_NO_NOISE = 1e-7

_EXPLAINED, _EXACTLY = 1.08, 1e-5
"""Misfit over the noise, and over S(0) without noise, below which no other start is made."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What a method found.

    Attributes
    ----------
    mesh : TetMesh
        µm.
    misfit : float or None
        Root mean square of predicted − measured over S(0); None where nothing was predicted.
    curves : mapping of str to ndarray
        Over some iterations of the best start: "iteration" (I,), "misfit" (I,); for experiments that draw
        them "d_prime" (I,), µm, "volume" (I,), µm³, and "latent" (I, P).
    """

    mesh: TetMesh
    misfit: float | None
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)


def solve(problem: Problem, spec: Spec) -> Solution:
    """Return what the method of `spec` makes of `problem`."""
    if spec["model"] in ("mlp", "network"):
        return _guessed(problem, spec)
    return _solution(_reconstruct(problem, spec), problem, whole=spec["curves"])


def _guessed(problem: Problem, spec: Spec) -> Solution:
    """Return what a network makes of the signals, which are in the order in which it learned them."""
    vertices = network_of(spec).predict(problem.signal)
    # a guess may be folded, so nothing is simulated in it
    return Solution(TetMesh(vertices, problem.template.tets), None)


def _reconstruct(problem: Problem, spec: Spec) -> Reconstruction:
    adam = Adam(max_iterations=spec["iterations"])
    generator = torch.Generator().manual_seed(task_seed(spec))
    # signals of the method's own simulator are exact
    sigma = _NO_NOISE if problem.sigma is None and problem.solver is not None else problem.sigma
    given: dict[str, Any] = {"sigma": sigma, "solver": problem.solver}
    measured = problem.signal, problem.acquisition, problem.tissue
    known = spec["pose"] == "known"
    if spec["model"] == "cylinder":
        given["template"] = None if problem.solver is None else problem.template
        return fit_cylinder(
            *measured, pose_known=known, n_starts=spec["starts"], generator=generator, **given
        ).reconstruction
    if spec["model"] == "vertices":
        # it has one start, the template
        return descend_in_vertices(*measured, template=problem.template, optimiser=adam, **given)
    descent = spec["optimiser"] == "adam"
    shape, tries = _shape_model(spec, pose_known=known), []
    # a descent is run once, as published; else from new starts until one explains what is measured
    for _ in range(1 if descent else spec["starts"]):
        found = reconstruct(
            *measured,
            shape=shape,
            optimiser=adam if descent else LevenbergMarquardt(),
            n_starts=1,
            generator=generator,
            **given,
        )
        tries.append(found)
        if found.misfit < max(_EXPLAINED * (sigma or 0.0), _EXACTLY):
            break
    return min(tries, key=lambda found: found.misfit)


def _solution(result: Reconstruction, problem: Problem, *, whole: bool) -> Solution:
    """Return what a reconstruction found, with the `whole` of the curves or the misfit's."""
    best = int(np.argmin(result.start_misfits))
    # the last ones, where the latent is of the same kind
    items = [
        item
        for item in result.history
        if item.start == best and item.latent is not None and item.latent.shape == result.latent.shape
    ]
    chosen = np.unique(np.linspace(0, len(items) - 1, min(len(items), _MOST_MEASURED)).round().astype(int))
    items = [items[k] for k in chosen]
    curves = {"iteration": chosen, "misfit": np.array([item.misfit for item in items])}
    if whole:
        meshes = [item.shape.mesh(item.latent) for item in items]  # type: ignore[union-attr, arg-type]
        curves["d_prime"] = np.array(
            [chamfer_up_to_symmetry(mesh, problem.mesh, n_points=_POINTS) for mesh in meshes]
        )
        curves["volume"] = np.array([float(mesh.volume) for mesh in meshes])
        curves["latent"] = np.stack([item.latent.numpy() for item in items])  # type: ignore[union-attr]
    return Solution(result.mesh, result.misfit, curves)


def _shape_model(spec: Spec, *, pose_known: bool) -> AbstractShape:
    """Return the shape model of `spec`, which finds the pose where it is not known."""
    if spec["model"] == "tube":
        # its centreline has any direction
        return Tube()
    model: AbstractShape
    model = pretrained(spec["model"], spec["family"] if spec["trained_on"] == "family" else "mixed")
    if isinstance(model, Sweep):
        # the published models have the vertices of the usual template, whatever the reference has
        model = model.with_resolution(n_layers=spec["layers"])
    return model if pose_known else Posed(model)
