import numpy as np
import pytest
import torch

from torrey.autodiff import jacobian as jacobian_of
from torrey.inverse.posterior import laplace_posterior
from torrey.mesh import box
from torrey.shape import Tube

NOISE, MODEL = 0.03, 0.04
SIGMA = 0.05

LENGTHS = (4.0, 6.0, 10.0)


def posterior(jacobian, mesh, displacements):
    return laplace_posterior(jacobian, mesh, displacements, noise_sigma=NOISE, model_sigma=MODEL)


def stretches(mesh):
    """Return displacements (3, V, 3) of a centred box that move its two faces across an axis out by 1 µm."""
    return torch.stack(
        [mesh.vertices * torch.nn.functional.one_hot(torch.tensor(i), 3) * 2 / LENGTHS[i] for i in range(3)]
    )


def face_shares():
    """Return the share of the surface (3,) that lies across each axis."""
    a, b, c = LENGTHS
    areas = np.array([b * c, a * c, a * b])
    return areas / areas.sum()


def orthogonal_columns(norms, *, rows=40):
    generator = torch.Generator().manual_seed(0)
    columns, _ = torch.linalg.qr(torch.randn(rows, len(norms), dtype=torch.float64, generator=generator))
    return columns * torch.tensor(norms, dtype=torch.float64)


def bent_tube():
    tube = Tube(n_control=4, n_radius=4, n_rings=1, n_layers=10)
    latent = tube.straight(length=12.0, radius=1.8, direction=(0.3, 0.5, 0.8))
    noise = torch.randn(tube.n_latent, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    latent = latent + torch.cat([0.8 * noise[:12], 0.15 * noise[12:]])
    return tube, latent


def of_tube(tube, latent, *, rows=60):
    displacements = jacobian_of(tube.vertices, latent)
    generator = torch.Generator().manual_seed(3)
    jacobian = torch.randn(rows, tube.n_latent, dtype=torch.float64, generator=generator)
    return jacobian, posterior(jacobian, tube.mesh(latent), displacements)


def rms_normal_displacement(mesh, displacement):
    """Area-weighted rms of n·u over the boundary, least over translations, by weighted least squares."""
    corners = mesh.vertices.numpy()[mesh.boundary.numpy()]
    area_vector = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(area_vector, axis=1)
    normal = area_vector / area[:, None]
    moved = (displacement.numpy()[mesh.boundary.numpy()].mean(1) * normal).sum(1)
    root = np.sqrt(area / area.sum())
    _, squares, _, _ = np.linalg.lstsq(normal * root[:, None], moved * root, rcond=None)
    return np.sqrt(squares[0])


def test_a_box_has_the_variances_of_its_closed_form():
    """Stretches move one pair of faces each and the signal tells them apart: all is diagonal."""
    mesh = box(LENGTHS, (2, 3, 4))
    norms = (0.2, 0.5, 0.1)
    result = posterior(orthogonal_columns(norms), mesh, stretches(mesh))
    expected = np.array(norms) ** 2 / (SIGMA**2 * face_shares())
    order = expected.argsort()[::-1]
    assert result.sigma == pytest.approx(SIGMA)
    assert (result.noise_sigma, result.model_sigma) == (NOISE, MODEL)
    assert result.eigenvalues.numpy() == pytest.approx(expected[order])
    assert result.standard_deviations.numpy() == pytest.approx(expected[order] ** -0.5)
    amplitude = face_shares()[order] ** -0.5
    assert result.directions.abs().numpy() == pytest.approx(np.eye(3)[order] * amplitude[:, None], abs=1e-9)


def test_translations_are_left_out_and_change_nothing():
    """Also where a Jacobian, by rounding or a coarse mesh, claims to see them."""
    mesh = box(LENGTHS, (2, 3, 4))
    jacobian = orthogonal_columns((0.2, 0.5, 0.1, 3.0, 2.0, 1.0))
    shifts = torch.eye(3, dtype=torch.float64)[:, None].expand(3, mesh.n_vertices, 3)
    alone = posterior(jacobian[:, :3], mesh, stretches(mesh))
    both = posterior(jacobian, mesh, torch.cat([stretches(mesh), shifts]))
    assert both.eigenvalues.numpy() == pytest.approx(alone.eigenvalues.numpy())
    # a face moved alone is half a stretch and half a shift
    half = (stretches(mesh)[:1] + shifts[:1]) / 2
    one_sided = posterior(jacobian[:, :1], mesh, half)
    assert float(one_sided.eigenvalues[0]) == pytest.approx(0.2**2 / (SIGMA**2 * face_shares()[0] / 4))


def test_a_straight_tube_does_not_count_what_slides_along_it():
    """Of 16 parameters three move it and two slide points along the axis; turning it is seen."""
    tube = Tube(n_control=4, n_radius=4, n_rings=2, n_layers=10)
    _, result = of_tube(tube, tube.straight(length=12.0, radius=1.8, direction=(0.3, 0.5, 0.8)))
    assert result.directions.shape == (11, 16)
    assert result.displacements.shape == (11, tube.vertices(torch.zeros(16).double() + 1).shape[0], 3)


def test_each_direction_moves_the_surface_by_one_micrometre_rms():
    tube, latent = bent_tube()
    _, result = of_tube(tube, latent)
    mesh = tube.mesh(latent)
    rms = [rms_normal_displacement(mesh, displacement) for displacement in result.displacements]
    assert rms == pytest.approx(np.ones(len(rms)))
    # and two at once by √2: they are orthogonal
    pairs = result.displacements[1:] + result.displacements[:-1]
    rms = [rms_normal_displacement(mesh, pair) for pair in pairs]
    assert rms == pytest.approx(np.full(len(rms), 2**0.5))
    step = 1e-6 * result.directions[0]
    moved = (tube.vertices(latent + step) - tube.vertices(latent - step)) / 2e-6
    assert result.displacements[0].numpy() == pytest.approx(moved.numpy(), abs=1e-6)


def test_standard_deviations_are_those_of_linear_fits_to_noise():
    tube, latent = bent_tube()
    jacobian, result = of_tube(tube, latent)
    n = 4000
    noise = SIGMA * torch.randn(
        len(jacobian), n, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    amplitudes = torch.linalg.lstsq(jacobian @ result.directions.T, noise).solution
    # the standard deviation of n draws is known to 1/√(2n) = 1.1 %
    spread = amplitudes.std(dim=1).numpy()
    assert spread == pytest.approx(result.standard_deviations.numpy(), rel=0.05)
    correlation = torch.corrcoef(amplitudes).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 5 / n**0.5
    assert (result.eigenvalues.diff() <= 0).all()


def test_what_the_signal_does_not_see_has_no_bound():
    mesh = box(LENGTHS, (2, 3, 4))
    result = posterior(orthogonal_columns((0.2, 0.5, 0.0)), mesh, stretches(mesh))
    assert float(result.eigenvalues[-1]) < 1e-20
    assert float(result.standard_deviations[-1]) > 1e9
