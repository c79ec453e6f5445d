"""`Network`: from a signal straight to the vertices of a shape, and its file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...errors import FileError, InputError
from ...replace import replaced_when_written
from .architectures import Mlp, ResidualMlp
from .layers import AllVertices, Inputs, PrincipalVertices

_FORMAT = 1
"""Version of the file."""


class VertexRegressor(nn.Module):
    """Inputs, hidden layers, and vertices: signals (n, N) to vertices (n, V, 3), float32."""

    def __init__(
        self, architecture: Mlp | ResidualMlp, *, n_measurements: int, n_vertices: int, n_codes: int | None
    ) -> None:
        super().__init__()
        n_outputs = 3 * n_vertices if n_codes is None else n_codes
        self.inputs = Inputs(n_measurements)
        self.body = architecture.build(n_measurements + 1, n_outputs)
        self.outputs = AllVertices(n_vertices) if n_codes is None else PrincipalVertices(n_codes, n_vertices)

    def forward(self, signals: Tensor) -> Tensor:
        """Return the vertices (n, V, 3), µm, of `signals` (n, N)."""
        vertices: Tensor = self.outputs(self.body(self.inputs(signals)))
        return vertices


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network.

    Attributes
    ----------
    architecture : Mlp or ResidualMlp
        Its hidden layers.
    n_measurements, n_vertices : int
        N and V.
    n_codes : int or None
        Principal components that it predicts; None where it predicts every coordinate.
    module : VertexRegressor
        The weights.
    """

    architecture: Mlp | ResidualMlp
    n_measurements: int
    n_vertices: int
    n_codes: int | None
    module: VertexRegressor

    @classmethod
    def untrained(
        cls,
        architecture: Mlp | ResidualMlp,
        *,
        n_measurements: int,
        n_vertices: int,
        n_codes: int | None,
    ) -> Network:
        """Return a network with the weights that PyTorch's random generator starts it with."""
        module = VertexRegressor(
            architecture, n_measurements=n_measurements, n_vertices=n_vertices, n_codes=n_codes
        )
        return cls(architecture, n_measurements, n_vertices, n_codes, module)

    @property
    def n_weights(self) -> int:
        """Number of trained weights."""
        return sum(weight.numel() for weight in self.module.parameters())

    def predict(self, signal: Tensor) -> Tensor:
        """Return the vertices (..., V, 3), µm, float64, of `signal` (..., N) in the unit of training."""
        if signal.shape[-1] != self.n_measurements:
            raise InputError(
                f"signal: expected {self.n_measurements} values, as the network was trained with, "
                f"got shape {tuple(signal.shape)}"
            )
        place = next(self.module.parameters())
        self.module.eval()
        with torch.no_grad():
            vertices: Tensor = self.module(signal.reshape(-1, self.n_measurements).to(place))
        return vertices.to(signal.device, torch.float64).reshape(*signal.shape[:-1], -1, 3)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file whose header says all of the network but its weights."""
        header = {
            "format": _FORMAT,
            "architecture": type(self.architecture).__name__,
            "settings": asdict(self.architecture),
            "n_measurements": self.n_measurements,
            "n_vertices": self.n_vertices,
            "n_codes": self.n_codes,
        }
        tensors = {name: tensor.contiguous() for name, tensor in self.module.state_dict().items()}
        with replaced_when_written(path) as beside:
            save_file(tensors, beside, metadata={"torrey.baseline": json.dumps(header)})


def load_network(path: str | os.PathLike[str]) -> Network:
    """Read a network that `Network.save` wrote.

    Raises
    ------
    FileError
        When the file cannot be read, or holds something else or another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("torrey.baseline")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FileError(f"{path}: cannot be read as a safetensors file ({error})") from error
    if text is None:
        raise FileError(f"{path}: holds no network, expected one that Network.save wrote")
    header = json.loads(text)
    if header["format"] != _FORMAT:
        raise FileError(f"{path}: format {header['format']}, expected {_FORMAT}; train the network again")
    architecture = {"Mlp": Mlp, "ResidualMlp": ResidualMlp}[header["architecture"]](**header["settings"])
    sizes = {name: header[name] for name in ("n_measurements", "n_vertices", "n_codes")}
    network = Network.untrained(architecture, **sizes)
    network.module.load_state_dict(tensors)
    return network
