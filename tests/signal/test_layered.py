"""Closed forms of concentric layers, against roots of Bessel functions and simpler closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.optimize import brentq
from scipy.special import jv, jvp, spherical_jn, spherical_yn, yvp

from torrey.acquisition import Acquisition, DoublePgse
from torrey.errors import ConvergenceError, InputError
from torrey.signal import Tissue
from torrey.signal.analytic import Cylinder, LayeredCylinder, LayeredSphere, Slab, Sphere
from torrey.signal.analytic.layers import Layers, layer_modes

X, Y, Z = torch.eye(3).double()


def acquisition(*directions, bvals=(0.0, 1000.0, 6000.0), echo_time=None):
    u = torch.stack(directions)
    parts = [
        Acquisition.pgse([b] * len(u), u, small_delta=5.0, big_delta=20.0, echo_time=echo_time) for b in bvals
    ]
    return Acquisition.concatenate(parts)


BESSEL = {2: (jvp, yvp), 3: (spherical_jn, spherical_yn)}
"""Both kinds in the disc and the ball, as functions of order, argument, and the number of derivatives."""


def determinant(rate, layers, dimension, n):
    """Return what vanishes where `rate` is one of order n: of flux and jump at each interface, and the wall.

    Each function is scaled by a power of its wave number, which may be imaginary, so that it is real.
    """
    j, y = BESSEL[dimension]
    count = len(layers.radii)
    k = np.sqrt((rate - layers.relaxation).astype(complex) / layers.diffusivity)
    power = n if dimension == 2 else n + 1

    def row(i, r, d):
        """Return values (d = 0) or slopes (1) at r of the functions of layer i, in their columns."""
        full = np.zeros(2 * count)
        scale = k[i] ** d
        full[2 * i] = (scale * j(n, k[i] * r, d) / k[i] ** n).real
        if i > 0:
            full[2 * i + 1] = (scale * y(n, k[i] * r, d) * k[i] ** power).real
        return full

    rows = []
    for i, a in enumerate(layers.radii[:-1]):
        flux = [layers.density[m] * layers.diffusivity[m] * row(m, a, 1) for m in (i, i + 1)]
        rows += [flux[0] - flux[1], flux[0] + layers.exchange[i] * (row(i, a, 0) - row(i + 1, a, 0))]
    last, R = count - 1, layers.radii[-1]
    flux = layers.density[last] * layers.diffusivity[last] * row(last, R, 1)
    rows.append(flux + layers.uptake * row(last, R, 0))
    # the innermost layer has no function of the second kind
    return np.linalg.det(np.delete(np.array(rows), 1, axis=1))


UNEQUAL = Layers(
    radii=np.array([2.0, 2.6, 5.0]),
    diffusivity=np.array([2.0, 0.5, 1.2]),
    density=np.array([1.0, 0.4, 0.8]),
    relaxation=1 / np.array([80.0, 15.0, 50.0]),
    exchange=np.array([0.05, 0.3]),
    uptake=0.1,
)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_rates_are_the_roots_of_the_determinant_and_none_is_missing(dimension, n):
    modes = layer_modes(UNEQUAL, dimension=dimension, highest_order=n, functions=18)
    rates = np.sort(modes.rates.reshape(n + 1, -1)[n])
    # the least lie below the relaxation of the middle layer, with an imaginary wave number there
    grid = np.geomspace(0.03, 40.0, 800)
    values = np.array([determinant(x, UNEQUAL, dimension, n) for x in grid])
    change = np.flatnonzero(values[:-1] * values[1:] < 0)
    case = (UNEQUAL, dimension, n)
    roots = [brentq(determinant, grid[i], grid[i + 1], args=case, xtol=1e-14) for i in change]
    assert len(roots) >= 8
    # measured 1e-10 for the highest and 1e-12 for most
    np.testing.assert_allclose(rates[rates < 40], roots, rtol=1e-9)


def robin_roots(equation, count):
    """Return the first positive roots of `equation`, which are at least 1 apart."""
    grid = np.arange(1e-6, 4 * count, 0.02)
    values = equation(grid)
    change = np.flatnonzero(values[:-1] * values[1:] < 0)
    return np.array([brentq(equation, grid[i], grid[i + 1], xtol=1e-15) for i in change[:count]])


def test_relaxing_walls_follow_their_series():
    """Brownstein and Tarr, Phys. Rev. A 19, 2446 (1979): the decay of a uniform start, h = sR/D."""
    R, L, D, s, t = 4.0, 7.0, 1.5, 0.3, 30.0
    still = acquisition(X, bvals=[0.0], echo_time=t)
    h = s * R / D
    ball = robin_roots(lambda x: x * np.cos(x) - (1 - h) * np.sin(x), 12)
    decay = np.sum(6 * h**2 / (ball**2 * (ball**2 + h * (h - 1))) * np.exp(-D * (ball / R) ** 2 * t))
    ours = LayeredSphere((R,)).signal(Tissue(diffusivity=D, surface_relaxivity={0: s}), still)
    # measured 1e-12
    assert float(ours[0]) == pytest.approx(4 / 3 * math.pi * R**3 * decay, rel=1e-10)

    disc = robin_roots(lambda x: x * jv(1, x) - h * jv(0, x), 12)
    across = np.sum(4 * h**2 / (disc**2 * (disc**2 + h**2)) * np.exp(-D * (disc / R) ** 2 * t))
    h = s * L / 2 / D
    line = robin_roots(lambda x: x * np.sin(x) - h * np.cos(x), 12)
    along = np.sum(2 * h**2 / (line**2 * (line**2 + h**2 + h)) * np.exp(-D * (2 * line / L) ** 2 * t))
    ours = LayeredCylinder((R,), L).signal(Tissue(diffusivity=D, surface_relaxivity={0: s}), still)
    assert float(ours[0]) == pytest.approx(math.pi * R**2 * L * across * along, rel=1e-10)


SHAPES = {
    "sphere": (LayeredSphere((2.0, 3.5, 5.0)), Sphere(5.0)),
    "cylinder": (LayeredCylinder((2.0, 3.5, 5.0), 12.0), Cylinder(5.0, 12.0)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_open_interfaces_are_none(name):
    layered, one = SHAPES[name]
    a = acquisition((X + Z) / math.sqrt(2), bvals=[1000.0, 6000.0])
    exact = one.attenuation(a, 2.0, tolerance=1e-6).numpy()
    errors = []
    for kappa in (1e3, 1e4):
        tissue = Tissue(permeability={(0, 1): kappa, (1, 2): kappa})
        ours = layered.signal(tissue, a, tolerance=1e-6).numpy() / float(layered.volumes.sum())
        errors.append(np.abs(ours - exact).max())
    # a wall of permeability κ is as good as D/κ = 2e-4 µm more to walk
    assert errors[-1] < 1e-5
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("name", ["sphere", "cylinder"])
def test_one_layer_is_the_plain_shape(name):
    layered = {"sphere": LayeredSphere((5.0,)), "cylinder": LayeredCylinder((5.0,), 12.0)}[name]
    a = acquisition(X, Z, (X + Y + Z) / math.sqrt(3))
    ours = layered.signal(Tissue(T2=70.0, spin_density=0.7), a)
    exact = SHAPES[name][1].attenuation(a, 2.0, tolerance=1e-7).numpy()
    content = 0.7 * float(layered.volumes.sum()) * math.exp(-25 / 70)
    # the plain one is asked for 1e-7, and is a product of two for the cylinder
    np.testing.assert_allclose(ours / content, exact, atol=2e-7)


D3, T3, RHO3 = np.array([2.0, 0.5, 1.2]), np.array([80.0, 20.0, 50.0]), np.array([1.0, 0.4, 0.8])


def test_closed_interfaces_along_the_axis_leave_slabs():
    layered = LayeredCylinder((2.0, 3.5, 5.0), 12.0)
    a = acquisition(Z, echo_time=40.0)
    ours = layered.signal(Tissue(diffusivity=D3, T2=T3, spin_density=RHO3), a)
    slab = Slab(12.0)
    turned = acquisition(X, echo_time=40.0)
    parts = [
        rho * V * math.exp(-40 / T2) * slab.attenuation(turned, D)
        for rho, V, T2, D in zip(RHO3, layered.volumes.tolist(), T3, D3, strict=True)
    ]
    np.testing.assert_allclose(ours, sum(parts), rtol=1e-7)


@pytest.mark.parametrize("shape", [LayeredSphere((3.0, 5.0)), LayeredCylinder((3.0, 5.0), 12.0)])
def test_slow_exchange_is_that_of_two_mixed_pools(shape):
    """ρᵢVᵢ mᵢ' = −ρᵢVᵢ mᵢ/T2ᵢ − κ̃A (mᵢ − mⱼ) where diffusion evens out each pool: κR ≪ D."""
    rho, T2, kappa, t = np.array([1.0, 0.4]), np.array([80.0, 20.0]), 1e-3, 60.0
    tissue = Tissue(diffusivity=[15.0, 20.0], T2=T2, spin_density=rho, permeability={(0, 1): kappa})
    ours = float(shape.signal(tissue, acquisition(X, bvals=[0.0], echo_time=t))[0])
    volumes = shape.volumes.numpy()
    area = 4 * math.pi * 9 if isinstance(shape, LayeredSphere) else 2 * math.pi * 3 * 12
    flux = kappa * 2 * rho.prod() / rho.sum() * area * np.array([[1, -1], [-1, 1]])
    pools = rho * volumes
    exact, apart = (
        float(pools @ expm(-t * (np.diag(1 / T2) + k * flux / pools[:, None])) @ np.ones(2)) for k in (1, 0)
    )
    assert abs(exact / apart - 1) > 5e-3, "a test of the exchange has to depend on it"
    # κR/D = 3e-4 of the exchange
    assert ours - exact == pytest.approx(0, abs=1e-3 * abs(exact - apart))


