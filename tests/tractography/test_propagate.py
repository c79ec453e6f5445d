"""Streamlines against curves known in closed form, and MRtrix's rules of when they end."""

import math

import pytest
import torch
from fields_of_known_flow import affine_of, along_parabola, parabolas, ptt_fod, straight

from torrey.errors import InputError
from torrey.tractography import (
    DiffusionField,
    Euler,
    Region,
    RungeKutta,
    SDStream,
    SHField,
    TensorDet,
    propagate,
)

EXACT = SDStream(sharpen=True)
CENTRE = torch.tensor([[3.0, 3.0, 3.0]], dtype=torch.float64)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def follow(field, seeds, **settings):
    defaults = {"algorithm": EXACT, "cutoff": 0.0, "min_length": 0.0}
    return propagate(field, seeds, **(defaults | settings))


@pytest.mark.parametrize("direction", [(1, 2, 2), (0, 0, 1), (1e-9, 0, 1), (0, 0, -1), (1, 0, 0)])
@pytest.mark.parametrize("method", [Euler(), RungeKutta()])
def test_one_lobe_gives_a_line_through_the_seed(direction, method):
    axis = vector(*direction) / vector(*direction).norm()
    start = axis + 0.3 * vector(0.5, -0.7, 0.2)
    (line,) = follow(straight(direction), CENTRE, directions=start, method=method, step=0.25)
    along = (line - CENTRE) @ axis
    # peaks are exact to 1e-12 and hundreds of steps add up
    torch.testing.assert_close(line, CENTRE + along[:, None] * axis, atol=1e-9, rtol=0)
    torch.testing.assert_close(along.diff(), torch.full_like(along[1:], -0.25), atol=1e-9, rtol=0)


def test_euler_is_of_first_order_and_runge_kutta_keeps_to_the_curve():
    seed = vector(1.0, 2.0, 1.5)

    def off_the_curve(method, step):
        settings = {"directions": vector(1, 1, 0), "max_length": 4.0, "unidirectional": True}
        (curve,) = follow(parabolas(), seed[None], method=method, step=step, **settings)
        roots = torch.complex(curve[:, 0], curve[:, 1]).sqrt().imag
        return (roots - roots[0]).abs().max()

    coarse, fine = (off_the_curve(Euler(), step) for step in (0.2, 0.1))
    assert 1.8 < coarse / fine < 2.2
    coarse, fine = (off_the_curve(RungeKutta(), step) for step in (0.2, 0.1))
    assert 7 < coarse / fine < 17  # normalising the mean direction costs one of the four orders
    assert fine < 1e-8


def test_euler_converges_to_the_arc_length_too():
    seed = vector(1.0, 2.0, 1.5)
    settings = {"directions": vector(1, 1, 0), "max_length": 4.0, "unidirectional": True}
    (curve,) = follow(parabolas(), seed[None], method=RungeKutta(), step=0.05, **settings)
    lengths = 0.05 * torch.arange(len(curve), dtype=torch.float64)
    # steps are chords of length h, arcs are longer by h²κ²/24: 1e-4 · 0.3² / 24 · 4 mm of arc, doubled
    torch.testing.assert_close(curve, along_parabola(seed, lengths), atol=1e-5, rtol=0)


def test_a_streamline_runs_through_its_seed_and_both_halves_oppose():
    (line,) = follow(straight((1, 0, 0)), CENTRE, directions=vector(1, 0, 0), step=0.5)
    row = int((line - CENTRE).norm(dim=1).argmin())
    assert torch.equal(line[row], CENTRE[0])
    assert line[0, 0] > line[row, 0] > line[-1, 0]


def test_the_first_point_outside_the_image_is_kept_and_a_mask_ends_before():
    field = straight((1, 0, 0))
    (line,) = follow(field, CENTRE, directions=vector(1, 0, 0), step=0.5)
    # cells reach to 7.5 and −0.5, themselves outside: having left is noticed at the next step
    assert line[0, 0] == pytest.approx(7.5)
    assert line[-1, 0] == pytest.approx(-0.5)
    inner = torch.zeros(8, 8, 8)
    inner[2:6] = 1
    (line,) = follow(field, CENTRE, directions=vector(1, 0, 0), step=0.5, mask=Region(inner, affine_of()))
    assert line[0, 0] == pytest.approx(5.0)  # 5.5 rounds to voxel 6
    assert line[-1, 0] == pytest.approx(1.5)  # rounds to voxel 2


def test_length_limits_count_points_as_mrtrix_does():
    field = straight((1, 0, 0), shape=(64, 4, 4))
    seed = vector(30.0, 2.0, 2.0)[None]
    (line,) = follow(field, seed, directions=vector(1, 0, 0), step=0.5, max_length=6.0)
    # the first half takes 3 + 6/0.5 points; the other still adds one
    assert len(line) == 16
    assert len(follow(field, seed, directions=vector(1, 0, 0), step=0.5, min_length=40.0)) == 1
    assert len(follow(field, seed, directions=vector(1, 0, 0), step=0.5, min_length=32.5)) == 1
    short = {"max_length": 6.0, "unidirectional": True}
    assert len(follow(field, seed, directions=vector(1, 0, 0), step=0.5, min_length=6.0, **short)) == 1


