"""A small change of fibre orientations that takes the false edges of a connectome away, and where it is.

    python examples/06_fibercup_connectome.py                         # two bundles that touch
    python examples/06_fibercup_connectome.py FOLDER [picture.png]    # the FiberCup

FOLDER holds orientations `fod_lmax8.nii.gz`, white matter `wm.nii.gz`, end regions
`endpoint_rois_handmade.nii.gz` and the true pairs `endpoint_gt_connectome.csv`, in it or in folders below.
Returns the size of the change, relative to the orientations in white matter, and infinity if
false edges are left.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torrey.tractography import (
    Grid,
    Region,
    SHField,
    Streamlines,
    connectome,
    grid_seeds,
    harmonics,
    propagate,
    soft_connectome,
    survival,
)
from torrey.tractography.connectomics import RadialSearch, assign_nodes
from torrey.tractography.orientation import read_harmonics, read_labels, read_mask

CUTOFF = 0.1  # amplitude at which streamlines end
TILT = 0.25  # rad, of the orientations where the two bundles touch
TOWARDS = torch.tensor([0.8, 0.5, 0.3], dtype=torch.float64)  # where each starts to climb to a peak


@dataclass(frozen=True)
class Phantom:
    """What is tracked, and the edges that there are in truth."""

    fods: Tensor  # (X, Y, Z, n)
    grid: Grid
    white_matter: Tensor  # (X, Y, Z)
    labels: Tensor  # (X, Y, Z), N regions where bundles end
    true: Tensor  # (N, N)
    lengths: tuple[float, float] = (15.0, 300.0)  # mm, least and most
    radius: float = 4.0  # mm, from the end of a streamline to its region


def main(folder: str | None = None, picture: str | None = None) -> float:
    phantom = two_bundles_that_touch() if folder is None else fibercup(Path(folder))
    change = needed(phantom, corrected(phantom))
    before, after = counts(phantom, phantom.fods), counts(phantom, phantom.fods + change)
    for name, matrix in (("before", before), ("after", after)):
        print(f"{name}: {summary(phantom, matrix)}")
    size = float(change.norm() / phantom.fods[phantom.white_matter].norm())
    n_changed, n_voxels = int(moved(change).count_nonzero()), int(phantom.white_matter.count_nonzero())
    print(f"changed by {100 * size:.2f} % in {n_changed} of {n_voxels} voxels")
    if picture is not None:
        draw(phantom, change, [before, after], picture)
    return size if n_false(phantom, after) == 0 and kept(phantom, after) else math.inf


def track(phantom: Phantom, fods: Tensor, seeds: Tensor) -> Streamlines:
    grid, (least, most) = phantom.grid, phantom.lengths
    return propagate(
        SHField(fods, grid.affine),
        seeds,
        directions=TOWARDS,
        cutoff=CUTOFF,
        min_length=least,
        max_length=most,
        mask=Region(phantom.white_matter, grid.affine),
    )


def counts(phantom: Phantom, fods: Tensor) -> Tensor:
    """Return how many streamlines (N, N) run between the regions, from a seed in each voxel."""
    tracks = track(phantom, fods, seeds_of(phantom))
    return connectome(tracks, phantom.labels, phantom.grid.affine).triu(1)


def corrected(phantom: Phantom, *, n_steps: int = 30) -> Tensor:
    """Return a change of the orientations (X, Y, Z, n) without false edges, or with the fewest on the way.

    Steps go down the gradient, shorter and shorter, by `stride` in the voxel that moves most. Each then
    shortens the change of every voxel a little, the proximal step of the sum of their sizes: few change.
    """
    change, momentum = torch.zeros_like(phantom.fods), torch.zeros_like(phantom.fods)
    masses, best, fewest = None, change, 10**6
    for step in range(n_steps):
        tracks = track(phantom, phantom.fods + change, seeds_of(phantom))
        edges = connectome(tracks, phantom.labels, phantom.grid.affine).triu(1)
        print(f"step {step}: {summary(phantom, edges)}", flush=True)
        if kept(phantom, edges) and n_false(phantom, edges) < fewest:
            best, fewest = change, n_false(phantom, edges)
        if fewest == 0:
            break
        fods = (phantom.fods + change).requires_grad_()
        mass = masses_of(phantom, fods, joining(phantom, tracks))
        masses = mass.detach() if masses is None else masses
        (gradient,) = torch.autograd.grad(loss(phantom, mass, masses), fods)
        momentum = 0.3 * momentum + torch.where(phantom.white_matter[..., None], gradient, 0.0)
        stride = 0.06 * 0.98**step
        change = change - stride * momentum / moved(momentum).max()
        change = change * (1 - 0.03 * stride / moved(change)[..., None].clamp_min(0.03 * stride))
    return best


def masses_of(phantom: Phantom, fods: Tensor, seeds: Tensor) -> Tensor:
    """Return the mass (N, N) of each edge, that the orientations change smoothly.

    A streamline counts by how likely it is to be followed to both its ends, and they to be in the regions.
    """
    tracks = track(phantom, fods, seeds)
    coarse = thinned(tracks, every=10)
    chances = survival(SHField(fods, phantom.grid.affine), coarse, cutoff=CUTOFF, width=0.7 * CUTOFF)
    both = chances[coarse.offsets[:-1]] * chances[coarse.offsets[1:] - 1]
    width = phantom.radius / 4
    affine = phantom.grid.affine
    return soft_connectome(
        tracks, phantom.labels, affine, width=width, radius=phantom.radius, weights=both
    ).triu(1)


def loss(phantom: Phantom, mass: Tensor, mass_before: Tensor) -> Tensor:
    """Return Σ log(1 + mass) of false edges, and four times what true ones lost; the log heeds thin edges."""
    true = phantom.true.triu(1)
    lost = torch.log1p(mass_before[true]) - torch.log1p(mass[true])
    return torch.log1p(mass[wrong(phantom)]).sum() + 4 * lost.clamp_min(0).sum()


def needed(phantom: Phantom, change: Tensor) -> Tensor:
    """Return a change without the twentieths of its voxels, the smallest first, that it does not need."""
    edges = counts(phantom, phantom.fods + change)
    if not kept(phantom, edges):
        return change
    most = n_false(phantom, edges)
    voxels = moved(change).flatten().argsort()[-int(moved(change).count_nonzero()) :]
    for part in voxels.chunk(20):
        without = change.flatten(0, 2).index_fill(0, part, 0.0).view_as(change)
        edges = counts(phantom, phantom.fods + without)
        if kept(phantom, edges) and n_false(phantom, edges) <= most:
            change = without
    return change


def moved(change: Tensor) -> Tensor:
    """Return how far each voxel is moved (X, Y, Z)."""
    return change.norm(dim=-1)


def wrong(phantom: Phantom) -> Tensor:
    return (~phantom.true).triu(1)


def n_false(phantom: Phantom, edges: Tensor) -> int:
    return int(edges[wrong(phantom)].sum())


def kept(phantom: Phantom, edges: Tensor) -> bool:
    return bool((edges[phantom.true.triu(1)] > 0).all())


def seeds_of(phantom: Phantom) -> Tensor:
    return grid_seeds(phantom.white_matter, phantom.grid, 1)


def joining(phantom: Phantom, tracks: Streamlines) -> Tensor:
    """Return the seeds of the streamlines that run from one region to another, or nearly."""
    search = RadialSearch(1.5 * phantom.radius)
    first, last = assign_nodes(tracks, phantom.labels, phantom.grid.affine, assignment=search).unbind(1)
    assert tracks.seed_indices is not None
    return seeds_of(phantom)[tracks.seed_indices[(first > 0) & (last > 0) & (first != last)]]


def thinned(tracks: Streamlines, *, every: int) -> Streamlines:
    """Return streamlines with every so many of their points, and the last."""
    assert tracks.seed_places is not None
    curves = [torch.cat([curve[:-1:every], curve[-1:]]) for curve in tracks]
    coarse = Streamlines.from_list(curves)
    return Streamlines(coarse.points, coarse.offsets, tracks.seed_indices, tracks.seed_places // every)


def summary(phantom: Phantom, edges: Tensor) -> str:
    true, false = edges[phantom.true.triu(1)], edges[wrong(phantom)]
    return (
        f"{int(true.count_nonzero())} true edges of {int(true.sum())} streamlines, "
        f"{int(false.count_nonzero())} false of {int(false.sum())}"
    )


def fibercup(folder: Path) -> Phantom:
    def find(name: str) -> Path:
        return next(folder.rglob(name), folder / name)

    fods, grid = read_harmonics(find("fod_lmax8.nii.gz"))
    labels, _ = read_labels(find("endpoint_rois_handmade.nii.gz"))
    pairs = np.loadtxt(find("endpoint_gt_connectome.csv"), delimiter=",")
    return Phantom(fods, grid, read_mask(find("wm.nii.gz"), grid), labels, torch.from_numpy(pairs) > 0)


def two_bundles_that_touch() -> Phantom:
    """Return bundles 1–2 and 3–4 that bend away from each other, orientations tilted where they touch."""
    shape, degree = (30, 17, 3), 6
    grid = Grid(shape, torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64)))
    x, y, _ = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    x, y = x - 14.5, y - 8.0
    off_centre = y.abs() - 1.5 - 0.022 * x.square()  # voxels, from the middle of the nearer bundle
    white_matter = off_centre.abs() < 1.6
    slope = y.sign() * torch.atan(0.044 * x) - torch.where(x.abs() < 3, TILT, 0.0)
    along = torch.stack([slope.cos(), slope.sin(), torch.zeros_like(slope)], -1)
    # one fibre, blurred as those that a deconvolution finds
    degrees = torch.cat([torch.full((2 * l + 1,), l) for l in range(0, degree + 1, 2)])
    fods = 0.3 * harmonics(along, degree) * torch.exp(-0.04 * degrees * (degrees + 1.0)).double()
    fods = torch.where(white_matter[..., None], fods, 0.0)

    labels = torch.zeros(shape, dtype=torch.int64)
    labels[white_matter & (x.abs() > 12)] = 1
    labels += ((x > 0) + 2 * (y < 0)) * (labels > 0)
    true = torch.zeros(4, 4, dtype=torch.bool)
    true[0, 1] = true[2, 3] = True
    return Phantom(fods, grid, white_matter, labels, true | true.T)


def draw(phantom: Phantom, change: Tensor, matrices: list[Tensor], picture: str) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), width_ratios=[1.3, 1, 1], layout="constrained")
    # slices on top of each other: the phantoms are flat
    size = moved(change).amax(2).T.numpy()
    axes[0].imshow(phantom.fods[..., 0].mean(2).T, cmap="gray", origin="lower")
    image = axes[0].imshow(size, cmap="inferno", origin="lower", alpha=(size > 0) * 0.85)
    figure.colorbar(image, ax=axes[0], label="change of the coefficients", shrink=0.8)
    axes[0].set(title="where orientations change", xticks=[], yticks=[])
    for axis, matrix, name in zip(axes[1:], matrices, ("before", "after"), strict=True):
        ticks = range(len(matrix))
        axis.imshow((matrix + matrix.T).log1p(), cmap="Greys", vmin=0, vmax=15)  # light, to be written on
        for row, column in (matrix + matrix.T).nonzero().tolist():
            colour = "tab:blue" if phantom.true[row, column] else "tab:red"
            count = int(matrix[row, column] + matrix[column, row])
            axis.text(column, row, str(count), color=colour, ha="center", va="center", fontsize=7)
        names = [str(node + 1) for node in ticks]
        axis.set_xticks(ticks, names, fontsize=7)
        axis.set_yticks(ticks, names, fontsize=7)
        axis.set_title(f"streamlines {name} (true blue, false red)", fontsize=9)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:3])
