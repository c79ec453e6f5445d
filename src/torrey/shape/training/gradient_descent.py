"""Training of the spectral autoencoder: Adam, with checkpoints that a killed run goes on from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from ...errors import FileError, InputError
from ...mesh import TetMesh
from ...replace import replaced_when_written
from ..autoencoder import Autoencoder
from ..graph import graph_modes
from ..spectral_network import CHANNELS, N_LATENT, NODES, SpectralNetwork
from ..weights import template_hash
from .curve import Curve
from .principal import kept
from .threads import one_thread
from .trials import cholesky_of_covariance, codes_of

_LEAST_SCALE = 1e-3
"""Least standard deviation of a coefficient over the largest: what hardly varies is not blown up."""

_LEAST_RATE = 0.01
"""Learning rate at the end over that at the start."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings:
    """How the spectral autoencoder is trained.

    Batch, optimiser and nodes are those of the ReMiDi paper. Its learning rate is 1e-4 throughout; this one
    starts higher and falls along half a cosine, for a training of minutes.

    Parameters
    ----------
    epochs : int
        Passes over the training shapes.
    batch : int
        Shapes a step.
    learning_rate : float
        Of Adam, at the start.
    patience : int
        Epochs without a lower validation error after which training stops.
    seed : int
        Of first weights and of the order of shapes.
    nodes, channels, n_latent
        As in `SpectralNetwork`.
    """

    epochs: int = 30
    batch: int = 16
    learning_rate: float = 2e-3
    patience: int = 10
    seed: int = 0
    nodes: tuple[int, ...] = NODES
    channels: int = CHANNELS
    n_latent: int = N_LATENT

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"train: {name} is {getattr(self, name)}, expected a positive number")
        if not 0 <= self.seed < 2**40:
            raise InputError(f"train: seed is {self.seed}, expected 0 to 2⁴⁰ − 1")


def train_autoencoder(
    shapes: Tensor,
    validation: Tensor,
    template: TetMesh,
    *,
    settings: AutoencoderSettings,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Autoencoder, Curve]:
    """Return the autoencoder with the lowest error on `validation`, and the error after each epoch.

    The loss is the squared error of each coefficient over its standard deviation: between µm², in which
    wide bends outweigh thin beads, and standardised errors, in which a coefficient that hardly varies weighs
    as much as one of a hundred micrometres. Same settings, same weights, bit for bit, on one computer: it
    takes one thread.

    Parameters
    ----------
    shapes, validation : (N, V, 3) float32 Tensor
        Canonical, µm.
    checkpoint : Path, optional
        File to keep the state in after each epoch.
    resume : bool
        Go on from `checkpoint`; the weights are those of a run that was never stopped.
    progress : callable, optional
        Called with how many of how many epochs are done.

    Raises
    ------
    FileError
        When there is no checkpoint to go on from, or it cannot be read.
    InputError
        When it is one of other settings, shapes or template.
    """
    with one_thread():
        run = _Run.begin(shapes, validation, template, settings)
        if resume:
            run.load(checkpoint)
        while not run.over:
            run.epoch_of_steps()
            if checkpoint is not None:
                run.save(checkpoint)
            if progress is not None:
                progress(len(run.curve), settings.epochs)
        return run.model(template, shapes), run.curve


