"""The hidden parts of the networks from signals to vertices."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from torch import Tensor, nn

from ...errors import InputError


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """The plain network of the ReMiDi paper (arXiv 2502.01988): fully connected layers, ReLU and dropout.

    The usual arguments are those published: 1 890 signals to 315 vertices by 247 million weights, which two
    cores do not train; a narrower one has to be called so. The paper does not say how much is dropped.

    Parameters
    ----------
    n_layers : int
        Hidden layers.
    width : int
        Units of each hidden layer.
    dropout : float
        Share of hidden units that a step of training leaves out.
    """

    n_layers: int = 15
    width: int = 4096
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _require(self, n_layers=1, width=1)

    def build(self, n_inputs: int, n_outputs: int) -> nn.Module:
        """Return the layers from (n, n_inputs) to (n, n_outputs), started by He's rule."""
        layers: list[nn.Module] = []
        for n_in in (n_inputs, *[self.width] * (self.n_layers - 1)):
            linear = nn.Linear(n_in, self.width)
            # PyTorch's usual start is too small for ReLU: fifteen layers would pass on nothing
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(), nn.Dropout(self.dropout)]
        return nn.Sequential(*layers, nn.Linear(self.width, n_outputs))


@dataclass(frozen=True, kw_only=True)
class ResidualMlp:
    """A residual network of today: blocks of LayerNorm, a wide layer, GELU and a layer back.

    The first layer has no block of its own, and the layers back start at zero, so that the network begins as
    a linear one. With the usual arguments, 1 890 inputs and 32 outputs it has 4.1 million weights. The
    ingredients are those of He et al. (CVPR 2016), Ba et al. (arXiv 1607.06450) and Hendrycks and Gimpel
    (arXiv 1606.08415).

    Parameters
    ----------
    n_blocks : int
        Residual blocks.
    width : int
        Units between blocks.
    expansion : int
        Units inside a block over `width`.
    dropout : float
        Share of the units inside a block that a step of training leaves out.
    """

    n_blocks: int = 3
    width: int = 512
    expansion: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _require(self, n_blocks=1, width=1, expansion=1)

    def build(self, n_inputs: int, n_outputs: int) -> nn.Module:
        """Return the layers from (n, n_inputs) to (n, n_outputs)."""
        blocks = [_Block(self.width, self.expansion, self.dropout) for _ in range(self.n_blocks)]
        return nn.Sequential(nn.Linear(n_inputs, self.width), *blocks, nn.Linear(self.width, n_outputs))


class _Block(nn.Module):
    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        back = nn.Linear(expansion * width, width)
        nn.init.zeros_(back.weight)
        nn.init.zeros_(back.bias)
        self.branch = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width),
            nn.GELU(),
            nn.Dropout(dropout),
            back,
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.branch(x)
        return result


def _require(architecture: Mlp | ResidualMlp, **least: int) -> None:
    name = type(architecture).__name__
    for field in fields(architecture):
        value = getattr(architecture, field.name)
        if field.name == "dropout":
            if not 0 <= value < 1:
                raise InputError(f"{name}: dropout is {value}, expected at least 0 and below 1")
        elif not (math.isfinite(value) and value == int(value) and value >= least[field.name]):
            raise InputError(
                f"{name}: {field.name} is {value}, expected a whole number of at least {least[field.name]}"
            )