def test_regions():
    field = straight((1, 0, 0))
    ahead, aside = torch.zeros(8, 8, 8), torch.zeros(8, 8, 8)
    ahead[6] = 1
    aside[:, 6] = 1
    ahead, aside = Region(ahead, affine_of()), Region(aside, affine_of())
    settings = {"directions": vector(1, 0, 0), "step": 0.5}
    assert len(follow(field, CENTRE, include=[ahead], **settings)) == 1
    assert len(follow(field, CENTRE, include=[ahead, aside], **settings)) == 0
    assert len(follow(field, CENTRE, exclude=[aside], **settings)) == 1
    assert len(follow(field, CENTRE, exclude=[ahead], **settings)) == 0


def test_a_lower_amplitude_than_the_cutoff_ends_a_streamline():
    coefficients = straight((1, 0, 0)).coefficients.clone()
    coefficients[5:] *= 0.4
    field = SHField(coefficients, affine_of())
    (line,) = follow(field, CENTRE, directions=vector(1, 0, 0), step=0.25, cutoff=0.69)
    # the amplitude falls from 1 to 0.4 between 4 and 5: 0.7 at 4.5, where the next step still starts
    assert line[0, 0] == pytest.approx(4.75)


def test_a_turn_sharper_than_the_angle_ends_a_streamline():
    coefficients = straight((1, 0, 0)).coefficients.clone()
    coefficients[5:] = straight((math.cos(1), math.sin(1), 0)).coefficients[5:]  # 57 degrees aside
    field = SHField(coefficients, affine_of())
    settings = {"directions": vector(1, 0, 0), "step": 2.0, "unidirectional": True}
    (turned,) = follow(field, CENTRE, angle=60, **settings)
    (ended,) = follow(field, CENTRE, angle=50, **settings)
    assert len(turned) > len(ended) == 2


def test_tensor_axes_are_followed():
    axis = vector(2, 1, -1) / vector(2, 1, -1).norm()
    form = 0.3e-3 * torch.eye(3, dtype=torch.float64) + 1.4e-3 * axis[:, None] * axis
    directions = torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    directions = torch.cat([torch.zeros(1, 3), directions / directions.norm(dim=1, keepdim=True)])
    bvals = torch.full((31,), 1000.0, dtype=torch.float64)
    bvals[0] = 0
    signals = 100 * torch.exp(-bvals * ((directions @ form) * directions).sum(1))
    field = DiffusionField(signals.expand(8, 8, 8, -1), affine_of(), bvals, directions)
    (line,) = propagate(field, CENTRE, step=0.2, min_length=0)
    offsets = line - CENTRE
    torch.testing.assert_close(offsets, (offsets @ axis)[:, None] * axis, atol=1e-9, rtol=0)
    assert len(propagate(field, CENTRE, step=0.2, min_length=0, cutoff=0.9)) == 0  # its anisotropy is 0.8


def test_finished_streamlines_do_not_disturb_the_others():
    coefficients, affine = ptt_fod()
    field = SHField(coefficients, affine)
    seeds = field.grid.to_world(
        torch.tensor([[8.0, 4, 4], [6.3, 3.6, 4.4], [9.2, 4.2, 3.6], [7.2, 4.6, 4.0]]).double()
    )
    together = follow(field, seeds, directions=vector(1, 0, 0), cutoff=0.1)
    assert len(together) >= 3
    for index, curve in zip(together.seed_indices, together, strict=True):
        (alone,) = follow(field, seeds[index][None], directions=vector(1, 0, 0), cutoff=0.1)
        torch.testing.assert_close(alone, curve, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step": 0.0}, "step is 0; expected a positive"),
        ({"angle": 120}, "angle is 120; expected degrees"),
        ({"cutoff": -1.0}, "cutoff is -1"),
        ({"min_length": 9.0, "max_length": 3.0}, "min_length 9 and max_length 3"),
        ({"directions": vector(0, 0, 0)}, "direction 0 is"),
        ({"directions": vector(0, 1)}, r"directions have shape \(2,\)"),
        ({"algorithm": TensorDet()}, "expected a DiffusionField"),
    ],
)
def test_wrong_settings_are_told(settings, message):
    with pytest.raises(InputError, match=message):
        follow(straight((1, 0, 0)), CENTRE, **settings)


def test_seeds_outside_the_image_are_told():
    with pytest.raises(InputError, match=r"seed 1 at \(30, 3, 3\) mm is outside the image"):
        follow(straight((1, 0, 0)), torch.cat([CENTRE, vector(30, 3, 3)[None]]))