class _Run:
    """A training under way. What is random is a function of seed and epoch, so it is no part of the state."""

    def __init__(
        self, data: Tensor, held_out: Tensor, basis: Tensor, settings: AutoencoderSettings, identity: str
    ) -> None:
        self.data, self.held_out, self.basis = data, held_out, basis
        self.settings, self.identity = settings, identity
        mean, scale = data.mean(0), data.std(0)
        scale = scale.clamp(min=_LEAST_SCALE * float(scale.max()))
        self.network = SpectralNetwork(
            mean, scale, nodes=settings.nodes, channels=settings.channels, n_latent=settings.n_latent
        )
        self.network.initialise(self._generator(0))
        self.adam = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate, fused=True)
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}

    @classmethod
    def begin(
        cls, shapes: Tensor, validation: Tensor, template: TetMesh, settings: AutoencoderSettings
    ) -> _Run:
        n_modes = settings.nodes[0]
        basis = graph_modes(template, n_modes + 1)[1][:, 1:].float()
        data, held_out = (torch.einsum("vk,nvi->nki", basis, each.float()) for each in (shapes, validation))
        facts = (template_hash(template), len(data), float(data.double().square().sum()), asdict(settings))
        return cls(data, held_out, basis, settings, repr(facts))

    @property
    def over(self) -> bool:
        errors = [row["validation_error"] for row in self.curve]
        if len(errors) >= self.settings.epochs:
            return True
        return bool(errors) and len(errors) - 1 - errors.index(min(errors)) >= self.settings.patience

    def epoch_of_steps(self) -> None:
        epoch, size = len(self.curve), self.settings.batch
        order = torch.randperm(len(self.data), generator=self._generator(epoch + 1)).split(size)
        total = 0.0
        for step, rows in enumerate(order):
            self._set_rate((epoch + step / len(order)) / self.settings.epochs)
            batch = self.data[rows]
            self.adam.zero_grad()
            error = self.network.decode(self.network.encode(batch)) - batch
            loss = (error.square() / self.network.scale).mean()
            loss.backward()
            self.adam.step()
            total += float(loss.detach()) * len(rows)
        row = {
            "epoch": epoch + 1,
            "learning_rate": self._rate(),
            "training_loss": total / len(self.data),
            "validation_error": self._validation_error(),
        }
        if not math.isfinite(row["validation_error"]):
            raise InputError(
                f"train: the error is {row['validation_error']} after epoch {epoch + 1}; "
                f"expected a learning rate lower than {self.settings.learning_rate:g}"
            )
        self.curve.append(row)
        if row["validation_error"] == min(each["validation_error"] for each in self.curve):
            self.best = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def model(self, template: TetMesh, shapes: Tensor) -> Autoencoder:
        none = torch.zeros(1, self.settings.n_latent, dtype=torch.float64)
        model = Autoencoder(
            template=template,
            basis=self.basis.double(),
            network=SpectralNetwork.of(self.best),
            codes=none,
            code_mean=none[0],
            code_factor=torch.eye(self.settings.n_latent, dtype=torch.float64),
        )
        codes = codes_of(model, shapes)
        return replace(
            model,
            codes=codes_of(model, kept(shapes)),
            code_mean=codes.mean(0),
            code_factor=cholesky_of_covariance(codes),
        )

    def save(self, path: Path) -> None:
        with replaced_when_written(path) as part:
            torch.save(self._state(), part)

    def load(self, path: Path | None) -> None:
        if path is None or not path.is_file():
            raise FileError(f"{path}: no checkpoint to go on from; train without --resume first")
        try:
            state = torch.load(path, weights_only=True)
            identity = state["identity"]
        except (OSError, RuntimeError, KeyError, TypeError, EOFError, UnpicklingError) as error:
            raise FileError(f"{path}: is no checkpoint of a training") from error
        if identity != self.identity:
            raise InputError(f"{path}: is of a training with other settings or shapes; expected these")
        self.network.load_state_dict(state["network"])
        self.adam.load_state_dict(state["adam"])
        self.curve, self.best = state["curve"], state["best"]

    def _state(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "network": self.network.state_dict(),
            "adam": self.adam.state_dict(),
            "curve": self.curve,
            "best": self.best,
        }

    def _set_rate(self, done: float) -> None:
        """Set the learning rate for when the share `done` of all epochs has passed."""
        share = _LEAST_RATE + (1 - _LEAST_RATE) * (1 + math.cos(math.pi * done)) / 2
        for group in self.adam.param_groups:
            group["lr"] = self.settings.learning_rate * share

    def _rate(self) -> float:
        return float(self.adam.param_groups[0]["lr"])

    def _validation_error(self) -> float:
        with torch.no_grad():
            error = self.network.decode(self.network.encode(self.held_out)) - self.held_out
            return float(torch.einsum("vk,nki->nvi", self.basis, error).norm(dim=2).mean())

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.settings.seed * 2**20 + epoch)
