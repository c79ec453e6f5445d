import math

import pytest
import torch

from torrey.acquisition import Acquisition
from torrey.acquisition.directions import electrostatic_directions
from torrey.inverse.extent import estimate_extent
from torrey.signal.analytic import Cylinder

DIFFUSIVITY = 2.0

PROTOCOLS = {
    "shells": ([0, 500, 1000, 2000], 5.0, [10.0, 25.0, 50.0]),
    "short pulses": ([0, 500, 1000], 2.0, [20.0]),
    "long pulses": ([0, 1000, 3000], 15.0, [40.0]),
    "strong only": ([6000, 10000], 5.0, [25.0]),
    "no b = 0": ([1000, 2000], 5.0, [15.0, 30.0]),
}

AXES = ((0.0, 0.0, 1.0), (1.0, 2.0, 3.0), (-1.0, 0.2, 0.0))

WITHIN = 0.05
"""The approximation leaves 3 % in the length where only strong gradients are seen, 2 % elsewhere."""


def protocol(name):
    bvals, small_delta, big_delta = PROTOCOLS[name]
    return Acquisition.shells_of(
        bvals, electrostatic_directions(12), small_delta=small_delta, big_delta=big_delta
    )


def turned(acquisition, axis):
    """Return the acquisition as a cylinder along z sees it that has its axis along `axis`, and the axis."""
    z = torch.tensor(axis, dtype=torch.float64)
    z = z / z.norm()
    x = torch.linalg.cross(z, torch.tensor([0.6, -0.3, 0.5], dtype=torch.float64))
    x = x / x.norm()
    frame = torch.stack([x, torch.linalg.cross(z, x), z])
    return (
        Acquisition(
            acquisition.gradients @ frame.T,
            acquisition.small_delta,
            acquisition.big_delta,
            acquisition.echo_time,
        ),
        z,
    )


def case(name, radius, length, axis):
    acquisition = protocol(name)
    seen, axis = turned(acquisition, axis)
    signal = Cylinder(radius, length).attenuation(seen, DIFFUSIVITY, tolerance=1e-4)
    return signal, acquisition, axis


@pytest.mark.parametrize(
    ("name", "radius", "length", "axis"),
    [
        ("shells", 1.0, 8.0, AXES[0]),
        ("shells", 3.0, 25.0, AXES[1]),
        ("shells", 0.7, 12.0, AXES[2]),
        ("short pulses", 2.5, 6.0, AXES[1]),
        ("short pulses", 3.0, 25.0, AXES[2]),
        ("long pulses", 2.0, 15.0, AXES[1]),
        ("long pulses", 0.7, 12.0, AXES[0]),
        ("strong only", 2.0, 15.0, AXES[1]),
        ("strong only", 2.5, 6.0, AXES[2]),
        ("no b = 0", 1.0, 8.0, AXES[2]),
    ],
)
def test_cylinder_of_known_volume(name, radius, length, axis):
    signal, acquisition, axis = case(name, radius, length, axis)
    volume = Cylinder(radius, length).volume
    extent = estimate_extent(signal, acquisition, diffusivity=DIFFUSIVITY, volume=volume)
    assert extent.length == pytest.approx(length, rel=WITHIN)
    assert extent.radius == pytest.approx(radius, rel=WITHIN)
    # the volume is kept to rounding
    assert math.pi * extent.radius**2 * extent.length == pytest.approx(volume, rel=1e-12)
    assert float(extent.axis.norm()) == pytest.approx(1.0)
    assert abs(float(extent.axis @ axis)) > math.cos(math.radians(5))


@pytest.mark.parametrize(
    ("name", "radius", "length", "axis"),
    [
        ("shells", 2.0, 15.0, AXES[1]),
        ("short pulses", 2.5, 6.0, AXES[2]),
        ("no b = 0", 3.0, 25.0, AXES[1]),
    ],
)
def test_cylinder_of_unknown_volume(name, radius, length, axis):
    """Wide enough to attenuate across; radii are tried in steps of 10 %."""
    signal, acquisition, axis = case(name, radius, length, axis)
    extent = estimate_extent(signal, acquisition, diffusivity=DIFFUSIVITY, volume=None)
    assert extent.length == pytest.approx(length, rel=WITHIN)
    assert extent.radius == pytest.approx(radius, rel=0.15)
    assert abs(float(extent.axis @ axis)) > math.cos(math.radians(5))


@pytest.mark.parametrize("name", ["shells", "long pulses", "no b = 0"])
def test_a_thin_cylinder_of_unknown_volume_starts_too_wide_rather_than_too_thin(name):
    """Its radius leaves no trace: it attenuates by less than 0.5 % across."""
    signal, acquisition, _ = case(name, 0.7, 12.0, AXES[1])
    extent = estimate_extent(signal, acquisition, diffusivity=DIFFUSIVITY, volume=None)
    assert extent.length == pytest.approx(12.0, rel=WITHIN)
    assert 0.7 < extent.radius < 2.5


@pytest.mark.parametrize("volume", [None, 188.5])
@pytest.mark.parametrize("level", [0.0, -0.05, 1e-3])
def test_any_signal_of_a_strong_protocol_gives_an_extent(level, volume):
    """Noise about zero, negative values included, is all that some protocols leave of a long axon."""
    acquisition = protocol("strong only")
    noise = torch.randn(
        acquisition.n_measurements, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    extent = estimate_extent(level + 0.02 * noise, acquisition, diffusivity=DIFFUSIVITY, volume=volume)
    assert 1.5 <= extent.length <= 80
    assert 0 < extent.radius <= extent.length / (2 - 1e-9)
    assert float(extent.axis.norm()) == pytest.approx(1.0)


@pytest.mark.parametrize("volume", [0.1, 30.0, 1e3, 1e6])
def test_length_and_radius_have_the_volume(volume):
    """At any volume, whatever the signal says, a cylinder longer than wide is offered."""
    acquisition = protocol("shells")
    signal = torch.exp(-acquisition.bvals / 1000)
    extent = estimate_extent(signal, acquisition, diffusivity=DIFFUSIVITY, volume=volume)
    assert math.pi * extent.radius**2 * extent.length == pytest.approx(volume, rel=1e-12)
    assert extent.length >= (2 - 1e-9) * extent.radius
