"""The short-time approximation: another program's values, and where it is exact."""

import numpy as np
import pytest
import test_apparent_diffusion as closed_forms
import test_compartments as compartments
import torch
from signal_cases import TESTS, spindoctor_mesh

from torrey.acquisition import Acquisition, SineOgse
from torrey.errors import InputError
from torrey.mesh import box, sphere
from torrey.signal import Tissue, apparent_diffusion, short_time_diffusion

STORED = np.load(TESTS / "data" / "spindoctor_short_time.npz")
BIG_DELTAS = [10.0, 25.0, 50.0]


@pytest.mark.parametrize("name", ["straight", "bent_twisted", "sphere", "nested_T2", "permeable"])
def test_values_are_spindoctors(name):
    if name in {"nested_T2", "permeable"}:
        mesh, tissue = compartments.spindoctor(name)
        directions = compartments.DATA["directions"]
    else:
        mesh, tissue = spindoctor_mesh(name), Tissue(diffusivity=2.0)
        directions = STORED["directions"]
    ours = short_time_diffusion(mesh, tissue, closed_forms.pgse(directions, big_delta=BIG_DELTAS))
    # both evaluate one formula on one mesh
    np.testing.assert_allclose(ours.numpy().reshape(STORED[name].shape), STORED[name], rtol=1e-10)


def test_flat_walls_far_apart():
    """Exact until a wall feels the other: after 0.8 ms by e^(−400/(4·2·0.8)); against the series of modes."""
    acquisition = closed_forms.pgse([[1.0, 0.0, 0.0]], small_delta=0.3, big_delta=[0.5])
    ours = short_time_diffusion(box((20.0, 1.0, 1.0), (1, 1, 1)), Tissue(diffusivity=2.0), acquisition)
    assert float(ours) == pytest.approx(closed_forms.slab(20.0, 0.3, 0.5), rel=1e-8)


def test_matrices_stretch_space():
    """D = LLᵀ in a box is unit diffusion in the box that L⁻¹ makes of it, seen along Lᵀu."""
    L = torch.tensor([[1.2, 0.0, 0.0], [0.5, 0.9, 0.0], [-0.3, 0.2, 1.5]]).double()
    u = torch.nn.functional.normalize(torch.tensor([[1.0, 2.0, -1.0]]).double(), dim=1)
    mesh = box((3.0, 4.0, 5.0), (2, 2, 2))
    seen = u @ L
    ours = short_time_diffusion(mesh, Tissue(diffusivity=L @ L.T), closed_forms.pgse(u))
    stretched = mesh.with_vertices(mesh.vertices @ torch.linalg.inv(L).T)
    direction = torch.nn.functional.normalize(seen, dim=1)
    unit = short_time_diffusion(stretched, Tissue(diffusivity=1.0), closed_forms.pgse(direction))
    torch.testing.assert_close(ours, unit * seen.square().sum(), rtol=1e-12, atol=0)


def test_approaches_the_coefficient():
    """Inside a sphere the next order, of walls' curvature, is D·DΔ/R² times a number of order one."""
    mesh, tissue = sphere(8.0, resolution=6), Tissue(diffusivity=2.0)
    acquisition = closed_forms.pgse([[1.0, 0.0, 0.0]], small_delta=0.25, big_delta=[0.5])
    here = short_time_diffusion(mesh, tissue, acquisition)[:, 0]
    there = apparent_diffusion(mesh, tissue, acquisition, order=2)
    torch.testing.assert_close(here, there, rtol=0, atol=2 * 2 * 0.5 / 64)


def test_gradients():
    mesh, acquisition = compartments.halves((2, 2, 4)), closed_forms.pgse([[0.6, 0.0, 0.8]])
    generator = torch.Generator().manual_seed(2)
    u = 0.1 * torch.randn(mesh.vertices.shape, generator=generator, dtype=torch.float64)
    D = torch.diag_embed(torch.tensor([[1.0, 2.0, 0.5], [2.0, 1.0, 1.5]]).double())

    def total(step):
        tissue = Tissue(diffusivity=D * (1 + step[0]))
        return short_time_diffusion(
            mesh.with_vertices(mesh.vertices + step[1] * u), tissue, acquisition
        ).sum()

    for k in (0, 1):
        leaf = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        closed_forms.check_gradient(total, leaf, torch.eye(2, dtype=torch.float64)[k])


def test_other_waveforms_are_refused():
    acquisition = Acquisition.encode(SineOgse(1), [500.0], [[1.0, 0, 0]], small_delta=5.0, big_delta=10.0)
    with pytest.raises(InputError, match="short-time diffusion: row 0 is SineOgse"):
        short_time_diffusion(box((1.0, 1.0, 1.0), (1, 1, 1)), Tissue(), acquisition)
