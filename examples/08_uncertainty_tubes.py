"""How sure is the way of a streamline? Tubes of one standard deviation, to first order in the images' noise.

The derivative J of a point with respect to every voxel of every image turns noise of standard deviation σ,
taken from the residuals of a tensor fit, into the covariance σ² J Jᵀ of the point. Noisy images, tracked anew
from the same seeds, say how well that holds; points compared are equally many steps from the seed. Returns by
how much the median ratio of both radii differs from 1 when noise is a tenth of the measured. `tests/data`
holds the frontal lobe; give another image of that brain (with its bval and bvec beside it), a picture to draw
and the number of noisy images as arguments.
"""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from torrey.tractography import DiffusionField, Grid, Region, Streamlines, propagate
from torrey.tractography.orientation import GradientTable, fit_tensor, read_fsl_gradients, read_image
from torrey.units import S_PER_MM2

FRONTAL_LOBE = Path(__file__).parents[1] / "tests" / "data" / "frontal_lobe.nii.gz"
SEEDS = torch.tensor(  # mm, in the front of the corpus callosum
    [
        [2.0, 51.0, 36.0],
        [2.0, 51.0, 42.0],
        [2.0, 54.0, 39.0],
        [2.0, 48.0, 45.0],
        [2.0, 54.0, 42.0],
        [2.0, 45.0, 48.0],
    ],
    dtype=torch.float64,
)
STEP = 1.0  # mm
STEPS = torch.tensor([s for s in range(-40, 41, 4) if s])  # from the seed, where tubes are computed
AT_ONCE = 24  # images tracked side by side
DISTANCES = (0, 12, 24, 40)  # mm, limits of the rows that are printed


