"""Fields whose streamlines are known in closed form, and a real one."""

from pathlib import Path

import nibabel
import numpy as np
import torch

from torrey.tractography import SHField, harmonics
from torrey.tractography.polynomial import harmonics_to_monomials

DATA = Path(__file__).parents[1] / "data"


def affine_of(size=1.0, origin=(0.0, 0.0, 0.0)):
    affine = torch.eye(4, dtype=torch.float64) * size
    affine[:3, 3] = torch.tensor(origin)
    affine[3, 3] = 1
    return affine


def straight(direction, degree=8, shape=(8, 8, 8)):
    """A lobe of |cos|^degree about one direction in every voxel: streamlines are lines along it."""
    direction = torch.as_tensor(direction, dtype=torch.float64)
    direction = direction / direction.norm()
    points = torch.randn(400, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    points = points / points.norm(dim=1, keepdim=True)
    lobe = torch.linalg.lstsq(harmonics(points, degree), ((points @ direction) ** degree)[:, None]).solution
    return SHField(lobe[:, 0].expand(*shape, -1).clone(), affine_of())


def parabolas(size=12):
    """A quadratic form linear in the position, [[x, y], [y, −x]] in the plane: its axis has half the azimuth.

    Its streamlines are the parabolas with their focus at the origin, √(x + iy) = u + iv with v constant. What
    is linear is interpolated without error.
    """
    centre = size / 2 - 0.25  # the focus, where the axis is undefined, is between voxels
    grid = torch.arange(size, dtype=torch.float64) - centre
    x, y, _ = torch.meshgrid(grid, grid, torch.arange(4, dtype=torch.float64), indexing="ij")
    zero = torch.zeros_like(x)
    # monomials x², xy, xz, y², yz, z²; the third axis is far below the others
    forms = torch.stack([x, 2 * y, zero, -x, zero, zero - 50], -1)
    coefficients = forms @ torch.linalg.inv(harmonics_to_monomials(2))
    return SHField(coefficients, affine_of(1.0, (-centre, -centre, 0.0)))


def along_parabola(seed, lengths):
    """Return the points at signed arc `lengths` (n,) from `seed` (3,), differentiable in it."""
    radius = (seed[0] ** 2 + seed[1] ** 2).sqrt()
    u, v = ((radius + seed[0]) / 2).sqrt(), ((radius - seed[0]) / 2).sqrt() * seed[1].sign()

    def arc(t):
        return t * (t * t + v * v).sqrt() + v * v * torch.asinh(t / v.abs())

    goal = arc(u) + lengths
    t = u.expand_as(lengths)
    for _ in range(60):  # Newton: d(arc)/dt = 2 √(t² + v²)
        t = t - (arc(t) - goal) / (2 * (t * t + v * v).sqrt())
    return torch.stack([t * t - v * v, 2 * t * v, seed[2].expand_as(t)], -1)


def ptt_fod():
    """The synthetic FOD image of DIPY's tests (CC0), in float64."""
    image = nibabel.load(DATA / "ptt_fod.nii")
    return torch.tensor(np.asarray(image.dataobj, dtype=np.float64)), torch.tensor(image.affine)
