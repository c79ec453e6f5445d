"""Apparent diffusion coefficients: closed forms, the published problem, simulated signals, differences."""

import numpy as np
import pytest
import test_compartments as compartments
import test_three_axes as three_axes
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import eigh
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu
from scipy.special import jnp_zeros, spherical_jn
from signal_cases import SPINDOCTOR, coarse_on_purpose, rotation, spindoctor_mesh

from torrey.acquisition import (
    Acquisition,
    CosineOgse,
    Trapezoid,
    axisymmetric_encoding,
    electrostatic_directions,
    pulse_train,
)
from torrey.errors import InputError
from torrey.mesh import TetMesh, box, cylinder, sphere
from torrey.signal import MatrixFormalism, Tissue, apparent_diffusion, compartment_diffusion, simulate
from torrey.signal.operators import Operators

D = 2.0
AXES = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def pgse(directions, *, small_delta=5.0, big_delta=(10.0, 40.0)):
    """Any b-value: coefficients do not depend on it."""
    return Acquisition.shells_of([1000.0], directions, small_delta=small_delta, big_delta=list(big_delta))


def gaussian_phase(rates, shares, small_delta, big_delta):
    """Murday and Cotts (J. Chem. Phys. 48, 4938 (1968)); Neuman (J. Chem. Phys. 60, 4508 (1974))."""
    r, d, s = np.asarray(rates), small_delta, big_delta
    terms = r * d - 1 + np.exp(-r * d) + np.exp(-r * s) - (np.exp(-r * (s - d)) + np.exp(-r * (s + d))) / 2
    return float((2 * shares / r**2 * terms).sum() / (d**2 * (s - d / 3)))


def slab(thickness, *timings):
    n = np.arange(1, 4001, 2)
    return gaussian_phase(D * (np.pi * n / thickness) ** 2, 8 * thickness**2 / (np.pi * n) ** 4, *timings)


def disc(radius, *timings):
    roots = jnp_zeros(1, 400)
    return gaussian_phase(D * (roots / radius) ** 2, 2 * radius**2 / (roots**2 * (roots**2 - 1)), *timings)


def ball(radius, *timings):
    grid = np.arange(0.5, 600, 0.1)
    slope = spherical_jn(1, grid, derivative=True)
    ends = np.flatnonzero(slope[:-1] * slope[1:] < 0)
    roots = grid[ends] + 0.1 * slope[ends] / (slope[ends] - slope[ends + 1])
    for _ in range(5):  # Newton: j₁″ from Bessel's equation
        first, second = spherical_jn(1, roots), spherical_jn(1, roots, derivative=True)
        roots = roots - second / (-2 / roots * second - (1 - 2 / roots**2) * first)
    return gaussian_phase(D * (roots / radius) ** 2, 2 * radius**2 / (roots**2 * (roots**2 - 2)), *timings)


def test_slab():
    mesh, acquisition = box((4.0, 2.0, 7.0), (12, 2, 20)), pgse(AXES)
    ours = apparent_diffusion(mesh, Tissue(diffusivity=D), acquisition, order=2).view(2, 2)
    exact = [[slab(width, 5.0, Delta) for width in (4.0, 7.0)] for Delta in (10.0, 40.0)]
    # elements of order 2, a twelfth of the width: h⁴
    np.testing.assert_allclose(ours.numpy(), exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("mesh", "exact"),
    [
        # polygons of the right area and of 36 and 54 sides: second order
        (cylinder(3.0, 6.0, n_rings=6, n_layers=6), disc),
        (sphere(3.0, resolution=6), ball),
    ],
    ids=["cylinder", "sphere"],
)
def test_round_shapes(mesh, exact):
    ours = apparent_diffusion(mesh, Tissue(diffusivity=D), pgse(AXES[:1]), order=2)
    np.testing.assert_allclose(ours.numpy(), [exact(3.0, 5.0, Delta) for Delta in (10.0, 40.0)], rtol=3e-3)


def test_long_times():
    """Long after L²/D = 18 ms positions are forgotten: their variance L²/12 over the time is left."""
    acquisition = pgse(AXES, small_delta=0.05, big_delta=[1000.0])
    ours = apparent_diffusion(box((6.0, 6.0, 6.0), (6, 6, 6)), Tissue(diffusivity=D), acquisition)
    # less what is forgotten during a pulse already, λδ/3 of the slowest decay λ = D(π/L)² and more of others
    assert ours.tolist() == pytest.approx([36 / 12 / 1000] * 2, rel=0.02)


