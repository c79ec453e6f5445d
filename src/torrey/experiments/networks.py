"""Networks that recipes compare with, trained on a family's shapes once in each worker."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from ..acquisition import electrostatic_directions
from ..errors import AccuracyWarning
from ..mesh import prism
from ..signal import Tissue
from ..signal.simulate import simulate
from .baselines import Mlp, Network, ResidualMlp, Training, train_network
from .problem import PUBLISHED_SOLVER, acquisition_of
from .recipe import FAMILIES, Model
from .task import Spec

_ARCHITECTURES: Mapping[Model, Mlp | ResidualMlp] = {
    # the published width of 4 096 makes 247 million weights: days on a laptop
    "mlp": Mlp(n_layers=15, width=256),
    "network": ResidualMlp(n_blocks=3, width=256),
}

_N_CODES = 96
"""Principal codes that the modern network predicts of shapes in twelve orientations."""

_RATE = 3e-4

_OF_TEN = 10
"""One shape in so many validates."""


def network_of(spec: Spec) -> Network:
    """Return the network of a task: from signals to vertices in world pose, as the paper's.

    It learns from shapes of the training split in their twelve orientations, with signals by the published
    solver on the template, and with the noise of the task's setting.
    """
    data = {
        key: spec[key] for key in ("family", "layers", "protocol", "diffusivity", "seed", "training_shapes")
    }
    noise = 0.0 if spec["snr"] is None else 1 / spec["snr"]
    return _trained(spec["model"], json.dumps(data), noise, spec["iterations"])


@cache
def _trained(kind: Model, data: str, noise: float, n_epochs: int) -> Network:
    signals, vertices = _shapes(data)
    held = max(1, len(signals) // _OF_TEN)
    training = Training(
        n_epochs=n_epochs,
        batch=16,
        learning_rate=_RATE,
        noise=noise,
        n_codes=None if kind == "mlp" else _N_CODES,
    )
    return train_network(
        _ARCHITECTURES[kind],
        signals[held:],
        vertices[held:],
        validation=(signals[:held], vertices[:held]),
        training=training,
        generator=torch.Generator().manual_seed(json.loads(data)["seed"]),
    )


@cache
def _shapes(data: str) -> tuple[Tensor, Tensor]:
    """Return signals (n, N), µm³, and vertices (n, V, 3), µm, of shapes of the training split."""
    values = json.loads(data)
    template, family = prism(n_layers=values["layers"]), FAMILIES[values["family"]]
    acquisition = acquisition_of(
        values["protocol"], electrostatic_directions(values["protocol"]["directions"])
    )
    tissue = Tissue(diffusivity=values["diffusivity"])
    signals, vertices = [], []
    with warnings.catch_warnings():
        # the published mesh is too coarse for its gradients; what is compared has the same error
        warnings.simplefilter("ignore", AccuracyWarning)
        for index in family.split("train")[: values["training_shapes"]]:
            shape = family.sample(index, seed=values["seed"], template=template).vertices
            mesh = template.with_vertices(shape - shape.mean(0))
            signals.append(simulate(mesh, tissue, acquisition, solver=PUBLISHED_SOLVER).real)
            vertices.append(mesh.vertices)
    return torch.stack(signals).detach(), torch.stack(vertices)