@pytest.mark.parametrize(
    ("shape", "directions"),
    [(LayeredSphere((2.0, 2.6, 5.0)), (X, Y)), (LayeredCylinder((2.0, 2.6, 5.0), 9.0), (X, Y, Z))],
)
def test_nothing_is_lost_without_a_gradient_or_relaxation(shape, directions):
    tissue = Tissue(diffusivity=D3, spin_density=RHO3, permeability={(0, 1): 0.05, (1, 2): 0.5})
    ours = shape.signal(tissue, acquisition(*directions, bvals=[0.0], echo_time=90.0))
    # rounding of the fastest rate, about 1e3 / ms, over 90 ms
    np.testing.assert_allclose(ours, float((shape.volumes.numpy() * RHO3).sum()), rtol=1e-10)


def test_the_tolerance_is_kept():
    shape = LayeredSphere((2.0, 5.0))
    tissue = Tissue(diffusivity=[0.3, 1.0], T2=[20.0, 60.0], permeability={(0, 1): 0.05})
    a = acquisition(X, bvals=[4000.0])
    tight = shape.signal(tissue, a, tolerance=1e-9)
    for tolerance in (1e-3, 1e-5, 1e-7):
        loose = shape.signal(tissue, a, tolerance=tolerance)
        assert float((loose - tight).abs().max()) < tolerance * float(shape.volumes.sum())


