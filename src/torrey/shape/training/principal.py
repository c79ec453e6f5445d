"""Principal components of canonical shapes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...errors import InputError
from ...mesh import TetMesh
from ..pca import PCA
from .curve import Curve
from .trials import codes_of, round_trip_errors

N_CODES = 256
"""Training shapes whose codes are kept with the weights."""

MOST_MODES = 32

TOLERANCE = 0.002
"""Mean vertex error on validation shapes, µm, below which more modes are of no use."""

_CHUNK = 4096


def fit_pca(shapes: Tensor, template: TetMesh, *, n_modes: int) -> PCA:
    """Return the mean of `shapes` (N, V, 3), µm, and their `n_modes` widest modes.

    Raises
    ------
    InputError
        When there are fewer modes than that: at most N − 1, and 3V.
    """
    flat = shapes.flatten(1)
    most = min(len(flat) - 1, flat.shape[1])
    if not 1 <= n_modes <= most:
        raise InputError(f"PCA: n_modes is {n_modes}, expected 1 to {most} for {len(flat)} shapes")
    mean = flat.mean(0, dtype=torch.float64)
    covariance = torch.zeros(flat.shape[1], flat.shape[1], dtype=torch.float64)
    for chunk in flat.split(_CHUNK):
        centred = chunk.double() - mean
        covariance += centred.T @ centred
    values, vectors = torch.linalg.eigh(covariance / len(flat))
    values, vectors = values.flip(0)[:n_modes], vectors.flip(1)[:, :n_modes]
    # a family of few parameters has directions without any variance but that of rounding
    values = values.clamp(min=float(values[0]) * torch.finfo(torch.float64).eps)
    modes = (vectors * _signs(vectors) * values.sqrt()).T.reshape(n_modes, -1, 3)
    none = torch.zeros(1, n_modes, dtype=torch.float64)
    model = PCA(template=template, mean=mean.view(-1, 3), modes=modes, codes=none)
    return replace(model, codes=codes_of(model, kept(shapes)))


def _signs(vectors: Tensor) -> Tensor:
    """Return ±1 (K,) for columns (n, K): the sign of the first component that is as large as any.

    Shapes are symmetric, so that many are as large up to rounding, of either sign.
    """
    large = vectors.abs() > 0.999 * vectors.abs().amax(0)
    first = large.to(torch.uint8).argmax(0, keepdim=True)
    signs: Tensor = vectors.gather(0, first)[0].sign()
    return signs


def fewest_modes(widest: PCA, validation: Tensor, *, tolerance: float = TOLERANCE) -> tuple[PCA, Curve]:
    """Return `widest` cut to the fewest modes that reach `tolerance`, and the error of each count.

    With all its modes where none reaches it. The tolerance is of the mean vertex error on `validation`
    (N, V, 3), µm.
    """
    curve = []
    for count in range(1, widest.n_latent + 1):
        model = replace(widest, modes=widest.modes[:count], codes=widest.codes[:, :count])
        error = float(round_trip_errors(model, validation).mean())
        curve.append({"n_modes": float(count), "validation_error": error})
        if error <= tolerance:
            return model, curve
    return widest, curve


def kept(shapes: Tensor) -> Tensor:
    """Return the `N_CODES` of `shapes` (N, V, 3), evenly spread, whose codes are kept with the weights."""
    count = min(N_CODES, len(shapes))
    return shapes[[i * len(shapes) // count for i in range(count)]]
