"""`PCA`: the mean of a training set and its principal modes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from ..errors import InputError
from ..mesh import TetMesh, prism
from .learned import LearnedShape
from .weights import Weights, read_weights, template_hash, write_weights


@dataclass(frozen=True, kw_only=True, eq=False)
class PCA(LearnedShape):
    """Canonical shapes as mean + Σ zₖ modeₖ, with z (K,) the latent.

    A mode is a principal direction times the standard deviation of the training set along it, so that z has
    mean 0 and covariance I over that set. Made by `torrey.shape.training.fit_pca`.

    Parameters
    ----------
    mean : (V, 3) Tensor
        µm.
    modes : (K, V, 3) Tensor
        µm, orthogonal, the widest first.
    """

    mean: Tensor
    modes: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        n_modes, shape = len(self.modes), (self.template.n_vertices, 3)
        for name, array, expected in (
            ("mean", self.mean, shape),
            ("modes", self.modes, (n_modes, *shape)),
            ("codes", self.codes, (len(self.codes), n_modes)),
        ):
            if tuple(array.shape) != expected:
                raise InputError(f"PCA: {name} has shape {tuple(array.shape)}, expected {expected}")

    @cached_property
    def _inverse(self) -> Tensor:
        """Pseudo-inverse of the modes (K, 3V): those of single precision are not quite orthogonal."""
        flat = self.modes.flatten(1)
        size = flat.norm(dim=1, keepdim=True)
        unit = flat / size
        inverse: Tensor = torch.linalg.solve(unit @ unit.T, unit) / size
        return inverse

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the canonical vertices (V, 3), µm, of `latent` (K,), differentiable."""
        self._check(latent)
        return self.mean + (latent @ self.modes.flatten(1)).view_as(self.mean)

    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the latent (K,) whose shape is nearest to canonical `vertices` (V, 3), µm."""
        return self._inverse @ (vertices - self.mean).ravel()

    def roughness(self, latent: Tensor) -> Tensor:
        """Return the latent (K,): ½|z|² is the negative log of the Gaussian with the training covariance."""
        return latent

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights in single precision."""
        tensors = {"mean": self.mean.float(), "modes": self.modes.float(), "codes": self.codes.float()}
        write_weights(path, Weights("pca", template_hash(self.template), tensors, self.about))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, template: TetMesh | None = None) -> Self:
        """Return the model in `path`, made on `template`, `torrey.mesh.prism()` by default.

        Raises
        ------
        InputError
            When the weights are of another kind, version or template, or no weights.
        """
        template = prism() if template is None else template
        weights = read_weights(path, kind="pca", template=template)
        mean, modes, codes = weights.arrays("mean", "modes", "codes")
        return cls(template=template, mean=mean, modes=modes, codes=codes, about=weights.about)
