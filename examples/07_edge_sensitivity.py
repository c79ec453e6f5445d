"""Which voxels of the diffusion images hold one edge of a connectome: its derivative, as a picture.

Images of a brain → deconvolution → streamlines through the front of the corpus callosum → the edge between
two spheres in the frontal lobes → back to every voxel of every image. Returns by how much the derivative
differs from a central difference along a random change of the images. `tests/data` holds the frontal lobe;
give another image of that brain (with its bval and bvec beside it) and a picture to draw as arguments.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from torrey.tractography import (
    Grid,
    Region,
    SDStream,
    SHField,
    Streamlines,
    propagate,
    random_seeds,
    soft_connectome,
)
from torrey.tractography.orientation import GradientTable, deconvolve, read_fsl_gradients, read_image

FRONTAL_LOBE = Path(__file__).parents[1] / "tests" / "data" / "frontal_lobe.nii.gz"
# of this brain at b = 2000 s/mm², found by MRtrix's dwi2response tournier
RESPONSE = torch.tensor([655.1, -318.7, 71.3], dtype=torch.float64)
GENU = (2.0, 51.0, 42.0)  # mm, where streamlines start
LOBES = ((-10.0, 84.0, 42.0), (13.0, 84.0, 42.0))  # mm, left and right
REACH, RADIUS = 8.0, 10.0  # mm, of the start and of the lobes
ANGLE = 10.0  # degrees between steps of 0.3 mm: no turn tighter than a radius of 1.7 mm
WIDTH = 3.0  # mm, over which an end is blurred
N_SEEDS = 300
CHANGE = 1e-6  # of the signal at b = 0, for the difference


@dataclass(frozen=True, eq=False)
class Scan:
    """Where an image lies, how it was made, and the settings that stay the same when its signals change."""

    grid: Grid
    table: GradientTable
    brain: Tensor
    seeds: Tensor

    def track(self, images: Tensor) -> Streamlines:
        """Return the streamlines, differentiable in `images`."""
        fods = deconvolve(images, self.table, RESPONSE, degree=4, mask=self.brain)
        return propagate(
            SHField(fods, self.grid.affine),
            self.seeds,
            directions=torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64),
            algorithm=SDStream(sharpen=True),
            angle=ANGLE,
            cutoff=0.15,
            mask=Region(self.brain, self.grid.affine),
        )

    def edge(self, tracks: Streamlines) -> Tensor:
        """Return how many streamlines are expected to join the lobes."""
        labels = torch.zeros(self.grid.shape, dtype=torch.int64)
        for label, centre in enumerate(LOBES, start=1):
            labels[ball(self.grid, centre, RADIUS) & self.brain] = label
        return soft_connectome(tracks, labels, self.grid.affine, width=WIDTH)[0, 1]


def main(path: Path = FRONTAL_LOBE, picture: Path | None = None) -> float:
    images, grid = read_image(path, n_dimensions=4)
    stem = path.name.partition(".")[0]
    table = read_fsl_gradients(path.with_name(f"{stem}.bval"), path.with_name(f"{stem}.bvec"), grid=grid)
    brain = images[..., 0] > 0
    generator = torch.Generator().manual_seed(0)
    seeds = random_seeds(ball(grid, GENU, REACH) & brain, grid, N_SEEDS, generator=generator)
    scan = Scan(grid, table, brain, seeds)

    images.requires_grad_()
    tracks = scan.track(images)
    edge = scan.edge(tracks)
    (gradient,) = torch.autograd.grad(edge, images, retain_graph=True)
    at_rest = images.detach()[..., :1]
    sensitivity = (gradient * at_rest).abs().sum(-1)  # edge per change of a signal by S(b = 0)
    ordered = sensitivity.flatten().sort(descending=True).values.cumsum(0)
    n_half, n_most = ((ordered < share * ordered[-1]).sum() + 1 for share in (0.5, 0.9))
    print(f"{len(tracks)} streamlines, {edge.item():.1f} of them join the lobes")
    print(f"half of the sensitivity is in {n_half} voxels, 90 % in {n_most}, of {int(brain.sum())}")

    noise = at_rest * torch.randn(images.shape, generator=generator, dtype=images.dtype)
    error = differ(scan, images, tracks, noise)
    if picture is not None:
        draw(picture, at_rest[..., 0], sensitivity, tracks.detach(), grid)
    return error


def differ(scan: Scan, images: Tensor, tracks: Streamlines, noise: Tensor) -> float:
    """Return |derivative along `noise` / central difference − 1| over streamlines that keep their points.

    The others stop a step earlier or later: an event that the derivative does not see.
    """
    sides = [scan.track(images.detach() + sign * CHANGE * noise) for sign in (1, -1)]
    shapes = torch.stack([shape_of(side, len(scan.seeds)) for side in (tracks, *sides)])
    kept = (shapes == shapes[0]).all(-1).all(0)
    middle, up, down = (scan.edge(side.select(kept[side.seed_indices])) for side in (tracks, *sides))
    (gradient,) = torch.autograd.grad(middle, images)
    slope, difference = float((gradient * noise).sum()), float((up - down) / (2 * CHANGE))
    print(f"{int((~kept).sum())} streamlines change their number of points with signals ±{CHANGE:g} S(0)")
    print(f"along a random change: derivative {slope:.6g}, central difference of the others {difference:.6g}")
    return abs(slope / difference - 1)


def shape_of(tracks: Streamlines, n_seeds: int) -> Tensor:
    """Return (seeds, 2): the number of points of each seed's streamline and which of them is the seed."""
    shape = torch.zeros(n_seeds, 2, dtype=torch.int64)
    shape[tracks.seed_indices] = torch.stack([tracks.n_points, tracks.seed_places], 1)
    return shape


def ball(grid: Grid, centre: tuple[float, float, float], radius: float) -> Tensor:
    """Return the voxels (X, Y, Z) whose centres are within `radius` of `centre`, in mm."""
    voxels = torch.ones(grid.shape).nonzero().double()
    return ((grid.to_world(voxels) - torch.tensor(centre)).norm(dim=1) < radius).reshape(grid.shape)


def draw(path: Path, at_rest: Tensor, sensitivity: Tensor, tracks: Streamlines, grid: Grid) -> None:
    """Draw the sensitivity, its sum along each axis of the image, over a slice at b = 0, and streamlines."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    ends = [torch.tensor([lobe], dtype=torch.float64) for lobe in LOBES]
    tracks = Streamlines(grid.to_voxels(tracks.points), tracks.offsets)
    joined = [
        curve
        for curve in tracks
        if all((grid.to_world(curve[[0, -1]]) - end).norm(dim=1).min() < RADIUS + 2 for end in ends)
    ]
    place = grid.to_voxels(torch.tensor([GENU], dtype=torch.float64))[0].round().long().tolist()
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
    for axis, panel in enumerate(axes):
        across, up = (k for k in range(3) if k != axis)
        panel.imshow(at_rest.select(axis, place[axis]).T, cmap="gray", origin="lower")
        shown = sensitivity.sum(axis)
        shown = torch.where(shown > 1e-4 * shown.max(), shown, torch.nan).T
        image = panel.imshow(shown, cmap="inferno", origin="lower", norm=LogNorm(), alpha=0.8)
        for curve in joined:
            panel.plot(curve[:, across], curve[:, up], color="#56b4e9", linewidth=0.4)
        panel.set_axis_off()
        figure.colorbar(image, ax=panel, shrink=0.8)
    figure.suptitle("Σ |∂(edge)/∂(S/S(0))| of all images, summed along the line of sight")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