@dataclass(frozen=True, eq=False)
class Scan:
    """Where an image lies and how it was made."""

    grid: Grid
    table: GradientTable
    brain: Tensor

    def track(self, images: Tensor) -> Streamlines:
        """Return streamlines of images (n, X, Y, Z, N), those of each after those of the one before.

        Images are laid side by side along x, an empty plane between them, so that all grow in one call.
        """
        shift = (self.grid.shape[0] + 1) * self.grid.affine[:3, 0]
        shifts = torch.arange(len(images))[:, None, None] * shift
        empty_plane = (0, 0, 0, 0, 0, 1)
        field = DiffusionField(
            pad(images, (0, 0, *empty_plane)).flatten(0, 1),
            self.grid.affine,
            self.table.bvals,
            self.table.directions,
        )
        tracks = propagate(
            field,
            (SEEDS + shifts).reshape(-1, 3),
            directions=torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64),
            step=STEP,
            cutoff=0.15,
            angle=30.0,
            min_length=0.0,
            mask=Region(pad(self.brain, empty_plane).repeat(len(images), 1, 1), self.grid.affine),
        )
        back = shifts[tracks.seed_indices[tracks.owners] // len(SEEDS), 0]
        return Streamlines(tracks.points - back, tracks.offsets, tracks.seed_indices, tracks.seed_places)


def main(path: Path = FRONTAL_LOBE, picture: Path | None = None, n_images: int = 24) -> float:
    images, grid = read_image(path, n_dimensions=4)
    stem = path.name.partition(".")[0]
    table = read_fsl_gradients(path.with_name(f"{stem}.bval"), path.with_name(f"{stem}.bvec"), grid=grid)
    scan = Scan(grid, table, images[..., 0] > 0)
    sigma = noise_of(images[scan.brain], table)
    print(f"noise {sigma:.1f}, signal at b = 0 {float(images[scan.brain][:, 0].median()):.0f} (medians)")

    tracks = scan.track(images[None])
    tangents = places_of(tracks, 1)[1][0]
    radii = radii_of(sigma**2 * covariances_of(scan, images), tangents)

    generator = torch.Generator().manual_seed(0)
    noisy = [noisy_points(scan, images, share * sigma, n_images, generator) for share in (1.0, 0.1)]
    ratios = [
        radii / radii_of(spread(points) / share**2, tangents)
        for points, share in zip(noisy, (1.0, 0.1), strict=True)
    ]
    distances = STEP * STEPS.abs().expand_as(radii)
    for nearest, farthest in itertools.pairwise(DISTANCES):
        row = (distances > nearest) & (distances <= farthest)
        whole, tenth = (ratio[row].nanmedian() for ratio in ratios)
        print(
            f"{nearest:2d} to {farthest} mm from the seed: radius {radii[row].nanmedian():.2f} mm, "
            f"over that of {n_images} noisy images {whole:.2f}; with a tenth of the noise {tenth:.2f}"
        )
    wide = (ratios[0] < 1 / 1.5) | (ratios[0] > 1.5)
    print(f"off by more than 1.5 at {int(wide.sum())} of {int(ratios[0].isfinite().sum())} places")
    if picture is not None:
        draw(picture, scan, images[..., 0], tracks, (radii, noisy[0]))
    return abs(float(ratios[1].nanmedian()) - 1)


def noise_of(signals: Tensor, table: GradientTable) -> float:
    """Return the median over voxels of the standard deviation of `signals` (V, N) about a tensor fit."""
    tensors = fit_tensor(signals, table)
    g = table.directions
    diffusivities = torch.einsum("ni,vij,nj->vn", g, tensors.diffusivity, g)  # µm²/ms
    fitted = tensors.s0[:, None] * (-table.bvals / S_PER_MM2 * diffusivities).exp()
    return float(((signals - fitted).square().sum(1) / (len(g) - 7)).sqrt().median())


def places_of(tracks: Streamlines, n_images: int) -> tuple[Tensor, Tensor]:
    """Return points at STEPS from the seeds and unit tangents: (images, seeds, steps, 3), NaN if missing."""
    missing = tracks.points.new_full((n_images * len(SEEDS), len(STEPS), 3), torch.nan)
    place = tracks.seed_places[:, None] + STEPS
    there = (place > 0) & (place < tracks.n_points[:, None] - 1)
    streamline, step = there.nonzero().unbind(1)
    rows = tracks.offsets[streamline] + place[there]
    index = (tracks.seed_indices[streamline], step)
    along = (tracks.points[rows + 1] - tracks.points[rows - 1]).detach()
    shape = (n_images, len(SEEDS), len(STEPS), 3)
    return (
        missing.index_put(index, tracks.points[rows]).reshape(shape),
        missing.index_put(index, along / along.norm(dim=1, keepdim=True)).reshape(shape),
    )


def covariances_of(scan: Scan, images: Tensor) -> Tensor:
    """Return J Jᵀ (seeds, steps, 3, 3) of the points at STEPS, J their derivative by all values of `images`.

    Each of AT_ONCE copies of the images gives a row of J in one backward pass: that of its own streamlines.
    """
    copies = images.repeat(AT_ONCE, 1, 1, 1, 1).requires_grad_()
    points, _ = places_of(scan.track(copies), AT_ONCE)
    products = torch.full((*points.shape[1:], 3), torch.nan, dtype=points.dtype)
    for places in points[0, ..., 0].isfinite().nonzero().split(AT_ONCE // 3):
        seeds, steps = places.unbind(1)
        chosen = points[: 3 * len(places)].unflatten(0, (-1, 3))[range(len(places)), :, seeds, steps]
        (rows,) = torch.autograd.grad(chosen.diagonal(dim1=1, dim2=2).sum(), copies, retain_graph=True)
        jacobians = rows[: 3 * len(places)].flatten(1).unflatten(0, (-1, 3))
        products[seeds, steps] = jacobians @ jacobians.mT
    return products


def noisy_points(
    scan: Scan, images: Tensor, sigma: float, n_images: int, generator: torch.Generator
) -> Tensor:
    """Return the points (images, seeds, steps, 3) of streamlines in images with noise added."""
    parts = []
    for begin in range(0, n_images, AT_ONCE):
        count = min(AT_ONCE, n_images - begin)
        noise = torch.randn((count, *images.shape), generator=generator, dtype=images.dtype)
        noisy = (images + sigma * noise).clamp_min(1.0) * scan.brain[..., None]
        parts.append(places_of(scan.track(noisy), count)[0])
    return torch.cat(parts)


def spread(points: Tensor) -> Tensor:
    """Return covariances (seeds, steps, 3, 3) over images; NaN where over a tenth ended before."""
    deviations = points - points.nanmean(0)
    there = deviations[..., 0].isfinite().sum(0)
    deviations = deviations.nan_to_num()
    products = torch.einsum("nski,nskj->skij", deviations, deviations) / (there - 1)[..., None, None]
    return torch.where((there >= 0.9 * len(points))[..., None, None], products, torch.nan)


def radii_of(covariances: Tensor, tangents: Tensor) -> Tensor:
    """Return the root mean square over the plane across `tangents` of standard deviations, mm."""
    along = torch.einsum("...i,...ij,...j->...", tangents, covariances, tangents)
    total = covariances.diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((total - along) / 2).sqrt()


def draw(path: Path, scan: Scan, at_rest: Tensor, tracks: Streamlines, tubes: tuple[Tensor, Tensor]) -> None:
    """Draw streamlines with their tubes and the points in noisy images, from above and from the front."""
    import matplotlib.pyplot as plt

    grid, (radii, noisy) = scan.grid, tubes
    place = grid.to_voxels(SEEDS.mean(0)).round().long().tolist()
    shown = grid.to_voxels(noisy[noisy.isfinite().all(-1)])
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for axis, panel in zip((2, 1), axes, strict=True):
        across = [0, 3 - axis]
        panel.imshow(at_rest.select(axis, place[axis]).T, cmap="gray", origin="lower")
        for number, (curve, seed) in enumerate(zip(tracks, tracks.seed_places.tolist(), strict=True)):
            # a radius is zero at the seed, which is given, and linear between the places where it is known
            known = radii[number].isfinite()
            steps = torch.cat([STEPS[known], torch.zeros(1)]).numpy()
            order = steps.argsort()
            radius = torch.cat([radii[number][known], torch.zeros(1)]).numpy()[order]
            near = np.arange(steps.min(), steps.max() + 1)
            points = grid.to_voxels(curve)[near.astype(int) + seed][:, across].numpy()
            tangents = np.gradient(points, axis=0)
            normals = np.stack([-tangents[:, 1], tangents[:, 0]], 1)
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            aside = np.interp(near, steps[order], radius)[:, None] / grid.voxel_size * normals
            cloud = grid.to_voxels(noisy[:, number].flatten(0, 1))[:, across]
            panel.plot(*cloud.T, ".", color=f"C{number}", markersize=1.2, alpha=0.5)
            panel.fill(*np.concatenate([points + aside, (points - aside)[::-1]]).T, color=f"C{number}")
            panel.plot(*points.T, color="white", linewidth=0.5)
        for limit, k in ((panel.set_xlim, 0), (panel.set_ylim, 1)):
            limit(float(shown[:, across[k]].min()) - 1, float(shown[:, across[k]].max()) + 1)
        panel.set_axis_off()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), *map(int, sys.argv[3:]))
