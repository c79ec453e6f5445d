"""Networks among the methods: they are asked what they were taught, and a task depends on its spec alone."""

import torch

from torrey.acquisition import electrostatic_directions
from torrey.experiments import networks
from torrey.experiments.problem import PUBLISHED_SOLVER, acquisition_of, problem_of
from torrey.experiments.solve import solve
from torrey.mesh import TetMesh, prism
from torrey.shape.families import Fans
from torrey.signal import Tissue, simulate

PROTOCOL = {"small_delta": 5.0, "big_delta": [20.0], "bvals": [0.0, 1000.0], "directions": 6}
SPEC = {
    "family": "fan",
    "sample": Fans().split("test")[3],
    "shape": {},
    "method": "network",
    "model": "network",
    "optimiser": "lm",
    "trained_on": "family",
    "reference": "same",
    "pose": "known",
    "snr": None,
    "protocol": PROTOCOL,
    "diffusivity": 2.0,
    "layers": 20,
    "seed": 0,
    "repeat": 0,
    "curves": False,
    "starts": 1,
    "iterations": 2,
    "training_shapes": 12,
}


def test_signals_of_a_known_pose_are_those_of_the_shape_in_world_pose(recwarn):
    """A network learns world poses along fixed directions; to know the pose turns both, not the signals."""
    sample = Fans().sample(SPEC["sample"])
    assert not torch.equal(sample.rotation, torch.eye(3, dtype=torch.float64))
    acquisition = acquisition_of(PROTOCOL, electrostatic_directions(PROTOCOL["directions"]))
    mesh = TetMesh(sample.vertices, prism().tets)
    expected = simulate(mesh, Tissue(diffusivity=2.0), acquisition, solver=PUBLISHED_SOLVER).real
    # the same mesh turned: rounding of an eigen-solve
    torch.testing.assert_close(problem_of(SPEC).signal, expected, rtol=1e-9, atol=0)


def test_a_guess_is_of_the_template_and_of_the_spec_alone():
    problem = problem_of(SPEC)
    found = solve(problem, SPEC)
    assert found.misfit is None
    assert torch.equal(found.mesh.tets, problem.template.tets)
    networks._trained.cache_clear()
    networks._shapes.cache_clear()
    assert torch.equal(solve(problem, SPEC).mesh.vertices, found.mesh.vertices)
    narrow = solve(problem, {**SPEC, "model": "mlp"})
    assert not torch.equal(narrow.mesh.vertices, found.mesh.vertices)
