import pytest
import torch

from torrey.acquisition import Acquisition, electrostatic_directions
from torrey.experiments.problem import PUBLISHED_SOLVER, problem_of
from torrey.experiments.tasks import fit_shape
from torrey.mesh import prism
from torrey.shape.families import BendTwist
from torrey.signal import Tissue, simulate

PROTOCOL = {"small_delta": 5.0, "big_delta": [10.0, 20.0], "bvals": [0.0, 500.0], "directions": 12}
SPEC = {
    "family": "bend",
    "sample": None,
    "shape": {"bend": 0.02, "twist": 0.0},
    "model": "vertices",
    "optimiser": "adam",
    "reference": "same",
    "pose": "known",
    "snr": None,
    "protocol": PROTOCOL,
    "diffusivity": 2.0,
    "layers": 4,
    "seed": 0,
    "repeat": 0,
    "curves": True,
    "starts": 1,
    "iterations": 2,
}


def test_to_know_the_pose_is_to_have_it_taken_out():
    sample = BendTwist().sample(30_700, template=prism(n_layers=4))
    assert not torch.equal(sample.rotation, torch.eye(3))
    directions = electrostatic_directions(12)
    times = {"small_delta": 5.0, "big_delta": [10.0, 20.0]}
    acquisition = Acquisition.shells_of([0.0, 20.0], directions, **times)
    turned = prism(n_layers=4).with_vertices(sample.vertices)
    expected = simulate(turned, Tissue(diffusivity=2.0), acquisition, solver=PUBLISHED_SOLVER).real
    # b is so small that the coarse mesh raises no warning
    protocol = {**PROTOCOL, "bvals": [0.0, 20.0]}
    problem = problem_of({**SPEC, "sample": 30_700, "shape": {}, "protocol": protocol})
    # rounding only
    assert problem.signal.numpy() == pytest.approx(expected.numpy(), rel=1e-9)
    assert problem.mesh.vertices.numpy() == pytest.approx(sample.canonical.numpy(), abs=1e-12)


def test_a_finer_reference_has_the_same_surface_and_tets_of_an_eighth():
    coarse = problem_of({**SPEC, "shape": {"bend": 0.0, "twist": 0.0}})
    fine = problem_of({**SPEC, "shape": {"bend": 0.0, "twist": 0.0}, "reference": "finer"})
    assert fine.mesh.n_tets == 8 * coarse.mesh.n_tets
    assert float(fine.mesh.volume) == pytest.approx(float(coarse.mesh.volume))
    # bent when fine, not cut up when bent: x ∝ height² at every one of the 9 layers
    bent = problem_of({**SPEC, "reference": "finer"}).mesh.vertices
    layers = bent[bent[:, 2].argsort(stable=True)].reshape(9, -1, 3)
    x, height = layers[..., 0].mean(1), layers[..., 2].mean(1) - bent[:, 2].min()
    # 30·0.02·6·(z/9)² µm
    assert (x - x[0]).numpy() == pytest.approx((3.6 * (height / 9) ** 2).numpy(), abs=1e-9)


def test_noise_is_of_the_snr_and_the_same_for_every_method():
    quiet = problem_of(SPEC)
    noisy = problem_of({**SPEC, "snr": 50.0})
    other = problem_of({**SPEC, "snr": 50.0, "model": "tube", "method": "x", "starts": 5})
    assert torch.equal(noisy.signal, other.signal)
    assert not torch.equal(noisy.signal, problem_of({**SPEC, "snr": 50.0, "repeat": 1}).signal)
    noise = (noisy.signal - quiet.signal) / float(quiet.mesh.volume)
    # 48 values: the standard deviation is known to a tenth, and three tenths are allowed
    assert float(noise.std()) == pytest.approx(1 / 50, rel=0.3)
    assert noisy.sigma == 1 / 50
    assert quiet.sigma is None


def test_an_unknown_pose_is_any_rotation():
    known, unknown = problem_of(SPEC), problem_of({**SPEC, "pose": "unknown"})
    a, b = (p.mesh.vertices - p.mesh.vertices.mean(0) for p in (known, unknown))
    rotation = torch.linalg.lstsq(a, b).solution
    assert rotation.T @ rotation == pytest.approx(torch.eye(3).numpy(), abs=1e-9)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)
    assert float(rotation.diagonal().sum()) < 2.9


def test_what_a_fit_returns():
    outcome = fit_shape(SPEC)
    assert set(outcome.values) == {"d_prime", "d_prime_vertices", "misfit", "volume_error"}
    assert outcome.arrays["vertices"].shape == (5 * 15, 3)
    curves = {name: outcome.arrays[f"curve_{name}"] for name in ("iteration", "misfit", "d_prime", "volume")}
    assert {len(curve) for curve in curves.values()} == {2}
    # every vertex is free
    assert outcome.arrays["curve_latent"].shape == (2, 3 * 5 * 15)
    # it starts at the straight prism
    assert curves["volume"][0] == pytest.approx(float(prism().volume))
    # a bend of 0.02 moves the upper end by 0.02·30·6 = 3.6 µm, of which two iterations make up little
    assert 0.05 < outcome.values["d_prime"] < 1.0
