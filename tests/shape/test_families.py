"""The families against the formulas of their deformations, volumes in closed form, and counting."""

import math
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from torrey.errors import InputError, MeshError
from torrey.mesh import Bead, Bend, Compose, Twist, cylinder, prism, tet_volumes
from torrey.shape.families import (
    SPLITS,
    AbstractDeformed,
    Beads,
    BendTwist,
    Draws,
    Fans,
    Mixed,
    axis_rotations,
)

FAMILIES = BendTwist(), Beads(), Fans()
EACH = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
PRISM_VOLUME = 12 / 2 * 9 * math.sin(2 * math.pi / 12) * 9


@pytest.fixture(scope="module")
def many():
    """About 2000 samples of each family, spread over its splits."""
    return {
        family.name: [family.sample(index, seed=1) for index in range(0, family.n_shapes, 17)]
        for family in FAMILIES
    }


def canonical_by_hand(sample):
    """Return diag(s) d(template), centred, from the formulas of the paper, in NumPy."""
    x, y, z = prism().vertices.numpy().T.copy()
    t = (z + 4.5) / 9
    p = sample.parameters
    if sample.family == "bend":
        x = x + 30 * p["bend"] * 6 * t**2
        middle = 30 * p["bend"] * 6 / 2
        turned = middle + (x - middle + 1j * y) * np.exp(1j * p["twist"] * t)
        x, y = turned.real, turned.imag
    elif sample.family == "bead":
        wide = 1 + p["amplitude"] * np.sin(2 * np.pi * p["count"] * t)
        x, y = x * wide, y * wide
    else:
        wide = 1 + 9 * t * np.tan(np.radians(p["angle"])) / 3
        x, y = x * wide, y * wide
    made = np.stack([x, y, z], axis=1) * sample.scale.numpy()
    return made - made.mean(0)


def uniform_distance(values):
    """Return the Kolmogorov–Smirnov distance from the uniform law on [0, 1]; 1.63/√n is its 1 % quantile."""
    ranks = (torch.arange(len(values), dtype=torch.float64) + 0.5) / len(values)
    return float((values.sort().values - ranks).abs().max())


@EACH
@pytest.mark.parametrize("split", SPLITS)
def test_samples_are_what_the_formulas_give(family, split):
    for index in family.split(split)[:20]:
        sample = family.sample(index)
        expected = canonical_by_hand(sample)
        # rounding of coordinates up to 150 µm
        np.testing.assert_allclose(sample.canonical.numpy(), expected, atol=2e-13)
        world = sample.vertices.numpy()
        np.testing.assert_allclose(world - world.mean(0), expected @ sample.rotation.numpy().T, atol=2e-13)


@EACH
def test_volumes_are_those_of_closed_forms(family):
    mesh = prism()
    for index in range(40):
        sample = family.sample(index, seed=3)
        p, z = sample.parameters, torch.linspace(0, 1, 21, dtype=torch.float64)
        if family.name == "bead":
            radius = 1 + p["amplitude"] * torch.sin(2 * math.pi * p["count"] * z)
        elif family.name == "fan":
            radius = 1 + 9 * z * math.tan(math.radians(p["angle"])) / 3
        else:
            radius = torch.ones(21, dtype=torch.float64)
        # frusta between similar layers: h/3 (r² + rR + R²)
        low, high = radius[:-1], radius[1:]
        relative = float((low**2 + low * high + high**2).sum()) / 60
        expected = PRISM_VOLUME * relative * float(sample.scale.prod())
        volume = float(tet_volumes(sample.vertices, mesh.tets).sum())
        if family.name == "bend":
            # bending shears. A layer turned by ω against the next makes its sides, 2r sin 15° wide, skew
            # by rω sin 15°; a diagonal then adds or takes a sixth of that times width and height. Those of
            # 11 sides run one way, that of the last the other
            turn = p["twist"] / 20
            change = (11 - 1) * 2 * math.sin(math.pi / 12) ** 2 / 6 / 3 * turn
            assert abs(volume / expected - 1) == pytest.approx(change, abs=turn**2)
        else:
            assert volume == pytest.approx(expected, rel=1e-12)


