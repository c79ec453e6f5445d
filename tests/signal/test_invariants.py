"""What no signal may depend on, for random tissues, meshes and gradients."""

import dataclasses

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_cases import coarse_on_purpose, rotation
from test_compartments import halves

from torrey.acquisition import Acquisition, CosineOgse, DoublePgse, FreeWaveform, Trapezoid
from torrey.mesh import TetMesh
from torrey.signal import BlochTorrey, MatrixFormalism, Tissue, simulate

COMPLETE = MatrixFormalism(modes=10_000)
PHYSICS = settings(max_examples=8, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10_000)
SPEEDS = st.floats(1e-3, 10.0)


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_mesh(seed):
    """Two halves of a box whose vertices have moved; shared nodes."""
    mesh = halves((1, 1, 2))
    return mesh.with_vertices(mesh.vertices + 0.1 * draw(seed, *mesh.vertices.shape))


def random_tensors(seed):
    roots = draw(seed, 2, 3, 3)
    return 0.3 * roots @ roots.mT + 0.5 * torch.eye(3)


def random_acquisition(seed):
    """Pulses of four kinds and two free waveforms."""
    axes = torch.nn.functional.normalize(draw(seed, 6, 3))
    bvals = (500 * draw(seed + 1, 6).abs() + 50).tolist()
    options = {"small_delta": 3.0, "big_delta": 7.0, "echo_time": 22.0}
    parts = [Acquisition.pgse(bvals[:2], axes[:2], **options)]
    for k, waveform in enumerate([DoublePgse(1.0), CosineOgse(1), Trapezoid(0.5)], start=2):
        parts.append(Acquisition.encode(waveform, bvals[k : k + 1], axes[k : k + 1], **options))
    samples = draw(seed + 2, 2, 6, 3)
    samples = 150 * (samples - samples.mean(1, keepdim=True))
    parts.append(Acquisition.from_waveforms(samples, raster=2.0, echo_time=22.0))
    return Acquisition.concatenate(parts)


def rotated(acquisition, turn):
    """Turn pulses by their vectors and free waveforms by their samples."""
    waveforms = tuple(
        FreeWaveform(w.samples @ turn.T, w.raster) if isinstance(w, FreeWaveform) else w
        for w in acquisition.waveforms
    )
    free = torch.tensor([isinstance(acquisition.waveforms[k], FreeWaveform) for k in acquisition.waveform_of])
    gradients = torch.where(free[:, None], acquisition.gradients, acquisition.gradients @ turn.T)
    return dataclasses.replace(acquisition, gradients=gradients, waveforms=waveforms)


def signal(mesh, tissue, acquisition, solver=COMPLETE):
    with coarse_on_purpose():
        return simulate(mesh, tissue, acquisition, solver=solver)


def assert_same(here, there, mesh):
    torch.testing.assert_close(here, there, rtol=0, atol=1e-10 * float(mesh.volume))


@PHYSICS
@given(SEEDS, SPEEDS)
def test_turning_mesh_tissue_and_gradients_together(seed, kappa):
    mesh, acquisition, tensors = random_mesh(seed), random_acquisition(seed), random_tensors(seed)
    turn = rotation(seed)
    tissue = Tissue(diffusivity=tensors, T2=[40.0, 80.0], permeability={(0, 1): kappa})
    turned = Tissue(diffusivity=turn @ tensors @ turn.T, T2=[40.0, 80.0], permeability={(0, 1): kappa})
    here = signal(mesh, tissue, acquisition)
    there = signal(mesh.with_vertices(mesh.vertices @ turn.T), turned, rotated(acquisition, turn))
    assert_same(here, there, mesh)


@PHYSICS
@given(SEEDS, SPEEDS)
def test_moving_the_mesh(seed, kappa):
    """Gradients are balanced, so that no phase depends on where the mesh lies."""
    mesh, acquisition = random_mesh(seed), random_acquisition(seed)
    tissue = Tissue(diffusivity=[1.0, 2.0], permeability={(0, 1): kappa}, surface_relaxivity={0: 0.05})
    moved = mesh.with_vertices(mesh.vertices + 50 * draw(seed, 3))
    # a thousandth of the numbers of a mesh far away are its rounding
    assert_same(signal(mesh, tissue, acquisition), signal(moved, tissue, acquisition), mesh)


