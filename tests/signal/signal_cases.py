"""Shapes and protocols that the tests of this folder share."""

import contextlib
import warnings
from pathlib import Path

import numpy as np
import torch

from torrey.acquisition import Acquisition, electrostatic_directions
from torrey.errors import AccuracyWarning
from torrey.mesh import Bead, Bend, TetMesh, box, cylinder, deform, sphere
from torrey.signal import Tissue

TESTS = Path(__file__).parents[1]
SPINDOCTOR = np.load(TESTS / "data" / "spindoctor_signals.npz")
TISSUE = Tissue(diffusivity=2.0)


def spindoctor_mesh(name):
    meshes = np.load(TESTS / "mesh" / "data" / "spindoctor_meshes.npz")
    return TetMesh(meshes[name], meshes["sphere_tets" if name == "sphere" else "cylinder_tets"])


def spindoctor_protocol():
    """Every measurement of the stored cases: (Δ, b, direction), directions fastest."""
    return Acquisition.shells_of(
        SPINDOCTOR["bvals"],
        SPINDOCTOR["directions"],
        small_delta=float(SPINDOCTOR["small_delta"]),
        big_delta=SPINDOCTOR["big_delta"],
    )


def small_shapes():
    """Four shapes that keep or break symmetries, 147 to 171 vertices."""
    straight = cylinder(2.0, 10.0, n_rings=2, n_layers=8)
    return {
        "straight": straight,
        "bent": deform(straight, Bend(0.03)),
        "beaded": deform(straight, Bead(0.3, 2)),
        "sphere": sphere(3.0, resolution=3),
    }


def cube():
    return box((4.0, 4.0, 4.0), (4, 4, 4))


def few_measurements():
    """b 0 … 4 000, two separations, six directions."""
    return Acquisition.shells_of(
        [0.0, 1000.0, 4000.0], electrostatic_directions(6), small_delta=5.0, big_delta=[10.0, 40.0]
    )


def rotation(seed=0):
    g = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64))
    return Q * torch.linalg.det(Q)


@contextlib.contextmanager
def coarse_on_purpose():
    """Let a mesh or a cut be too coarse for the physics, where both sides of a comparison share it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        yield
