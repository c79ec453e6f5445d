"""`Problem`: a shape and the signal that a method is given, from the description of a task."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..acquisition import Acquisition, electrostatic_directions
from ..errors import AccuracyWarning
from ..mesh import TetMesh, prism
from ..mesh.subdivide import subdivide
from ..signal import MatrixFormalism, Tissue
from ..signal.noise import gaussian_noise
from ..signal.simulate import simulate
from .recipe import FAMILIES
from .task import Spec, task_seed

PUBLISHED_SOLVER = MatrixFormalism(length_scale=1.0)
"""Of the ReMiDi paper: first-order elements, modes with λ ≤ D(π/1 µm)²."""

FINER_SOLVER = MatrixFormalism(order=2, length_scale=1.0)
"""The same modes by second-order elements, on tets of half the size."""

_OF_THE_METHOD = (
    "method",
    "model",
    "optimiser",
    "trained_on",
    "curves",
    "starts",
    "iterations",
    "training_shapes",
)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be found, and what is known of it.

    Attributes
    ----------
    mesh : TetMesh
        The shape, µm: in canonical pose where the pose is known, else turned.
    template : TetMesh
        The straight prism that a method may deform.
    acquisition, tissue : Acquisition, Tissue
        Known.
    signal : (N,) Tensor
        Measured, µm³.
    sigma : float or None
        Standard deviation of the noise over S(0); None where there is none.
    solver : MatrixFormalism or None
        The simulator, where the method is to use the same.
    """

    mesh: TetMesh
    template: TetMesh
    acquisition: Acquisition
    tissue: Tissue
    signal: Tensor
    sigma: float | None
    solver: MatrixFormalism | None


def problem_of(spec: Spec) -> Problem:
    """Return the problem of a task: the same for every method."""
    measured = {key: value for key, value in spec.items() if key not in _OF_THE_METHOD}
    generator = torch.Generator().manual_seed(task_seed(measured))
    template = prism(n_layers=spec["layers"])
    same = spec["reference"] == "same"
    canonical, rotation = _shape(spec, template if same else _finer(template), template, generator)
    directions = electrostatic_directions(spec["protocol"]["directions"])
    if spec["pose"] == "known":
        # the signal of Rx along u is that of x along Rᵀu: to know the pose is to have it taken out
        directions, rotation = directions @ rotation, torch.eye(3, dtype=torch.float64)
    mesh = canonical.with_vertices(canonical.vertices @ rotation.T)
    acquisition = acquisition_of(spec["protocol"], directions)
    tissue = Tissue(diffusivity=spec["diffusivity"])
    solver = PUBLISHED_SOLVER if same else FINER_SOLVER
    with warnings.catch_warnings():
        if same:
            # the published mesh is too coarse for its gradients; the fit has the same error
            warnings.simplefilter("ignore", AccuracyWarning)
        signal = simulate(mesh, tissue, acquisition, solver=solver).real.detach()
    sigma = None if spec["snr"] is None else 1 / spec["snr"]
    if sigma is not None:
        signal = gaussian_noise(signal, sigma=sigma * float(mesh.volume), generator=generator)
    return Problem(mesh, template, acquisition, tissue, signal, sigma, solver if same else None)


def _shape(
    spec: Spec, template: TetMesh, usual: TetMesh, generator: torch.Generator
) -> tuple[TetMesh, Tensor]:
    """Return the shape in canonical pose, made of `template`, and its rotation (3, 3).

    What is drawn is drawn on the `usual` template: on another, other draws could be refused.
    """
    family = FAMILIES[spec["family"]]
    if spec["sample"] is None:
        parameters: Mapping[str, float] = spec["shape"]
        scale = torch.ones(3, dtype=torch.float64)
        eye = torch.eye(3, dtype=torch.float64)
        rotation = eye if spec["pose"] == "known" else _random_rotation(generator)
    else:
        sample = family.sample(spec["sample"], seed=spec["seed"], template=usual)
        parameters, scale, rotation = sample.parameters, sample.scale, sample.rotation
    vertices = scale * family.deformation(parameters)(template.vertices)
    return template.with_vertices(vertices - vertices.mean(0)), rotation


def _finer(mesh: TetMesh) -> TetMesh:
    """Return `mesh` with each tet cut in eight; its surface is the same."""
    weights, tets = subdivide(mesh.tets.numpy(), 2)
    vertices = torch.from_numpy(weights).double() @ mesh.vertices / 2
    return TetMesh(vertices, torch.from_numpy(tets))


def _random_rotation(generator: torch.Generator) -> Tensor:
    """Return a rotation (3, 3), uniform over all."""
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    q = q * r.diagonal().sign()
    rotation: Tensor = q * torch.linalg.det(q)
    return rotation


def acquisition_of(protocol: Mapping[str, Any], directions: Tensor) -> Acquisition:
    """Return a recipe's `protocol` along `directions` (n, 3)."""
    return Acquisition.shells_of(
        protocol["bvals"],
        directions,
        small_delta=protocol["small_delta"],
        big_delta=protocol["big_delta"],
    )