@PHYSICS
@given(SEEDS, SPEEDS)
def test_the_order_of_vertices_tets_and_measurements(seed, kappa):
    mesh, acquisition = random_mesh(seed), random_acquisition(seed)
    tissue = Tissue(diffusivity=[1.0, 2.0], T2=[40.0, 80.0], permeability={(0, 1): kappa})
    generator = torch.Generator().manual_seed(seed)
    places = torch.randperm(mesh.n_vertices, generator=generator)
    tets = torch.randperm(mesh.n_tets, generator=generator)
    rows = torch.randperm(acquisition.n_measurements, generator=generator)
    vertices = torch.empty_like(mesh.vertices)
    vertices[places] = mesh.vertices
    shuffled = TetMesh(vertices, places[mesh.tets][tets], mesh.compartments[tets])
    here = signal(mesh, tissue, acquisition)[rows]
    assert_same(here, signal(shuffled, tissue, acquisition.subset(rows)), mesh)


@PHYSICS
@given(SEEDS, SPEEDS)
def test_the_names_of_the_compartments(seed, kappa):
    mesh, acquisition = random_mesh(seed), random_acquisition(seed)
    tissue = Tissue(
        diffusivity=[1.0, 2.0], T2=[40.0, 80.0], spin_density=[1.0, 0.6], permeability={(0, 1): kappa}
    )
    swapped = Tissue(
        diffusivity=[2.0, 1.0], T2=[80.0, 40.0], spin_density=[0.6, 1.0], permeability={(1, 0): kappa}
    )
    there = TetMesh(mesh.vertices, mesh.tets, 1 - mesh.compartments)
    assert_same(signal(mesh, tissue, acquisition), signal(there, swapped, acquisition), mesh)


@PHYSICS
@given(SEEDS, SPEEDS, st.sampled_from([COMPLETE, MatrixFormalism(modes=6), BlochTorrey(tolerance=1e-2)]))
def test_mass_without_a_gradient(seed, kappa, solver):
    mesh = random_mesh(seed)
    densities = draw(seed, 2).abs() + 0.2
    still = dataclasses.replace(random_acquisition(seed), gradients=torch.zeros(7, 3).double())
    tissue = Tissue(
        diffusivity=random_tensors(seed), T2=50.0, spin_density=densities, permeability={(0, 1): kappa}
    )
    content = (densities[mesh.compartments] * mesh.volumes).sum() * torch.exp(-still.echo_time / 50)
    ours = signal(mesh, tissue, still, solver)
    torch.testing.assert_close(ours.real, content, rtol=1e-12, atol=0)
    assert float(ours.imag.abs().max()) < 1e-12 * float(content.max())


@PHYSICS
@given(SEEDS)
def test_a_closed_wall_is_one_that_is_not_named(seed):
    mesh, acquisition = random_mesh(seed), random_acquisition(seed)
    values = {"diffusivity": random_tensors(seed), "T2": [40.0, 80.0]}
    here = signal(mesh, Tissue(**values), acquisition)
    assert_same(here, signal(mesh, Tissue(**values, permeability={(0, 1): 0.0}), acquisition), mesh)


@PHYSICS
@given(SEEDS)
def test_an_open_wall_is_none(seed):
    """The difference falls as 1/κ."""
    mesh, acquisition = random_mesh(seed), random_acquisition(seed)
    merged = signal(TetMesh(mesh.vertices, mesh.tets), Tissue(diffusivity=1.5), acquisition)
    apart = [
        float(
            (signal(mesh, Tissue(diffusivity=1.5, permeability={(0, 1): k}), acquisition) - merged)
            .abs()
            .max()
        )
        for k in (1e3, 1e4)
    ]
    # the rest of the second are the time steps, of a stiffer matrix
    assert apart[1] < 0.1 * apart[0] + 3e-5 * float(mesh.volume)
    assert apart[1] < 1e-3 * float(mesh.volume)