def stored(name):
    i, j = SPINDOCTOR["pairs"].astype(int).T
    off = i != j
    values = SPINDOCTOR[f"matrix_{name}"]
    rows, columns = np.r_[i, j[off]], np.r_[j, i[off]]
    return coo_array((np.r_[values, values[off]], (rows, columns))).tocsc()


def test_published_problem_on_another_programs_matrices():
    """Step ∂ω/∂t = ∇·D∇ω with the flux F(t) D u·n through walls, as Haddar, Li and Schiavi put it."""
    mesh, (small_delta, big_delta) = spindoctor_mesh("bent_twisted"), (5.0, 10.0)
    S, M = stored("S"), stored("M")
    u = torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 1.5]).double(), dim=0)
    x = (mesh.vertices.double() @ u).numpy()
    flux, volume, solve = S @ x, M.sum(), splu(M).solve
    weight, state = 0.0, np.zeros(len(x))
    # ramp, plateau and ramp of F, with ∫F h added up beside ω
    for start, end, F in (
        (0.0, 5.0, lambda t: t),
        (5.0, 10.0, lambda t: 5.0),
        (10.0, 15.0, lambda t: 15.0 - t),
    ):

        def slope(t, y, F=F):
            return np.append(solve(F(t) * flux - S @ y[:-1]), F(t) * (flux @ y[:-1]) / volume)

        result = solve_ivp(
            slope, (start, end), np.append(state, weight), method="BDF", rtol=1e-7, atol=1e-9
        ).y[:, -1]
        state, weight = result[:-1], result[-1]
    exact = D - weight / (small_delta**2 * (big_delta - small_delta / 3))
    ours = apparent_diffusion(mesh, Tissue(diffusivity=D), pgse(u[None], big_delta=[big_delta]))
    # the tolerance of the stepping
    assert float(ours) == pytest.approx(exact, rel=1e-5)


TISSUES = {
    "one": Tissue(diffusivity=[1.0, 1.0]),
    "permeable": Tissue(diffusivity=[1.0, 2.0], spin_density=[1.0, 0.4], permeability={(0, 1): 0.3}),
    "matrices": Tissue(
        diffusivity=torch.diag_embed(torch.tensor([[1.0, 2.0, 0.5], [2.0, 1.0, 1.5]])),
        T2=60.0,
        permeability={(0, 1): 0.05},
    ),
    "closed": Tissue(diffusivity=[1.0, 2.0], spin_density=[1.0, 0.4]),
}


def mixed(bval):
    u = electrostatic_directions(3)
    times = {"small_delta": 4.0, "big_delta": 9.0}
    return Acquisition.concatenate(
        [
            Acquisition.shells_of([bval], u, **times),
            Acquisition.encode(CosineOgse(1), [bval] * 3, u, **times),
            Acquisition.encode(Trapezoid(0.5), [bval] * 3, u, **times),
        ]
    )


def turning(bval):
    """b-tensors of all shapes, two pairs of pulses at an angle, and gradients without any symmetry."""
    whole = three_axes.mixed_encodings().subset(range(9))
    return scaled(whole, (bval / whole.bvals).sqrt())


def scaled(acquisition, by):
    return Acquisition(
        torch.as_tensor(by)[..., None] * acquisition.gradients,
        *(acquisition.small_delta, acquisition.big_delta, acquisition.echo_time),
        *(acquisition.waveforms, acquisition.waveform_of),
    )


@pytest.mark.parametrize("encoding", [mixed, turning])
@pytest.mark.parametrize("name", TISSUES)
def test_slope_of_simulated_signals(name, encoding):
    mesh, tissue = compartments.halves(), TISSUES[name]

    bvals = [60.0, 120.0, 180.0]
    parts = [encoding(bval) for bval in bvals]
    still = scaled(parts[0], 0.0)
    with coarse_on_purpose():
        whole = Acquisition.concatenate([*parts, still])
        signals = simulate(mesh, tissue, whole, solver=MatrixFormalism(modes=10_000)).abs().view(4, -1)
    slopes = [-(s / signals[3]).log() / (b / 1000) for s, b in zip(signals, bvals, strict=False)]
    extrapolated = 3 * slopes[0] - 3 * slopes[1] + slopes[2]
    ours = apparent_diffusion(mesh, tissue, encoding(60.0))
    # time steps are good to 1e-6 of S(0) at so small a b, over b = 0.06 ms/µm²
    np.testing.assert_allclose(ours.numpy(), extrapolated.numpy(), rtol=0, atol=1e-4)


