"""Derivatives of streamlines against closed forms and central differences."""

import pytest
import torch
from fields_of_known_flow import affine_of, along_parabola, parabolas, ptt_fod, straight

from torrey.tractography import DiffusionField, Euler, RungeKutta, SDStream, SHField, propagate
from torrey.tractography.anisotropy import fractional_anisotropy
from torrey.tractography.peaks import Ascent, find_peaks

EXACT = SDStream(sharpen=True)
METHODS = [Euler(), RungeKutta()]


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def differences(function, x, tangent, size=1e-5):
    return (function(x + size * tangent) - function(x - size * tangent)) / (2 * size)


def random_like(x, seed=0):
    return torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_line_moves_with_its_seed_and_stretches_with_its_step():
    seed = vector(3, 3, 3)[None].requires_grad_()
    step = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    field = straight((0, 0, 1))
    settings = {"algorithm": EXACT, "cutoff": 0.0, "min_length": 0.0, "directions": vector(0.1, 0, 1)}
    line = propagate(field, seed, step=step, **settings)
    row = int((line.points.detach() - seed.detach()).norm(dim=1).argmin())
    for index in (0, len(line.points) - 1):
        to_seed, to_step = torch.autograd.grad(line.points[index].sum(), (seed, step), retain_graph=True)
        torch.testing.assert_close(to_seed, torch.ones(1, 3, dtype=torch.float64), atol=1e-10, rtol=0)
        # z = seed + (row − index) · h
        assert float(to_step) == pytest.approx(row - index, abs=1e-9)


def test_a_line_turns_with_its_lobe():
    """Lobes turned by φ about the seed's axis turn the line: d(point)/dφ is its distance times the normal."""
    turn = torch.zeros((), dtype=torch.float64, requires_grad=True)
    field = straight((0, 0, 1))
    # d/dφ of coefficients of a lobe about (sin φ, 0, cos φ)
    plus, minus = (straight((s, 0, 1)).coefficients for s in (1e-4, -1e-4))
    coefficients = field.coefficients + turn * (plus - minus) / 2e-4
    seed = vector(3, 3, 3)[None]
    line = propagate(
        SHField(coefficients, field.affine),
        seed,
        step=0.25,
        algorithm=EXACT,
        cutoff=0,
        min_length=0,
        directions=vector(0.1, 0, 1),
    )
    row = int((line.points.detach() - seed).norm(dim=1).argmin())
    (slope,) = torch.autograd.grad(line.points[0, 0], turn)
    assert float(slope) == pytest.approx(0.25 * row, rel=1e-6)  # the difference quotient of the lobe: 1e-8


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_of_a_parabola(method):
    """Against the derivative of the closed form, to which that of the discrete curve converges."""
    seed = vector(1.0, 2.0, 1.5).requires_grad_()
    settings = {"directions": vector(1, 1, 0), "max_length": 3.0, "unidirectional": True, "cutoff": 0.0}

    def jacobian_error(step):
        curve = propagate(
            parabolas(), seed[None], step=step, method=method, algorithm=EXACT, min_length=0, **settings
        ).points
        count = round(3.0 / step)
        exact = along_parabola(seed, torch.tensor([3.0], dtype=torch.float64))[0]
        rows = [
            torch.autograd.grad(curve[count, i], seed, retain_graph=True)[0]
            - torch.autograd.grad(exact[i], seed, retain_graph=True)[0]
            for i in range(3)
        ]
        return torch.stack(rows).abs().max()

    coarse, fine = jacobian_error(0.1), jacobian_error(0.05)
    # Euler is of first order; chords taken for arcs leave Runge–Kutta at second in the arc length
    order = 1 if isinstance(method, Euler) else 2
    assert 1.8**order < coarse / fine < 2.3**order
    assert fine < (5e-3 if order == 1 else 1e-5)


@pytest.fixture(scope="module")
def synthetic():
    coefficients, affine = ptt_fod()
    field = SHField(coefficients, affine)
    voxels = torch.tensor([[8.1, 4.2, 4.1], [6.3, 3.6, 4.4], [9.2, 4.2, 3.6]]).double()
    return field, field.grid.to_world(voxels)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["coefficients", "seeds", "step"])
def test_a_synthetic_bundle_against_differences(synthetic, method, name):
    field, seeds = synthetic

    def points(coefficients, seeds, step):
        tracks = propagate(
            SHField(coefficients, field.affine),
            seeds,
            step=step,
            method=method,
            algorithm=EXACT,
            max_length=8.2,
            cutoff=0.05,
            min_length=0,
            directions=vector(1, 0, 0),
        )
        return tracks.points

    at = {"coefficients": field.coefficients, "seeds": seeds, "step": torch.tensor(0.5).double()}
    leaf = at[name].clone().requires_grad_()
    value = points(**{**at, name: leaf})
    weights = random_like(value)
    (gradient,) = torch.autograd.grad((weights * value).sum(), leaf)
    for seed in range(3):
        tangent = random_like(leaf, seed)
        if name == "coefficients":
            tangent = tangent * (at[name] != 0)  # voxels that are all zero are outside the image

        def along(x):
            return (weights * points(**{**at, name: x})).sum()

        expected = differences(along, at[name], tangent, 1e-5)
        # differences of 1e-5: truncation 1e-10 × third derivatives, rounding 1e-11
        assert float((gradient * tangent).sum()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["images", "seeds", "step"])