def test_says_so_when_the_modes_do_not_suffice():
    far = Acquisition.pgse([1e5], X[None], small_delta=5.0, big_delta=20.0)
    with pytest.raises(ConvergenceError, match="1500 modes do not reach 1e-08 for a size of 300 µm"):
        LayeredSphere((100.0, 150.0)).signal(Tissue(), far)


SPHERE, CYLINDER = LayeredSphere((2.0, 5.0)), LayeredCylinder((2.0, 5.0), 8.0)
BAD = {
    "three values": (SPHERE, {"T2": [40.0, 50.0, 60.0]}, "tissue has values for 3 compartments, expected 2"),
    "a tensor": (SPHERE, {"diffusivity": torch.eye(3)}, "LayeredSphere: diffusivity is a matrix"),
    "no neighbours": (SPHERE, {"permeability": {(0, 2): 0.1}}, "permeability of 0 and 2, expected of neigh"),
    "beyond the last": (
        SPHERE,
        {"permeability": {(1, 2): 0.1}},
        "permeability of 1 and 2, expected of neigh",
    ),
    "of faces": (
        SPHERE,
        {"permeability": {(0, 1): [0.1, 0.2]}},
        "permeability of 0 and 1 for each face, expected one",
    ),
    "an inner wall": (
        SPHERE,
        {"surface_relaxivity": {0: 0.1}},
        "surface_relaxivity of 0, expected of the out",
    ),
    "some ends": (CYLINDER, {"surface_relaxivity": {1: 0.1}}, "expected one value for all 2 layers"),
    "other ends": (CYLINDER, {"surface_relaxivity": {0: 0.2, 1: 0.1}}, "expected one value for all 2 layers"),
    "both": (
        CYLINDER,
        {"surface_relaxivity": {0: 0.1, 1: 0.1}, "diffusivity": [1.0, 2.0]},
        "surface_relaxivity, expected none where diffusivities differ",
    ),
    "oblique": (
        CYLINDER,
        {"diffusivity": [1.0, 2.0]},
        "gradient of row 5 is oblique, expected along or across",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_form_does_not_hold_is_refused(name):
    shape, values, message = BAD[name]
    with pytest.raises(InputError, match=message):
        shape.signal(Tissue(**values), acquisition(X, Z, (X + Z) / math.sqrt(2), bvals=[0.0, 1000.0]))


def test_other_waveforms_are_refused():
    double = Acquisition.encode(DoublePgse(2.0), [1000.0], X[None], small_delta=5.0, big_delta=20.0)
    with pytest.raises(InputError, match="closed form: row 0 is DoublePgse"):
        SPHERE.signal(Tissue(), double)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LayeredSphere(()), r"LayeredSphere: radii are \(\), expected positive, increasing"),
        (lambda: LayeredSphere((3.0, 2.0)), r"radii are \(3.0, 2.0\)"),
        (lambda: LayeredCylinder((0.0, 2.0), 5.0), r"LayeredCylinder: radii are \(0.0, 2.0\)"),
        (lambda: LayeredCylinder((1.0, math.nan), 5.0), "radii are"),
        (lambda: LayeredCylinder((1.0, 2.0), 0.0), "length is 0.0"),
    ],
)
def test_bad_sizes_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
