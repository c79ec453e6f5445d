"""Soft ends of streamlines: against the product written out, their limit, and differences."""

import pytest
import torch
from fields_of_known_flow import affine_of, ptt_fod, straight

from torrey.errors import InputError
from torrey.tractography import (
    SDStream,
    SHField,
    Streamlines,
    end_chances,
    expected_lengths,
    propagate,
    survival,
)

EXACT = SDStream(sharpen=True)


def fading(size=12):
    """A lobe along x whose amplitude falls linearly from 1 at x = 0 to 0 at x = size − 1."""
    lobe = straight((1, 0, 0), shape=(size, 4, 4))
    amplitudes = torch.linspace(1, 0, size, dtype=torch.float64)
    return SHField(lobe.coefficients * amplitudes[:, None, None, None], affine_of())


def line_in(field, cutoff=0.0, **settings):
    seed = torch.tensor([[4.0, 2.0, 2.0]], dtype=torch.float64)
    towards = torch.tensor([1.0, 0.1, 0.0])
    defaults = {"algorithm": EXACT, "step": 0.5, "min_length": 0, "directions": towards}
    return propagate(field, seed, cutoff=cutoff, **(defaults | settings))


def test_the_product_of_chances_from_the_seed():
    field = fading()
    tracks = line_in(field, cutoff=0.05)
    amplitudes = 1 - tracks.points[:, 0].clamp_min(0) / 11
    passed = torch.sigmoid((amplitudes - 0.4) / 0.05)
    seed = int(tracks.seed_places[0])
    expected = torch.stack([passed[min(row, seed) : max(row, seed) + 1].prod() for row in range(len(passed))])
    chances = survival(field, tracks, cutoff=0.4, width=0.05, algorithm=EXACT)
    torch.testing.assert_close(chances, expected, atol=1e-10, rtol=0)


def test_narrow_widths_end_streamlines_where_the_cutoff_does():
    field = fading()
    tracks = line_in(field, cutoff=0.05)
    chances = survival(field, tracks, cutoff=0.42, width=1e-6, algorithm=EXACT)
    # amplitudes are 1 − x/11: below 0.42 beyond x = 6.38
    torch.testing.assert_close(chances, (tracks.points[:, 0] < 6.38).double())
    (hard,) = line_in(field, cutoff=0.42)
    # the hard streamline keeps the step that its last good point still takes
    assert float(expected_lengths(tracks, chances)) == pytest.approx((len(hard) - 2) * 0.5)
    ends = end_chances(tracks, chances).nonzero()[:, 0]
    assert tracks.points[ends, 0].tolist() == pytest.approx([6.0, tracks.points[-1, 0].item()])


def test_both_halves_end_somewhere():
    coefficients, affine = ptt_fod()
    field = SHField(coefficients, affine)
    voxels = torch.tensor([[8.1, 4.2, 4.1], [6.3, 3.6, 4.4], [9.2, 4.2, 3.6]]).double()
    tracks = propagate(field, field.grid.to_world(voxels), cutoff=0.02, directions=torch.tensor([1.0, 0, 0]))
    chances = survival(field, tracks, cutoff=0.3, width=0.05)
    ends = end_chances(tracks, chances)
    seeds = tracks.offsets[:-1] + tracks.seed_places
    total = torch.zeros(len(tracks)).double().index_add(0, tracks.owners, ends)
    torch.testing.assert_close(total, 2 * chances[seeds])


def test_derivatives_in_the_image_and_the_cutoff():
    coefficients = fading().coefficients.clone()
    weights = torch.randn(coefficients.shape, generator=torch.Generator().manual_seed(0)).double()
    weights = weights * (coefficients != 0)

    def length(shift, cutoff):
        field = SHField(coefficients + shift * weights, affine_of())
        tracks = line_in(field, cutoff=0.05, step=0.37)  # no point is on a face of the image
        chances = survival(field, tracks, cutoff=cutoff, width=0.1, algorithm=EXACT)
        return expected_lengths(tracks, chances)[0]

    zero, cutoff = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.0, 0.4))
    ours = torch.autograd.grad(length(zero, cutoff), (zero, cutoff))
    size = 1e-5
    differences = (
        (length(size, 0.4) - length(-size, 0.4)) / (2 * size),
        (length(0.0, 0.4 + size) - length(0.0, 0.4 - size)) / (2 * size),
    )
    for slope, difference in zip(ours, differences, strict=True):
        assert float(slope) == pytest.approx(float(difference), rel=1e-5)


def test_points_where_nothing_was_imaged_have_no_say():
    coefficients = fading().coefficients.clone()
    coefficients[7:] = 0  # the last point is among voxels that are all zero: a function without any peak
    coefficients.requires_grad_()
    field = SHField(coefficients, affine_of())
    tracks = line_in(field, cutoff=0.05, step=2.4)
    assert float(tracks.points[:, 0].max()) > 8
    lengths = expected_lengths(tracks, survival(field, tracks, cutoff=0.2, width=0.2, algorithm=EXACT))
    (gradient,) = torch.autograd.grad(lengths.sum(), coefficients)
    assert bool(gradient.isfinite().all())
    assert float(gradient.abs().max()) > 0


def test_what_survival_cannot_do_is_told():
    field = fading()
    tracks = line_in(field)
    with pytest.raises(InputError, match="width is 0"):
        survival(field, tracks, cutoff=0.1, width=0.0)
    with pytest.raises(InputError, match="seed_places"):
        survival(field, Streamlines(tracks.points, tracks.offsets), cutoff=0.1, width=0.1)