def test_tensors_against_differences(method, name):
    generator = torch.Generator().manual_seed(2)
    directions = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    directions = torch.cat([torch.zeros(1, 3), directions / directions.norm(dim=1, keepdim=True)])
    bvals = torch.cat([torch.zeros(1), torch.full((20,), 1000.0)]).double()
    axes = vector(1, 0.2, 0.1) + 0.3 * torch.randn(6, 6, 6, 3, dtype=torch.float64, generator=generator)
    axes = axes / axes.norm(dim=-1, keepdim=True)
    diffusivities = 0.3e-3 + 1.4e-3 * (axes @ directions.T) ** 2
    images = 1000 * torch.exp(-bvals * diffusivities)

    def points(images, seeds, step):
        field = DiffusionField(images, affine_of(2.0), bvals, directions)
        return propagate(field, seeds, step=step, method=method, max_length=3.1, min_length=0).points

    at = {
        "images": images,
        "seeds": vector(5.1, 5.3, 4.9)[None],
        "step": torch.tensor(0.3, dtype=torch.float64),
    }
    leaf = at[name].clone().requires_grad_()
    value = points(**{**at, name: leaf})
    assert len(value) > 10
    weights = random_like(value)
    (gradient,) = torch.autograd.grad((weights * value).sum(), leaf)
    tangent = random_like(leaf, 1)
    expected = differences(lambda x: (weights * points(**{**at, name: x})).sum(), at[name], tangent, 1e-4)
    if name != "images":
        expected = differences(lambda x: (weights * points(**{**at, name: x})).sum(), at[name], tangent)
    assert float((gradient * tangent).sum()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("where", [(0, 0, 1), (1e-7, 0, 1), (0, 0, -1), (1, 0, 0), (0.3, -0.5, 0.8)])
@pytest.mark.parametrize("flatness", [1.0, 1e-3])
def test_a_peak_wherever_it_is_and_however_flat(where, flatness):
    """The ridge axis of a quadratic form: one curvature across it, and `flatness` times that along it."""
    axis = vector(*where) / vector(*where).norm()
    across = torch.linalg.cross(axis, vector(0.36, 0.48, 0.8))
    across = across / across.norm()
    third = torch.linalg.cross(axis, across)
    form = -across[:, None] * across - flatness * third[:, None] * third

    def peak(form):
        mixed = torch.stack(
            [form[0, 0], 2 * form[0, 1], 2 * form[0, 2], form[1, 1], 2 * form[1, 2], form[2, 2]]
        )
        start = (axis + 0.02 * across)[None]
        found = find_peaks(mixed[None], start / start.norm(), 2, Ascent(sharpen=True))
        assert bool(found.found)
        return torch.cat([found.directions[0], found.amplitudes])

    leaf = form.clone().requires_grad_()
    jacobian = torch.autograd.functional.jacobian(peak, leaf)
    tangent = random_like(form)
    tangent = 1e-2 * flatness * (tangent + tangent.T)  # well within the basin
    expected = differences(peak, form, tangent, 1e-3)
    torch.testing.assert_close((jacobian * tangent).sum((1, 2)), expected, rtol=1e-5, atol=1e-9)


def test_default_gradients_are_those_of_the_peaks_themselves(synthetic):
    field, seeds = synthetic

    def gradient(algorithm):
        leaf = field.coefficients.clone().requires_grad_()
        tracks = propagate(
            SHField(leaf, field.affine),
            seeds,
            step=0.5,
            algorithm=algorithm,
            max_length=8.2,
            cutoff=0.05,
            min_length=0,
            directions=vector(1, 0, 0),
        )
        return torch.autograd.grad(tracks.ends.sum(), leaf)[0]

    ours, exact = gradient(SDStream()), gradient(EXACT)
    # MRtrix's ascent stops within 1e-4 rad of the peak
    assert float((ours - exact).norm() / exact.norm()) < 1e-3


def test_anisotropy_has_a_derivative():
    tensors = random_like(torch.zeros(5, 6)).requires_grad_()
    assert torch.autograd.gradcheck(fractional_anisotropy, tensors)


def test_float32_follows_float64(synthetic):
    field, seeds = synthetic
    settings = {
        "step": 0.5,
        "max_length": 8.2,
        "cutoff": 0.05,
        "min_length": 0,
        "directions": vector(1, 0, 0),
    }
    single = SHField(field.coefficients.float().requires_grad_(), field.affine)
    double = SHField(field.coefficients.clone().requires_grad_(), field.affine)
    gradients = []
    for each, points in ((single, seeds.float()), (double, seeds)):
        tracks = propagate(each, points, algorithm=EXACT, **settings)
        gradients.append(torch.autograd.grad(tracks.ends.sum(), each.coefficients)[0].double())
    # coefficients of degree 8 in monomials lose two digits of float32's seven
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 1e-3
