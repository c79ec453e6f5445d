"""How much each streamline contributes to the diffusion signal, by a non-negative fit (LiFE).

Every node of a streamline adds to the voxel that holds it the signal of a stick along the tangent,
exp(−b D (g·t)²), less its mean over the measurements. Weights w ≥ 0 minimise the squared difference to the
signal over that at b = 0, less its mean too: what has no direction plays no part (Pestilli et al., Nature
Methods 11, 1058, 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..units import S_PER_MM2
from .grid import Grid
from .nonnegative import nonnegative_fit
from .streamlines import Streamlines

LARGEST_B0 = 50.0
"""s/mm²; measurements up to this b-value are the reference, as in DIPY."""


@dataclass(frozen=True, eq=False)
class StickSystem:
    """The signal that streamlines of weight one make in the voxels that they pass.

    Attributes
    ----------
    signals : (K, M) Tensor
        Of one streamline in one voxel, at the M measurements above `LARGEST_B0`, without its mean.
    rows, columns : (K,) Tensor
        Which of `voxels`, and which streamline, rising.
    voxels : (V,) Tensor
        Flat indices in the image.
    n_streamlines : int
        Number of streamlines.
    """

    signals: Tensor
    rows: Tensor
    columns: Tensor
    voxels: Tensor
    n_streamlines: int

    def predict(self, weights: Tensor) -> Tensor:
        """Return the signal without its mean (V, M) that streamlines of `weights` (S,) make."""
        zeros = self.signals.new_zeros(len(self.voxels), self.signals.shape[1])
        return zeros.index_add(0, self.rows, self.signals * weights[self.columns, None])


@dataclass(frozen=True, eq=False)
class WeightFit:
    """Weights of streamlines, and the signal that they explain.

    Attributes
    ----------
    weights : (S,) Tensor
        Not negative; differentiable in the images and in the points of the streamlines.
    predicted, measured : (V, M) Tensor
        Signal over that at b = 0, less its mean.
    voxels : (V,) Tensor
        Flat indices in the image of the voxels that streamlines pass.
    """

    weights: Tensor
    predicted: Tensor
    measured: Tensor
    voxels: Tensor


def fit_weights(
    streamlines: Streamlines,
    images: Tensor,
    grid: Grid,
    *,
    bvals: Tensor,
    bvecs: Tensor,
    diffusivity: float = 1.0,
) -> WeightFit:
    """Fit a weight to each streamline.

    Parameters
    ----------
    streamlines : Streamlines
        Of two points or more each, in mm. Nodes outside the image are left out.
    images : (X, Y, Z, N) Tensor
        Diffusion images. A voxel without signal at b = 0 counts as one without direction.
    grid : Grid
        Where they lie.
    bvals : (N,) Tensor
        s/mm².
    bvecs : (N, 3) Tensor
        Unit vectors in world axes.
    diffusivity : float, optional
        Of a stick along its axis, µm²/ms.

    Returns
    -------
    WeightFit
        Derivatives hold the streamlines whose weight is zero, and the voxels of the nodes, where they are.

    Raises
    ------
    InputError
        When shapes do not fit, a value is not finite, a streamline has one point, or there is no measurement
        at b = 0 or at another.
    ConvergenceError
        When the fit does not converge.
    """
    if images.dim() != 4 or tuple(images.shape[:3]) != grid.shape or images.shape[3] != len(bvals):
        expected = (*grid.shape, len(bvals))
        raise InputError(f"images have shape {tuple(images.shape)}; expected {expected}, grid and b-values")
    system = stick_system(streamlines, grid, bvals=bvals, bvecs=bvecs, diffusivity=diffusivity)
    signal = images.reshape(-1, len(bvals))[system.voxels].to(system.signals)
    if not bool(signal.isfinite().all()):
        voxel = int(system.voxels[int((~signal.isfinite()).any(dim=1).nonzero()[0, 0])])
        place = tuple(int(i) for i in np.unravel_index(voxel, grid.shape))
        raise InputError(f"images are not finite in voxel {place}; expected numbers where streamlines pass")
    weighted = bvals > LARGEST_B0
    reference = signal[:, ~weighted].mean(dim=1, keepdim=True)
    has_signal = reference > 0
    relative = signal[:, weighted] / torch.where(has_signal, reference, 1.0) * has_signal
    measured = relative - relative.mean(dim=1, keepdim=True)
    weights = nonnegative_fit(system.signals, measured, system.rows, system.columns, system.n_streamlines)
    return WeightFit(weights, system.predict(weights), measured, system.voxels)


def stick_system(
    streamlines: Streamlines, grid: Grid, *, bvals: Tensor, bvecs: Tensor, diffusivity: float = 1.0
) -> StickSystem:
    """Return what streamlines add to the signal of each voxel; parameters as of `fit_weights`."""
    _require_fit(streamlines, bvals, bvecs)
    weighted = bvals > LARGEST_B0
    points = streamlines.points
    b, g = (bvals[weighted] / S_PER_MM2).to(points), bvecs[weighted].to(points)
    voxels = grid.voxel_of(points.detach())
    nodes = (voxels >= 0).nonzero()[:, 0]
    # one key for voxel and streamline: pairs come sorted by voxel, then streamline
    pairs, place = (voxels * len(streamlines) + streamlines.owners)[nodes].unique(return_inverse=True)
    tangents = _tangents(streamlines)[nodes]
    signals = points.new_zeros(len(pairs), len(b))
    for chosen in torch.arange(len(nodes), device=points.device).split(100_000):  # of M values for each node
        attenuation = torch.exp(-b * diffusivity * (tangents[chosen] @ g.T) ** 2)
        signals = signals.index_add(0, place[chosen], attenuation - attenuation.mean(dim=1, keepdim=True))
    passed, rows = (pairs // len(streamlines)).unique(return_inverse=True)
    return StickSystem(signals, rows, pairs % len(streamlines), passed, len(streamlines))


def _tangents(streamlines: Streamlines) -> Tensor:
    """Return unit vectors (P, 3) from the point before to the point after, at ends to the one neighbour.

    Where these are the same point the vector is zero, and the node has no direction.
    """
    points, owners = streamlines.points, streamlines.owners
    first, last = streamlines.offsets[:-1][owners], streamlines.offsets[1:][owners] - 1
    index = torch.arange(len(points), device=points.device)
    chords = points[torch.minimum(index + 1, last)] - points[torch.maximum(index - 1, first)]
    lengths = chords.norm(dim=1, keepdim=True)
    return chords / torch.where(lengths > 0, lengths, 1.0)


def _require_fit(streamlines: Streamlines, bvals: Tensor, bvecs: Tensor) -> None:
    if bvals.dim() != 1 or tuple(bvecs.shape) != (len(bvals), 3):
        shapes = f"{tuple(bvals.shape)} and {tuple(bvecs.shape)}"
        raise InputError(f"bvals and bvecs have shapes {shapes}; expected (N,) and (N, 3)")
    weighted = int((bvals > LARGEST_B0).sum())
    if not 0 < weighted < len(bvals):
        raise InputError(
            f"{weighted} of {len(bvals)} measurements have b > {LARGEST_B0:g} s/mm²; expected some, not all"
        )
    short = (streamlines.n_points < 2).nonzero()[:, 0]
    if len(short) or not len(streamlines):
        which = f"streamline {int(short[0])} has fewer than two points" if len(short) else "no streamlines"
        raise InputError(f"{which}; expected a direction at each node")