@EACH
def test_no_tet_is_inverted_and_nothing_was_redrawn(family, many):
    mesh = prism()
    for sample in many[family.name]:
        assert float(tet_volumes(sample.vertices, mesh.tets).min()) > 0
        assert sample.redrawn == 0


def test_the_rotations_are_those_of_a_tetrahedron():
    rotations = axis_rotations()
    assert torch.equal(rotations[0], torch.eye(3, dtype=torch.float64))
    assert torch.equal(rotations @ rotations.mT, torch.eye(3, dtype=torch.float64).expand(12, 3, 3))
    assert torch.equal(torch.linalg.det(rotations), torch.ones(12, dtype=torch.float64))
    assert len({tuple(each.ravel().tolist()) for each in rotations}) == 12
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    for each in rotations:
        assert {tuple(corner) for corner in (corners @ each.T).tolist()} == set(map(tuple, corners.tolist()))


@EACH
def test_poses_and_scales_are_drawn_evenly(family, many):
    samples = many[family.name]
    n = len(samples)
    poses = Counter(tuple(each.rotation.ravel().tolist()) for each in samples)
    assert len(poses) == 12
    # four standard deviations of a count
    assert all(abs(count - n / 12) < 4 * (n * 11 / 144) ** 0.5 for count in poses.values())
    scales = torch.stack([each.scale for each in samples])
    assert float(scales.amin()) >= 0.5
    assert float(scales.amax()) < 1.5
    for along in scales.T:
        assert uniform_distance(along - 0.5) < 1.63 / n**0.5


