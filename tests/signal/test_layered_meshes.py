"""Finite elements on layered meshes against the closed forms of the smooth shapes."""

import math

import pytest
import torch
from signal_cases import coarse_on_purpose

from torrey.acquisition import Acquisition
from torrey.mesh import layered_cylinder, layered_sphere
from torrey.signal import Tissue, simulate
from torrey.signal.analytic import LayeredCylinder, LayeredSphere

X, _, Z = torch.eye(3).double()
OBLIQUE = (X + Z) / math.sqrt(2)


def acquisition(*directions, bvals=(0.0, 1500.0, 10_000.0)):
    """Return measurements with pauses before and after the pulses."""
    u = torch.stack(directions)
    return Acquisition.concatenate(
        [Acquisition.pgse([b] * len(u), u, small_delta=5.0, big_delta=20.0, echo_time=30.0) for b in bvals]
    )


SPHERE, CYLINDER = LayeredSphere((3.0, 5.0)), LayeredCylinder((2.0, 3.0, 5.0), 8.0)


def case(name, kappa):
    """Return closed form, tissue and measurements."""
    if name == "sphere":
        tissue = Tissue(
            diffusivity=[1.0, 2.0],
            T2=[40.0, 80.0],
            spin_density=[1.0, 0.6],
            permeability={(0, 1): kappa},
            surface_relaxivity={1: 0.02},
        )
        return SPHERE, tissue, acquisition(OBLIQUE)
    common = {
        "T2": [80.0, 20.0, 60.0],
        "spin_density": [1.0, 0.5, 0.8],
        "permeability": {(0, 1): kappa, (1, 2): 2 * kappa},
    }
    if name == "cylinder":
        return CYLINDER, Tissue(diffusivity=[2.0, 0.5, 1.0], **common), acquisition(X, Z)
    walls = dict.fromkeys(range(3), 0.02)
    tissue = Tissue(diffusivity=1.5, surface_relaxivity=walls, **common)
    return CYLINDER, tissue, acquisition(OBLIQUE)


def errors(name, kappa, n):
    """Return the differences (N,) over ∫ρ on a mesh of n layers or rings."""
    shape, tissue, protocol = case(name, kappa)
    exact = shape.signal(tissue, protocol, tolerance=1e-5)
    if shape is SPHERE:
        mesh = layered_sphere(shape.radii, resolution=n)
    else:
        mesh = layered_cylinder(shape.radii, shape.length, n_rings=n, n_layers=5)
    return ((simulate(mesh, tissue, protocol) - exact) / (shape.volumes * tissue.spin_density).sum()).abs()


@pytest.mark.parametrize(
    ("name", "n", "kappa"),
    [
        ("sphere", 5, 0.005),
        ("sphere", 5, 0.05),
        ("sphere", 5, 0.5),
        ("cylinder", 7, 0.005),
        ("cylinder", 7, 0.05),
        ("cylinder", 7, 0.5),
        ("relaxing cylinder", 7, 0.05),
    ],
)
def test_signals_on_a_mesh_are_those_of_the_smooth_shape(name, n, kappa):
    # what the project asks of itself, here on meshes of 500 to 1 000 vertices
    assert float(errors(name, kappa, n).max()) < 1e-3


def test_they_converge_with_the_square_of_the_edges():
    with coarse_on_purpose():
        coarse, fine = (float(errors("sphere", 0.05, n).max()) for n in (3, 5))
    # the time splitting and the cut add up to 1e-4
    assert math.log(coarse / fine) / math.log(5 / 3) == pytest.approx(2, abs=0.4)
