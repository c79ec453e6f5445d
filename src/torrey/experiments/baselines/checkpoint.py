"""What training needs to go on where it was stopped."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...errors import FileError, InputError
from ...replace import replaced_when_written


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """How far training has come.

    Attributes
    ----------
    epoch : int
        Epochs done.
    best : dict
        Weights at the lowest error of validation, `lowest`, µm, `since_best` epochs ago.
    """

    epoch: int
    best: dict[str, Tensor]
    lowest: float
    since_best: int

    @classmethod
    def at_start(cls, module: nn.Module) -> Checkpoint:
        """Return the one before the first epoch."""
        return cls(0, _copy(module), float("inf"), 0)

    def after_epoch(self, error: float, module: nn.Module) -> Checkpoint:
        """Return the one after another epoch with this `error` of validation."""
        if error < self.lowest:
            return Checkpoint(self.epoch + 1, _copy(module), error, 0)
        return Checkpoint(self.epoch + 1, self.best, self.lowest, self.since_best + 1)


class Parts(NamedTuple):
    """What changes while a network is trained."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    generator: torch.Generator


def fingerprint(architecture: object, training: object, generator: torch.Generator, *data: Tensor) -> str:
    """Return what tells a run from others: settings, seed and data."""
    digest = hashlib.sha256(repr((architecture, training, generator.initial_seed())).encode())
    for tensor in data:
        digest.update(repr(tensor.shape).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def write_checkpoint(
    path: str | os.PathLike[str],
    mark: str,
    state: Checkpoint,
    parts: Parts,
) -> None:
    """Write a checkpoint whole or not at all."""
    content = {
        "mark": mark,
        "state": vars(state),
        "module": parts.module.state_dict(),
        "optimiser": parts.optimiser.state_dict(),
        "generator": parts.generator.get_state(),
    }
    with replaced_when_written(path) as beside:
        torch.save(content, beside)


def read_checkpoint(
    path: str | os.PathLike[str],
    mark: str,
    parts: Parts,
) -> Checkpoint | None:
    """Put `parts` in the state of a checkpoint; None where there is no file.

    Raises
    ------
    FileError
        When the file is not a checkpoint.
    InputError
        When it is that of a run with other settings, seed or data.
    """
    if not Path(path).exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
        own = content["mark"]
    except (OSError, RuntimeError, UnpicklingError, KeyError, EOFError) as error:
        raise FileError(f"{path}: is not a checkpoint of a network's training") from error
    if own != mark:
        raise InputError(f"{path}: the checkpoint is of a run with other settings, seed or data")
    parts.module.load_state_dict(content["module"])
    parts.optimiser.load_state_dict(content["optimiser"])
    parts.generator.set_state(content["generator"])
    return Checkpoint(**content["state"])


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
