"""`train_network`: fit a network to signals and the shapes that made them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import ConvergenceError, InputError
from .architectures import Mlp, ResidualMlp
from .checkpoint import Checkpoint, Parts, fingerprint, read_checkpoint, write_checkpoint
from .losses import VertexChamfer, VertexDistance
from .network import Network

_LARGEST_GRADIENT = 1.0
"""Norm above which a gradient is shortened: the first steps of a deep plain network are wild."""

_BATCH = 64
"""Shapes of validation at a time."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained: AdamW (Loshchilov and Hutter, ICLR 2019) with a cosine from the rate to zero.

    Parameters
    ----------
    n_epochs : int
        Passes through the data at most; the rate reaches zero at their end.
    batch : int
        Shapes a step.
    learning_rate, weight_decay : float
        Of AdamW.
    patience : int
        Stop when the error of validation has had no new minimum for this many epochs.
    noise : float
        Standard deviation over S(0) of the Gaussian noise drawn anew for each shape at each step.
    n_codes : int, optional
        Predict this many principal components of the training shapes, or fewer where these span fewer; every
        coordinate of every vertex where not given. Shapes turned at random span nine times as many as in one
        pose.
    loss : VertexDistance or VertexChamfer
        Distance of predicted from true vertices, µm, of which the mean over the shapes is minimised.

    Raises
    ------
    InputError
        When a value is out of range.
    """

    n_epochs: int = 200
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    patience: int = 40
    noise: float = 0.0
    n_codes: int | None = None
    loss: VertexDistance | VertexChamfer = field(default_factory=VertexDistance)

    def __post_init__(self) -> None:
        for name in ("n_epochs", "batch", "patience", "n_codes"):
            value = getattr(self, name)
            if value is not None and not (value == int(value) and value >= 1):
                raise InputError(f"Training: {name} is {value}, expected a whole number of at least 1")
        for name in ("learning_rate", "weight_decay", "noise"):
            value = getattr(self, name)
            if not (math.isfinite(value) and (value > 0 or (value == 0 and name != "learning_rate"))):
                raise InputError(f"Training: {name} is {value}, expected a positive number")

    def rate_in(self, epoch: int) -> float:
        """Return the learning rate in `epoch`."""
        return self.learning_rate * (1 + math.cos(math.pi * epoch / self.n_epochs)) / 2


@dataclass(frozen=True)
class Epoch:
    """One pass: mean losses, µm, in `training` (with noise and dropout) and `validation`."""

    index: int
    training: float
    validation: float
    seconds: float


def train_network(
    architecture: Mlp | ResidualMlp,
    signals: Tensor,
    vertices: Tensor,
    *,
    validation: tuple[Tensor, Tensor],
    training: Training | None = None,
    generator: torch.Generator | None = None,
    progress: Callable[[Epoch], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Network:
    """Train a network to predict vertices from signals; return it as it was when validation went best.

    In float32, on the device of the signals. The same generator gives the same weights on the same number of
    threads, and a run that was stopped and resumed those of one that was not.

    Parameters
    ----------
    architecture : Mlp or ResidualMlp
        The hidden layers.
    signals : (n, N) Tensor
        ∫ρM in µm³, or S/S(0); real. What makes S(0) is found by being largest.
    vertices : (n, V, 3) Tensor
        The shapes that made them, µm, in canonical pose or as the network is to give them.
    validation : (Tensor, Tensor)
        Signals (m, N) and vertices (m, V, 3) that are not trained with.
    training : Training, optional
        Settings.
    generator : torch.Generator, optional
        Seeded with 0 by default.
    progress : callable, optional
        Called after each epoch.
    checkpoint : path, optional
        File that is written after each epoch, and resumed from where it exists.

    Raises
    ------
    InputError
        When shapes differ or a value is not finite, or the checkpoint is that of another run.
    ConvergenceError
        When the loss is not finite.
    """
    training = Training() if training is None else training
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    _check("training", signals, vertices, like=(signals, vertices))
    _check("validation", *validation, like=(signals, vertices))
    mark = fingerprint(architecture, training, generator, signals, vertices, *validation)
    data, held_out = _single(signals, vertices), _single(*validation)
    network = _start(architecture, training, *data, generator=generator)
    module = network.module
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    parts = Parts(module, optimiser, generator)
    state = None if checkpoint is None else read_checkpoint(checkpoint, mark, parts)
    state = Checkpoint.at_start(module) if state is None else state
    began = time.perf_counter()
    while state.epoch < training.n_epochs and state.since_best < training.patience:
        for group in optimiser.param_groups:
            group["lr"] = training.rate_in(state.epoch)
        with _seeded(generator, signals.device):
            error = _one_epoch(network, optimiser, training, *data)
        held = mean_loss(network, training.loss, *held_out)
        state = state.after_epoch(held, module)
        if checkpoint is not None:
            write_checkpoint(checkpoint, mark, state, parts)
        if progress is not None:
            progress(Epoch(state.epoch - 1, error, held, time.perf_counter() - began))
    module.load_state_dict(state.best)
    module.eval()
    return network


def mean_loss(
    network: Network, loss: VertexDistance | VertexChamfer, signals: Tensor, vertices: Tensor
) -> float:
    """Return the mean of `loss`, µm, of what `signals` (m, N) predict from `vertices` (m, V, 3)."""
    batches = zip(signals.split(_BATCH), vertices.split(_BATCH), strict=True)
    return sum(float(loss(network.predict(s), v.double()).sum()) for s, v in batches) / len(signals)


def _start(
    architecture: Mlp | ResidualMlp,
    training: Training,
    signals: Tensor,
    vertices: Tensor,
    *,
    generator: torch.Generator,
) -> Network:
    n, n_vertices, _ = vertices.shape
    n_codes = None if training.n_codes is None else min(training.n_codes, n - 1, 3 * n_vertices)
    with _seeded(generator, signals.device):
        network = Network.untrained(
            architecture, n_measurements=signals.shape[1], n_vertices=n_vertices, n_codes=n_codes
        )
    network.module.to(signals.device)
    network.module.inputs.fit(signals)
    network.module.outputs.fit(vertices)
    return network


def _one_epoch(
    network: Network, optimiser: torch.optim.Optimizer, training: Training, signals: Tensor, vertices: Tensor
) -> float:
    """Take a step for each batch; return the mean loss, µm, of all."""
    module, total = network.module, 0.0
    module.train()
    for rows in torch.randperm(len(signals), device=signals.device).split(training.batch):
        own = signals[rows]
        own = own + training.noise * module.inputs.reference(own) * torch.randn_like(own)
        loss = training.loss(module(own), vertices[rows]).mean()
        if not bool(torch.isfinite(loss)):
            raise ConvergenceError(
                f"train_network: the loss is {float(loss)}, expected finite; lower learning_rate"
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), _LARGEST_GRADIENT)
        optimiser.step()
        total += float(loss.detach()) * len(rows)
    return total / len(signals)


@contextmanager
def _seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's own generators, which dropout draws from, by a number of `generator` for a while."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _single(signals: Tensor, vertices: Tensor) -> tuple[Tensor, Tensor]:
    return signals.detach().float(), vertices.detach().float()


def _check(name: str, signals: Tensor, vertices: Tensor, *, like: tuple[Tensor, Tensor]) -> None:
    expected = (len(signals), like[0].shape[-1]), (len(signals), *like[1].shape[1:])
    shapes = tuple(signals.shape), tuple(vertices.shape)
    if shapes != expected or vertices.ndim != 3 or vertices.shape[2] != 3 or not len(signals):
        raise InputError(
            f"{name}: signals and vertices have the shapes {shapes[0]} and {shapes[1]}, expected (n, N) and "
            "(n, V, 3) with the same n, N and V for training and validation"
        )
    for what, values in (("signals", signals), ("vertices", vertices)):
        bad = ~torch.isfinite(values).flatten(1).all(1)
        if values.is_complex() or bool(bad.any()):
            row = int(bad.to(torch.uint8).argmax())
            raise InputError(f"{name}: {what} of shape {row} are not all finite and real")