def test_pulses_on_a_raster_are_those_along_one_axis():
    mesh, u = spindoctor_mesh("bent_twisted"), electrostatic_directions(4)
    train = pulse_train([[0, 0, 1.0]], small_delta=5.0, big_delta=10.0)
    ours = apparent_diffusion(mesh, Tissue(), Acquisition.rotated(train, [1000.0] * 4, u))
    exact = apparent_diffusion(mesh, Tissue(), pgse(u, big_delta=[10.0]))
    # Krylov spaces differ by a little of their tolerance
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-9)


def test_two_directions_at_long_times_add_up():
    """Far apart in time, pairs of pulses do not know of each other: ADC = Σ b_i ADC_i/Σ b_i."""
    mesh, times = box((3.0, 5.0, 4.0), (5, 7, 5)), {"small_delta": 4.0, "big_delta": 12.0}
    train = pulse_train([[1.0, 0, 0], [0, 2.0, 0]], pause=60.0, **times)
    ours = apparent_diffusion(mesh, Tissue(), Acquisition.rotated(train, [1000.0], [[0, 0, 1.0]]))
    alone = apparent_diffusion(mesh, Tissue(), Acquisition.pgse([1000.0] * 2, np.eye(3)[:2], **times))
    # what is left after 60 ms of e^{−λt}, λ = 2(π/5)²/ms; a train has F² four times as large along y
    assert float(ours) == pytest.approx(float(alone @ torch.tensor([1.0, 4.0]).double() / 5), rel=1e-7)


@pytest.mark.parametrize("acquisition", [pgse(AXES), turning(60.0)], ids=["pulses", "turning"])
def test_closed_compartments_make_up_the_whole(acquisition):
    mesh, tissue = compartments.halves(), TISSUES["closed"]
    whole = apparent_diffusion(mesh, tissue, acquisition)
    apart = compartment_diffusion(mesh, tissue, acquisition)
    # equal volumes, so that spin densities weigh
    torch.testing.assert_close(whole, (apart * torch.tensor([1.0, 0.4])).sum(1) / 1.4, rtol=1e-8, atol=0)
    # relaxation and densities of closed compartments do not count
    other = Tissue(diffusivity=[1.0, 2.0], T2=[30.0, 90.0], permeability={(0, 1): 0.0})
    torch.testing.assert_close(compartment_diffusion(mesh, other, acquisition), apart)


def test_rotation_turns_nothing():
    mesh, R = spindoctor_mesh("bent_twisted"), rotation(3)
    u = electrostatic_directions(4)
    here = apparent_diffusion(mesh, Tissue(), pgse(u))
    there = apparent_diffusion(mesh.with_vertices(mesh.vertices @ R.T + 50.0), Tissue(), pgse(u @ R.T))
    # Krylov spaces differ by a little of their tolerance, as the centroid is that of the vertices
    torch.testing.assert_close(here, there, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["permeable", "closed"])
