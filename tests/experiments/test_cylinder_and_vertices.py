from pathlib import Path

import numpy as np
import pytest
import torch

from torrey.acquisition import Acquisition, electrostatic_directions
from torrey.experiments.baselines import descend_in_vertices, fit_cylinder
from torrey.inverse import Adam
from torrey.mesh import cylinder, prism
from torrey.signal import MatrixFormalism, Tissue, simulate

DATA = Path(__file__).parents[1] / "data"
TISSUE = Tissue(diffusivity=2.0)
ACQUISITION = Acquisition.shells_of(
    [0, 1000, 4000], electrostatic_directions(6), small_delta=5.0, big_delta=[10.0, 40.0]
)


def test_size_of_a_perfect_cylinder():
    # across a cylinder spins see a disc, along it plates; both as another implementation computed them
    with np.load(DATA / "spindoctor_analytic.npz") as reference:
        acquisition = Acquisition.shells_of(
            reference["bvals"],
            [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
            small_delta=float(reference["small_delta"]),
            big_delta=reference["big_delta"],
        )
        signal = np.stack([reference["disc"], reference["plates"]], axis=2).ravel()
    fit = fit_cylinder(
        torch.from_numpy(signal), acquisition, TISSUE, pose_known=True, normalised=True, n_starts=1
    )
    # Measured 1.4e-6 and 1.2e-4: the cross-section has the area of the disc, and twelve sides.
    assert fit.length == pytest.approx(10.0, rel=1e-4)
    assert fit.radius == pytest.approx(5.0, rel=5e-4)
    assert fit.axis.tolist() == [0.0, 0.0, 1.0]


def test_size_and_axis_of_a_turned_cylinder():
    mesh = cylinder(2.5, 11.0, n_rings=4, n_layers=12)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4)).double())
    axis = turn[:, 2]
    turned = mesh.with_vertices(mesh.vertices @ (turn * torch.linalg.det(turn)).T)
    signal = simulate(turned, TISSUE, ACQUISITION, solver=MatrixFormalism(order=2, modes=60)).real
    coarse = cylinder(1.0, 2.0, n_rings=1, n_layers=6)
    fit = fit_cylinder(signal, ACQUISITION, TISSUE, template=coarse, n_starts=1)
    # The mesh of the fit has a fifth of the nodes: measured 2e-5 relative, and 2e-5 in the misfit.
    assert fit.length == pytest.approx(11.0, rel=2e-4)
    assert fit.radius == pytest.approx(2.5, rel=2e-4)
    assert abs(float(fit.axis @ axis)) == pytest.approx(1.0, abs=1e-6)
    assert fit.reconstruction.misfit < 2e-4


def test_descent_in_vertices_starts_at_the_template_and_lowers_the_misfit():
    template = prism(n_layers=4)
    signal = simulate(prism(2.7, 9.4, n_layers=4), TISSUE, ACQUISITION, solver=MatrixFormalism(order=2)).real
    result = descend_in_vertices(
        signal, ACQUISITION, TISSUE, template=template, optimiser=Adam(max_iterations=5, learning_rate=0.2)
    )
    misfits = [step.misfit for step in result.history]
    at_template = simulate(template, TISSUE, ACQUISITION, solver=MatrixFormalism(order=2)).real
    expected = float((at_template - signal).square().mean().sqrt() / signal[0])
    # the fit leaves out modes above 1.2 µm
    assert misfits[0] == pytest.approx(expected, rel=1e-2)
    # measured 0.76: smoothing makes the steps of vertices shorter than those of the latent
    assert misfits == sorted(misfits, reverse=True)
    assert misfits[-1] < 0.9 * misfits[0]
    assert result.mesh.n_vertices == template.n_vertices
