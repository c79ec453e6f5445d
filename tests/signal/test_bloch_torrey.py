"""Time stepping: an exact solution on the same mesh, matrix formalism, and differences of itself."""

import numpy as np
import pytest
import test_compartments as compartments
import test_one_axis as waveforms
import torch
from signal_cases import coarse_on_purpose, few_measurements, spindoctor_mesh

from torrey.acquisition import Acquisition
from torrey.errors import AccuracyWarning, InputError
from torrey.signal import BlochTorrey, MatrixFormalism, Tissue, simulate


def signal(mesh, tissue, acquisition, solver):
    with coarse_on_purpose():
        return simulate(mesh, tissue, acquisition, solver=solver)


@pytest.mark.parametrize("name", ["nested_T2", "permeable", "impermeable"])
@pytest.mark.parametrize(("solver", "bound"), [(BlochTorrey(), 1e-4), (BlochTorrey(tolerance=1e-5), 1e-5)])
def test_compartments_against_an_exact_solution_on_the_same_mesh(name, solver, bound):
    acquisition = compartments.spindoctor_protocol()
    rows = torch.arange(0, acquisition.n_measurements, 13)
    ours = signal(*compartments.spindoctor(name), acquisition.subset(rows), solver).numpy()
    exact = compartments.DATA[f"{name}_exact"].ravel()[rows]
    assert np.abs(ours - exact).max() < bound * float(compartments.DATA[f"{name}_S0"])


def test_waveforms_against_an_exact_solution_on_the_same_mesh():
    acquisition = Acquisition.concatenate(waveforms.spindoctor_sequences())
    rows = torch.tensor([3, 11, 16, 23, 26, 35])
    tissue = Tissue(T2=float(waveforms.DATA["T2"]))
    ours = signal(
        spindoctor_mesh("bent_twisted"), tissue, acquisition.subset(rows), BlochTorrey(tolerance=1e-5)
    )
    assert np.abs(ours.numpy() - waveforms.DATA["exact"].ravel()[rows]).max() < 1e-5 * float(
        waveforms.DATA["S0"]
    )


@pytest.mark.parametrize("order", [1, 2])
def test_both_solvers_agree_with_unequal_densities(order):
    mesh, acquisition = compartments.halves(), waveforms.mixed()
    tissue = Tissue(
        diffusivity=[1.0, 2.0],
        T2=[40.0, 90.0],
        spin_density=[1.0, 0.4],
        permeability={(0, 1): 0.3},
        surface_relaxivity={1: 0.05},
    )
    here = signal(mesh, tissue, acquisition, BlochTorrey(tolerance=1e-5, order=order))
    there = signal(mesh, tissue, acquisition, MatrixFormalism(modes=10_000, order=order))
    # the time steps of matrix formalism are good to 3e-5
    assert float((here - there).abs().max()) < 4e-5 * float(mesh.volume)


def test_nothing_is_lost_without_a_gradient():
    mesh = compartments.halves()
    tissue = Tissue(diffusivity=[1.0, 2.0], permeability={(0, 1): 0.2})
    still = few_measurements().subset([0, 1])
    ours = signal(mesh, tissue, still, BlochTorrey())
    np.testing.assert_allclose(ours.numpy(), float(mesh.volume), rtol=1e-12)


PARAMETERS = {
    "permeability": (0.25, lambda p: {"permeability": {(0, 1): p}}),
    "diffusivity": (1.2, lambda p: {"diffusivity": torch.stack([p, 2 * p])}),
    "T2": (50.0, lambda p: {"T2": torch.stack([p, 2 * p])}),
    "spin density": (0.6, lambda p: {"spin_density": torch.stack([p, 1 + 0 * p])}),
    "surface relaxivity": (0.05, lambda p: {"surface_relaxivity": {1: p}}),
}


def central_difference(loss, h):
    with torch.no_grad():
        values = [float(loss(k * h)) for k in (-2, -1, 1, 2)]
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)


@pytest.mark.parametrize("name", PARAMETERS)
def test_gradients_of_the_tissue_are_those_of_the_steps(name):
    mesh, acquisition = compartments.halves((1, 1, 4)), waveforms.mixed().subset([1, 3, 4, 9])
    value, values = PARAMETERS[name]
    weights = torch.rand(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(change):
        given = values(value + torch.as_tensor(change, dtype=torch.float64))
        tissue = Tissue(**({"diffusivity": [1.0, 2.0], "permeability": {(0, 1): 0.2}} | given))
        ours = signal(mesh, tissue, acquisition, BlochTorrey())
        return (weights * ours.real + weights.flip(0) * ours.imag).sum()

    change = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(loss(change), change)
    assert float(ours) == pytest.approx(central_difference(loss, 1e-3 * value), rel=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_vertices_and_gradient_vectors_are_those_of_the_steps(order, monkeypatch):
    # segments of a few steps, as on a large mesh
    monkeypatch.setattr("torrey.signal.midpoint._SEGMENT", 3 * 7 * 500)
    mesh, acquisition = compartments.halves((1, 2, 4)), waveforms.mixed()
    tissue = Tissue(diffusivity=[1.0, 2.0], T2=[50.0, 80.0], permeability={(0, 1): 0.3})
    generator = torch.Generator().manual_seed(1)
    u = 0.05 * torch.randn(mesh.vertices.shape, generator=generator, dtype=torch.float64)
    turn = 5 * torch.randn(acquisition.gradients.shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(acquisition.n_measurements, generator=generator, dtype=torch.float64)

    def loss(step):
        moved = waveforms.mixed(acquisition.gradients + step * turn)
        ours = signal(mesh.with_vertices(mesh.vertices + step * u), tissue, moved, BlochTorrey(order=order))
        return (weights * ours.real + weights.flip(0) * ours.imag).sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(loss(step), step)
    assert float(ours) == pytest.approx(central_difference(loss, 1e-3), rel=1e-6)


@pytest.mark.parametrize("values", [{"tolerance": 0.0}, {"tolerance": 2.0}, {"order": 3}])
def test_settings_are_checked(values):
    with pytest.raises(InputError, match=next(iter(values))):
        BlochTorrey(**values)


def test_a_coarse_mesh_is_told():
    strong = few_measurements().subset([35])
    with pytest.warns(AccuracyWarning, match="the mesh may be too coarse for this gradient"):
        simulate(compartments.halves((1, 1, 2)), Tissue(), strong, solver=BlochTorrey())