def test_vertex_gradients_are_exact(name):
    """Although the space is held fixed: what it lacks counts twice."""
    mesh, acquisition = compartments.halves((4, 4, 6)), pgse(electrostatic_directions(3))
    generator = torch.Generator().manual_seed(1)
    u = 0.05 * torch.randn(mesh.vertices.shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(acquisition.n_measurements, generator=generator, dtype=torch.float64)
    leaf = (mesh.vertices + u).requires_grad_()
    check_gradient(
        lambda x: weights @ apparent_diffusion(mesh.with_vertices(x), TISSUES[name], acquisition), leaf, u
    )


def test_gradients_in_vertices_samples_and_axes():
    mesh, generator = compartments.halves((3, 3, 4)), torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    u, samples, turn = 0.05 * random(*mesh.vertices.shape), random(1, 6, 3), random(1, 6, 3)
    samples, turn = (600 * (x - x.mean(1, keepdim=True)) for x in (samples, turn))
    axis = torch.tensor([[0.4, -0.3, 0.8], [0.0, 1.0, 0.2]], dtype=torch.float64)
    change, weights = random(2, 3), random(3)
    encoding = Acquisition.rotated(axisymmetric_encoding(-0.3, 20.0, n_cells=12), [500.0] * 2, unit(axis))

    def total(step):
        own = Acquisition.from_waveforms(samples + 0.1 * step[1] * turn, raster=2.0)
        gradients = encoding.gradients + step[2] * change
        times = encoding.small_delta, encoding.big_delta, encoding.echo_time
        both = Acquisition.concatenate([own, Acquisition(gradients, *times, encoding.waveforms)])
        moved = mesh.with_vertices(mesh.vertices + (1 + step[0]) * u)
        return weights @ apparent_diffusion(moved, TISSUES["permeable"], both)

    for direction in torch.eye(3, dtype=torch.float64):
        check_gradient(total, torch.zeros(3, dtype=torch.float64, requires_grad=True), direction)


def unit(x):
    return torch.nn.functional.normalize(x)


PARAMETERS = {
    "permeability": (0.25, lambda p: {"permeability": {(0, 1): p}}),
    "diffusivity": (1.2, lambda p: {"diffusivity": torch.stack([p, 2 * p**2])}),
    "spin density": (0.6, lambda p: {"spin_density": torch.stack([p, 1 + 0 * p])}),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_tissue_gradients(name):
    value, options = PARAMETERS[name]
    mesh, acquisition = compartments.halves((3, 3, 4)), pgse(AXES)
    fixed = {"diffusivity": [1.0, 2.0], "permeability": {(0, 1): 0.2}}
    leaf = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    check_gradient(
        lambda p: apparent_diffusion(mesh, Tissue(**(fixed | options(p))), acquisition).sum(),
        leaf,
        torch.ones_like(leaf),
    )


def check_gradient(function, leaf, direction):
    (gradient,) = torch.autograd.grad(function(leaf), leaf)
    h = 1e-3
    with torch.no_grad():
        values = [float(function(leaf + k * h * direction)) for k in (-2, -1, 1, 2)]
    difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    assert float((gradient * direction).sum()) == pytest.approx(difference, rel=1e-6)


ONE_TET = TetMesh(torch.tensor([[0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 4]]).double(), [[0, 1, 2, 3]])


@pytest.mark.parametrize(
    # the positions span the whole space of four nodes
    ("mesh", "bound"),
    [(ONE_TET, 1e-12), (spindoctor_mesh("bent_twisted"), 1e-9)],
    ids=["one tet", "bent"],
)
def test_nothing_is_cut(mesh, bound):
    """Against all modes of the mesh and the closed form in time."""
    S, M = (m.toarray() for m in Operators.of(mesh, Tissue(diffusivity=D), order=1).matrices)
    rates, modes = eigh(S, M)
    p = modes.T @ M @ (mesh.vertices[:, 0].double() - mesh.vertices[:, 0].double().mean()).numpy()
    ours = apparent_diffusion(mesh, Tissue(diffusivity=D), pgse(AXES[:1]))
    exact = [gaussian_phase(rates[1:], p[1:] ** 2 / M.sum(), 5.0, Delta) for Delta in (10.0, 40.0)]
    np.testing.assert_allclose(ours.numpy(), exact, rtol=0, atol=bound * D)


def test_what_has_no_coefficient_is_refused():
    mesh, acquisition = compartments.halves(), pgse(AXES)
    with pytest.raises(InputError, match="expected one T2 for all compartments"):
        apparent_diffusion(mesh, Tissue(T2=[40.0, 80.0]), acquisition)
    with pytest.raises(InputError, match=r"permeability of \(0, 1\) is 0\.1 µm/ms, expected 0"):
        compartment_diffusion(mesh, Tissue(permeability={(0, 1): 0.1}), acquisition)
    with pytest.raises(InputError, match=r"surface_relaxivity of 1 is 0\.1 µm/ms, expected 0"):
        compartment_diffusion(mesh, Tissue(surface_relaxivity={1: 0.1}), acquisition)
    with pytest.raises(InputError, match="values for 3 compartments, expected 2"):
        compartment_diffusion(mesh, Tissue(diffusivity=[1.0, 1.0, 1.0]), acquisition)
    with pytest.raises(InputError, match="row 0 has no gradient"):
        apparent_diffusion(mesh, Tissue(), Acquisition.from_waveforms(np.zeros((1, 4, 3)), raster=1.0))
    with pytest.raises(InputError, match="row 0 has no gradient"):
        apparent_diffusion(
            mesh, Tissue(), Acquisition.shells_of([0.0, 1000.0], AXES, small_delta=5, big_delta=10)
        )
