import math

import pytest
import torch
from fibre_phantom import OBLIQUE

from torrey.errors import InputError
from torrey.tractography import Grid, harmonics
from torrey.tractography.orientation import (
    convert_harmonics,
    rotate_harmonics,
    spiral_directions,
    to_voxel_axes,
    to_world_axes,
)

BASES = ("tournier07", "tournier07_legacy", "descoteaux07", "descoteaux07_legacy")
COEFFICIENTS = torch.randn(3, 45, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DIRECTIONS = spiral_directions(70)
VALUES = COEFFICIENTS @ harmonics(DIRECTIONS, 8).T


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.filterwarnings("ignore:The legacy")
def test_dipy_sees_the_same_function(basis):
    core = pytest.importorskip("dipy.core.sphere")
    shm = pytest.importorskip("dipy.reconst.shm")
    name, _, legacy = basis.partition("_")
    converted = convert_harmonics(COEFFICIENTS, source="tournier07", target=basis)
    sphere = core.Sphere(xyz=DIRECTIONS.numpy())
    theirs = shm.sh_to_sf(converted.numpy(), sphere, sh_order_max=8, basis_type=name, legacy=bool(legacy))
    # DIPY's angles of the vertices round to 1e-8 near the pole
    assert theirs == pytest.approx(VALUES.numpy(), abs=1e-7)


@pytest.mark.parametrize("source", BASES)
@pytest.mark.parametrize("target", BASES)
def test_there_and_back(source, target):
    there = convert_harmonics(COEFFICIENTS, source=source, target=target)
    back = convert_harmonics(there, source=target, target=source)
    assert back.numpy() == pytest.approx(COEFFICIENTS.numpy(), abs=1e-14)


def rotation():
    generator = torch.Generator().manual_seed(1)
    matrix, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return matrix * torch.linalg.det(matrix)


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_a_turned_function_has_its_values_at_turned_directions(flip):
    turn = rotation() @ torch.diag(torch.tensor([flip, 1.0, 1.0], dtype=torch.float64))
    turned = rotate_harmonics(COEFFICIENTS, turn)
    values = turned @ harmonics(DIRECTIONS @ turn.T, 8).T
    assert values.numpy() == pytest.approx(VALUES.numpy(), abs=1e-12)


def test_a_flip_of_x_changes_the_signs_it_should():
    """x → −x: (−1)^m for m ≥ 0 and (−1)^(|m|+1) for m < 0."""
    flipped = rotate_harmonics(COEFFICIENTS, torch.diag(torch.tensor([-1.0, 1.0, 1.0])))
    signs = [(-1) ** m if m >= 0 else (-1) ** (m + 1) for l in range(0, 9, 2) for m in range(-l, l + 1)]
    assert flipped.numpy() == pytest.approx((COEFFICIENTS * torch.tensor(signs)).numpy(), abs=1e-12)


def test_image_axes():
    """An image turned by 90° about z: what points along world x points along minus its second axis."""
    affine = torch.tensor([[0.0, -2, 0, 0], [2, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]], dtype=torch.float64)
    grid = Grid((2, 2, 2), affine)
    values = to_voxel_axes(COEFFICIENTS, grid) @ harmonics(torch.tensor([[0.0, -1, 0]]).double(), 8).T
    along_x = COEFFICIENTS @ harmonics(torch.tensor([[1.0, 0, 0]]).double(), 8).T
    assert values.numpy() == pytest.approx(along_x.numpy(), abs=1e-12)
    oblique = Grid((2, 2, 2), torch.from_numpy(OBLIQUE))
    back = to_world_axes(to_voxel_axes(COEFFICIENTS, oblique), oblique)
    assert back.numpy() == pytest.approx(COEFFICIENTS.numpy(), abs=1e-11)


def test_conversions_are_differentiable():
    angle = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    short = COEFFICIENTS[:1, :6].clone().requires_grad_()

    def about_z(c, a):
        zero, one = torch.zeros_like(a), torch.ones_like(a)
        rows = [(a.cos(), -a.sin(), zero), (a.sin(), a.cos(), zero), (zero, zero, one)]
        turned = rotate_harmonics(c, torch.stack([torch.stack(row) for row in rows]))
        return convert_harmonics(turned, source="tournier07", target="descoteaux07")

    assert torch.autograd.gradcheck(about_z, (short, angle), eps=1e-6, atol=1e-7)


def test_bad_input():
    with pytest.raises(InputError, match="basis is 'mrtrix'; expected tournier07, "):
        convert_harmonics(COEFFICIENTS, source="mrtrix", target="tournier07")
    with pytest.raises(InputError, match="7 spherical-harmonic coefficients"):
        convert_harmonics(COEFFICIENTS[:, :7], source="tournier07", target="descoteaux07")
    with pytest.raises(InputError, match="rotation is not orthogonal"):
        rotate_harmonics(COEFFICIENTS, math.sqrt(2) * torch.eye(3))
