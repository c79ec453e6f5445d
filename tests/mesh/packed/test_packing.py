import math
import re

import pytest
import torch

from torrey.errors import ConvergenceError, InputError
from torrey.mesh import Packing, gamma_radii, pack_cylinders, pack_spheres


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaps(packing):
    """Return the distances between all walls of cells and of the box."""
    between = torch.cdist(packing.centres, packing.centres) - packing.radii[:, None] - packing.radii
    to_box = packing.side / 2 - packing.centres.abs() - packing.radii[:, None]
    return torch.cat([between[~torch.eye(len(between), dtype=torch.bool)], to_box.ravel()])


@pytest.mark.parametrize(
    ("pack", "radii", "fraction", "gap"),
    [
        (pack_cylinders, torch.ones(60), 0.7, 0.05),
        (pack_cylinders, gamma_radii(80, mean=1.0, std=0.4, generator=seeded()), 0.75, 0.03),
        (pack_cylinders, [2.0], 0.3, 0.5),
        (pack_spheres, torch.ones(50), 0.4, 0.1),
        (pack_spheres, torch.ones(200), 0.5, 0.05),
    ],
)
def test_cells_are_packed_as_densely_as_asked_and_keep_their_gaps(pack, radii, fraction, gap):
    packing = pack(radii, volume_fraction=fraction, gap=gap, generator=seeded())
    dimension = packing.centres.shape[1]
    unit = {2: math.pi, 3: 4 / 3 * math.pi}[dimension]
    taken = sum(unit * float(r) ** dimension for r in radii) / packing.side**dimension
    assert taken == pytest.approx(fraction, rel=1e-12)
    assert packing.volume_fraction == pytest.approx(fraction, rel=1e-12)
    # distances of Euclid by torch.cdist, which may lose eight digits
    assert float(gaps(packing).min()) > gap - 1e-6
    assert packing.gap == pytest.approx(float(gaps(packing).min()), abs=1e-6)


def test_the_seed_decides():
    def packed(seed):
        return pack_cylinders(torch.ones(20), volume_fraction=0.6, gap=0.1, generator=seeded(seed)).centres

    assert torch.equal(packed(1), packed(1))
    assert not torch.allclose(packed(1), packed(2), atol=0.1)


def test_cells_spread_over_the_whole_square():
    """In expectation the second moment about the centre is that of the uniform distribution, side²/12."""
    packings = [
        pack_cylinders(torch.ones(100), volume_fraction=0.5, gap=0.1, generator=seeded(k)) for k in range(4)
    ]
    moment = torch.cat([p.centres / p.side for p in packings]).square().mean(0)
    # walls keep centres a radius away (0.04 of the side here), which takes some 15 % off
    assert moment.tolist() == pytest.approx([1 / 12, 1 / 12], rel=0.25)


@pytest.mark.parametrize(
    # the densest of equal discs and balls in the whole plane and space cover 0.9069 and 0.7405
    ("pack", "fraction", "densest"),
    [(pack_cylinders, 0.95, 0.9069), (pack_spheres, 0.8, 0.7405)],
)
def test_a_fraction_out_of_reach_names_the_one_reached(pack, fraction, densest):
    with pytest.raises(ConvergenceError, match=f"asked for {fraction}") as caught:
        pack(torch.ones(12), volume_fraction=fraction, gap=0.01, generator=seeded())
    reached = float(re.search(r"reached the volume fraction (\S+),", str(caught.value))[1])
    assert 0.4 * densest < reached < densest


def test_gamma_radii_have_the_mean_and_deviation():
    radii = gamma_radii(20_000, mean=0.8, std=0.3, generator=seeded())
    # five standard errors: σ/√n of the mean and about σ√(kurtosis)/(2√n) of the deviation
    assert float(radii.mean()) == pytest.approx(0.8, abs=5 * 0.3 / math.sqrt(20_000))
    assert float(radii.std()) == pytest.approx(0.3, abs=5 * 0.3 / math.sqrt(20_000))
    # skewness of a gamma distribution is twice its coefficient of variation
    skewness = float(((radii - radii.mean()) / radii.std()).pow(3).mean())
    assert skewness == pytest.approx(2 * 0.3 / 0.8, abs=0.15)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Packing([[0.0, 0.0], [1.0, 0.0]], [0.6, 0.6], 6.0), "smallest gap .* is -0.2 µm"),
        (lambda: Packing([[0.0, 0.0]], [1.0], 2.0), "smallest gap .* is 0 µm"),
        (lambda: Packing([[0.0, 0.0]], [1.0, 1.0], 9.0), "2 radii for 1 centres"),
        (lambda: Packing([[0.0]], [1.0], 9.0), r"centres have shape \(1, 1\)"),
        (lambda: pack(radii=[1.0, -1.0]), "a radius is -1.0"),
        (lambda: pack(radii=1.0), r"radii have shape \(\)"),
        (lambda: pack(volume_fraction=1.2), "volume_fraction is 1.2"),
        (lambda: pack(gap=0.0), "gap is 0.0"),
        (lambda: pack(radii=[1.0], volume_fraction=0.8), "does not fit the side"),
        (lambda: gamma_radii(5, mean=1.0, std=0.0, generator=seeded()), "std 0.0 µm"),
    ],
)
def test_impossible_packings_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def pack(**changes):
    options = {"radii": [1.0, 1.0], "volume_fraction": 0.3, "gap": 0.1, "generator": seeded()} | changes
    return pack_cylinders(options.pop("radii"), **options)
