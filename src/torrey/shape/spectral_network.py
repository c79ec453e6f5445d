"""The network of the spectral autoencoder: coefficients of graph modes to a code and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

NODES = (300, 64, 32, 16)
"""Coefficients that go in, and nodes after each learned pooling."""

CHANNELS = 32
"""Features of each node inside; three go in."""

N_LATENT = 16


class Layer(nn.Module):
    """Learned pooling to other nodes and a linear map of the features of each.

    (c_in, batch, n_in) → (c_out, batch, n_out). The pooling is a full matrix: coefficients have no
    neighbours. Features first, nodes last: either step is one product of matrices that copies nothing.
    """

    def __init__(self, nodes: tuple[int, int], channels: tuple[int, int]) -> None:
        super().__init__()
        self.pool = nn.Parameter(torch.empty(nodes[1], nodes[0]))
        self.mix = nn.Parameter(torch.empty(channels[1], channels[0]))
        self.bias = nn.Parameter(torch.zeros(channels[1], 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (c_out, batch, n_out) of `x` (c_in, batch, n_in)."""
        fewer = self.pool.shape[0] < self.pool.shape[1]
        # features are mixed where nodes are fewer
        y: Tensor = self._mixed(x @ self.pool.T) if fewer else self._mixed(x) @ self.pool.T
        return y

    def _mixed(self, x: Tensor) -> Tensor:
        mixed: Tensor = torch.addmm(self.bias, self.mix, x.flatten(1)).unflatten(1, x.shape[1:])
        return mixed


class SpectralNetwork(nn.Module):
    """Encoder and decoder between graph coefficients (batch, n, 3) and codes (batch, n_latent).

    Coefficients are standardised on their way in and scaled back on their way out.

    Parameters
    ----------
    mean, scale : (n, 3) Tensor
        Of the coefficients, µm.
    nodes : sequence of int
        n, then the nodes after each pooling; the decoder goes through them in reverse.
    channels, n_latent : int
        Features of each node inside, and length of the code.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        mean: Tensor,
        scale: Tensor,
        *,
        nodes: Sequence[int] = NODES,
        channels: int = CHANNELS,
        n_latent: int = N_LATENT,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        features = [3] + [channels] * (len(nodes) - 1)
        steps = list(zip(pairwise(nodes), pairwise(features), strict=True))
        self.down = nn.ModuleList(Layer(step, mix) for step, mix in steps)
        self.to_code = nn.Linear(channels * nodes[-1], n_latent)
        self.from_code = nn.Linear(n_latent, channels * nodes[-1])
        self.up = nn.ModuleList(Layer(step[::-1], mix[::-1]) for step, mix in reversed(steps))
        self._inner = (channels, nodes[-1])

    def encode(self, coefficients: Tensor) -> Tensor:
        """Return the codes (batch, n_latent) of `coefficients` (batch, n, 3), µm."""
        x = ((coefficients - self.mean) / self.scale).permute(2, 0, 1)
        for layer in self.down:
            x = elu(layer(x))
        code: Tensor = self.to_code(x.transpose(0, 1).flatten(1))
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Return the coefficients (batch, n, 3), µm, of `code` (batch, n_latent)."""
        x = elu(self.from_code(code)).unflatten(1, self._inner).transpose(0, 1)
        *inner, last = self.up
        for layer in inner:
            x = elu(layer(x))
        coefficients: Tensor = self.mean + self.scale * last(x).permute(1, 2, 0)
        return coefficients

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every matrix uniformly with the variance 1/inputs, which keeps the size of what passes."""
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            else:
                bound = (3 / weight.shape[1]) ** 0.5
                nn.init.uniform_(weight, -bound, bound, generator=generator)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the network whose `state_dict` is `state`; its sizes are those of the arrays."""
        pools = [state[name] for name in sorted(state) if name.startswith("down.") and name.endswith("pool")]
        network = cls(
            state["mean"],
            state["scale"],
            nodes=[pools[0].shape[1], *(len(pool) for pool in pools)],
            channels=len(state["down.0.mix"]),
            n_latent=len(state["to_code.bias"]),
        )
        network.load_state_dict(dict(state))
        return network
