"""`Autoencoder`: the spectral autoencoder of the ReMiDi paper (arXiv 2502.01988)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..errors import FileError, InputError
from ..mesh import TetMesh, prism
from .learned import LearnedShape
from .spectral_network import SpectralNetwork
from .weights import Weights, read_weights, template_hash, write_weights

_PREFIX = "network."


@dataclass(frozen=True, kw_only=True, eq=False)
class Autoencoder(LearnedShape):
    """Canonical shapes as a network's graph-Laplacian coefficients: vertices = basis · decode(latent).

    The network is evaluated in double precision, whatever it was trained in. Made by
    `torrey.shape.training.train_autoencoder`.

    Parameters
    ----------
    basis : (V, n) Tensor
        Orthonormal modes of the graph Laplacian without the constant one, so that shapes are centred. They
        belong to the weights: where eigenvalues are equal another computer has other eigenvectors.
    network : SpectralNetwork
        Between n coefficients and codes.
    code_mean : (P,) Tensor
        Mean code of the training set.
    code_factor : (P, P) Tensor
        Lower Cholesky factor of its covariance.
    """

    basis: Tensor
    network: SpectralNetwork
    code_mean: Tensor
    code_factor: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        expected = self.template.n_vertices, len(self.network.mean)
        if tuple(self.basis.shape) != expected:
            raise InputError(f"Autoencoder: basis has shape {tuple(self.basis.shape)}, expected {expected}")
        self.network.double().requires_grad_(False)

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the canonical vertices (V, 3), µm, of `latent` (P,), differentiable."""
        self._check(latent)
        decoded: Tensor = self.basis @ self.network.decode(latent[None])[0]
        return decoded

    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the code (P,) that the encoder gives to canonical `vertices` (V, 3), µm."""
        return self.network.encode((self.basis.T @ vertices)[None])[0]

    def roughness(self, latent: Tensor) -> Tensor:
        """Return the whitened latent (P,): half its square is the negative log of a Gaussian of the codes."""
        centred = (latent - self.code_mean)[:, None]
        white: Tensor = torch.linalg.solve_triangular(self.code_factor, centred, upper=False)[:, 0]
        return white

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights in single precision."""
        tensors = {_PREFIX + name: tensor for name, tensor in self.network.state_dict().items()}
        for name in ("basis", "codes", "code_mean", "code_factor"):
            tensors[name] = getattr(self, name)
        single = {name: tensor.float() for name, tensor in tensors.items()}
        write_weights(path, Weights("autoencoder", template_hash(self.template), single, self.about))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, template: TetMesh | None = None) -> Self:
        """Return the model in `path`, made on `template`, `torrey.mesh.prism()` by default.

        Raises
        ------
        InputError
            When the weights are of another kind, version or template, or no weights.
        """
        template = prism() if template is None else template
        weights = read_weights(path, kind="autoencoder", template=template)
        basis, codes, code_mean, code_factor = weights.arrays("basis", "codes", "code_mean", "code_factor")
        state = {
            name.removeprefix(_PREFIX): tensor
            for name, tensor in weights.tensors.items()
            if name.startswith(_PREFIX)
        }
        try:
            network = SpectralNetwork.of(state)
        except (KeyError, RuntimeError) as error:
            raise FileError(f"{path}: holds no network of the spectral autoencoder ({error})") from error
        return cls(
            template=template,
            basis=basis,
            network=network,
            codes=codes,
            code_mean=code_mean,
            code_factor=code_factor,
            about=weights.about,
        )