@pytest.mark.parametrize(
    ("family", "counts"),
    [
        (BendTwist(), (26_136, 4_500, 4_500)),
        (Beads(), (24_696, 4_500, 4_500)),
        (Fans(), (26_136, 4_500, 4_500)),
        (Mixed(), (76_968, 13_500, 13_500)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_splits_are_disjoint_and_complete(family, counts):
    splits = [family.split(name) for name in SPLITS]
    assert tuple(map(len, splits)) == counts
    assert [index for split in splits for index in split] == list(range(family.n_shapes))
    assert [family.split_of(split[0]) for split in splits] == list(SPLITS)
    assert [family.split_of(split[-1]) for split in splits] == list(SPLITS)


def test_what_is_tested_was_not_trained_on(many):
    def values(family, name, split):
        indices = family.split(split)
        return {each.parameters[name] for each in many[family.name] if each.index in indices}

    for split in ("train", "validation"):
        assert values(Beads(), "count", split) == {1, 3, 5, 7}
        assert values(Fans(), "angle", split) == set(range(1, 60, 2))
    assert values(Beads(), "count", "test") == {0, 2, 4, 6, 8}
    assert values(Fans(), "angle", "test") == set(range(0, 61, 2))


@pytest.mark.parametrize(
    ("family", "name", "low", "high"),
    [("bend", "bend", 0, 0.5), ("bend", "twist", 0, 0.5), ("bead", "amplitude", 0.3, 0.4)],
)
def test_continuous_parameters_fill_their_range(family, name, low, high, many):
    values = torch.tensor([each.parameters[name] for each in many[family]], dtype=torch.float64)
    assert low <= float(values.amin())
    assert float(values.amax()) < high
    assert uniform_distance((values - low) / (high - low)) < 1.63 / len(values) ** 0.5


def test_mixed_holds_every_shape_of_the_three_once():
    mixed = Mixed()
    for split in SPLITS:
        at = mixed.split(split).start
        for family in FAMILIES:
            own = family.split(split)
            assert mixed.member_of(at) == (family, own[0])
            at += len(own)
            assert mixed.member_of(at - 1) == (family, own[-1])
            assert torch.equal(mixed.sample(at - 1).vertices, family.sample(own[-1]).vertices)
        assert at == mixed.split(split).stop


def test_a_sample_depends_on_seed_family_and_index_only(tmp_path):
    wanted = [(family, index) for family in (*FAMILIES, Mixed()) for index in (0, 17, 31_000)]
    samples = [family.sample(index, seed=5) for family, index in wanted]
    path = tmp_path / "wanted.pickle"
    path.write_bytes(pickle.dumps(wanted[::-1]))
    code = (
        "import pickle, sys; wanted = pickle.load(open(sys.argv[1], 'rb'));"
        "made = [family.sample(index, seed=5).vertices.numpy().tobytes().hex() for family, index in wanted];"
        "print('\\n'.join(made[::-1]))"
    )
    other = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert other.stdout.split() == [each.vertices.numpy().tobytes().hex() for each in samples]
    distinct = {each.vertices.numpy().tobytes() for each in samples}
    assert len(distinct) == len({(each.family, each.index) for each in samples})
    assert not torch.equal(BendTwist().sample(0, seed=6).vertices, samples[0].vertices)


def test_draws_are_the_published_stream_of_philox():
    # the counter goes up before its first block: Philox4x64 with ten rounds, key (0, 0), counter (1, 0, 0, 0)
    draws = Draws("", seed=0, index=0)
    assert draws.uniform(0, 1) == (_philox([1, 0, 0, 0], [0, 0])[0] >> 11) * 2.0**-53
    draws = Draws("fan", seed=9, index=4, attempt=2)
    block = _philox([1, 0, 2, 4], [9, int.from_bytes(b"fan", "little")])
    assert [draws.uniform(0, 1) for _ in range(4)] == [(word >> 11) * 2.0**-53 for word in block]


def _philox(counter, key):
    """Return the four words of Philox4x64-10, from the description in Salmon et al., SC '11."""
    mask = 2**64 - 1
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        low, high = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (high >> 64) ^ b ^ k, high & mask, (low >> 64) ^ d ^ m, low & mask
        k, m = (k + 0x9E3779B97F4A7C15) & mask, (m + 0xBB67AE8584CAA73B) & mask
    return [a, b, c, d]


class Wrung(AbstractDeformed):
    """A family whose deformation folds the prism in about half of the draws."""

    name = "wrung"
    parameters = ("angle",)
    n_shapes = 10_000
    least = 0.0

    def draw(self, draws, split):
        return {"angle": draws.uniform(self.least, 40.0)}

    def deformation(self, parameters):
        return Twist(parameters["angle"])


def test_draws_with_inverted_tets_are_replaced_and_counted():
    family, mesh = Wrung(), prism()
    samples = [family.sample(index) for index in range(40)]
    redrawn = [each for each in samples if each.redrawn]
    assert 0 < len(redrawn) < 40
    for each in redrawn:
        assert float(tet_volumes(each.vertices, mesh.tets).min()) > 0
        for attempt in range(each.redrawn):
            angle = family.draw(Draws("wrung", seed=0, index=each.index, attempt=attempt), "train")["angle"]
            assert float(tet_volumes(Twist(angle)(mesh.vertices), mesh.tets).min()) <= 0


def test_a_template_that_always_folds_is_an_error():
    family = Wrung()
    family.least = 39.0
    with pytest.raises(MeshError, match="wrung: sample 3 of seed 0 has inverted tets in each of 100 draws"):
        family.sample(3)


def test_any_template_along_z_can_be_deformed():
    template = cylinder(3.0, 9.0, n_rings=2, n_layers=40)
    sample = BendTwist().sample(7, template=template)
    p = sample.parameters
    expected = sample.scale * Compose(Bend(p["bend"]), Twist(p["twist"]))(template.vertices)
    assert torch.equal(sample.vertices, expected @ sample.rotation.T)
    sample = Beads().sample(7, template=template)
    expected = sample.scale * Bead(sample.parameters["amplitude"], sample.parameters["count"])(
        template.vertices
    )
    assert torch.equal(sample.vertices, expected @ sample.rotation.T)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Fans().sample(35_136), "fan: sample 35136 does not exist; expected 0 … 35135"),
        (lambda: Beads().sample(-1), "bead: sample -1 does not exist; expected 0 … 33695"),
        (lambda: Mixed().sample(103_968), "mixed: sample 103968 does not exist"),
        (lambda: Fans().split("exam"), "split: 'exam' is unknown; expected train, validation or test"),
        (lambda: Fans().sample(0, seed=-1), "seed: expected 0 … 2⁶³ − 1, got -1"),
    ],
)
def test_what_does_not_exist_is_an_error(call, text):
    with pytest.raises(InputError, match=text):
        call()
