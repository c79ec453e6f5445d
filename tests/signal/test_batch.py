"""Many meshes at once, and the simulator inside a user's own module."""

import pytest
import torch
from signal_cases import coarse_on_purpose, few_measurements
from test_compartments import halves
from torch import nn

from torrey.errors import InputError, MeshError
from torrey.mesh import TetMesh
from torrey.signal import MatrixFormalism, Tissue, simulate, simulate_batch

SOLVER = MatrixFormalism(modes=20)
PROTOCOL = few_measurements().subset(slice(6, None, 5))


def batch_of(n, *, seed=0):
    """Vertices (n, V, 3) of one connectivity."""
    mesh = halves()
    noise = torch.randn(n, *mesh.vertices.shape, generator=torch.Generator().manual_seed(seed))
    return mesh, mesh.vertices + 0.05 * noise.double()


def test_a_batch_is_its_members_and_differentiable():
    mesh, vertices = batch_of(5)
    tissues = [Tissue(diffusivity=[1.0 + k / 10, 2.0], permeability={(0, 1): 0.2}) for k in range(5)]
    together, apart = vertices.clone().requires_grad_(), vertices.clone().requires_grad_()
    threads = torch.get_num_threads()
    with coarse_on_purpose():
        many = simulate_batch([mesh.with_vertices(v) for v in together], tissues, PROTOCOL, solver=SOLVER)
        each = [
            simulate(mesh.with_vertices(v), t, PROTOCOL, solver=SOLVER)
            for v, t in zip(apart, tissues, strict=True)
        ]
    assert torch.get_num_threads() == threads
    torch.testing.assert_close(many, torch.stack(each), rtol=0, atol=1e-10 * float(mesh.volume))
    many.real.square().sum().backward()
    torch.stack(each).real.square().sum().backward()
    torch.testing.assert_close(together.grad, apart.grad, rtol=1e-8, atol=1e-8)


def test_a_bad_member_and_wrong_numbers_are_told():
    mesh, _ = batch_of(1)
    folded = mesh.with_vertices(mesh.vertices * torch.tensor([1.0, 1.0, -1.0]).double())
    with pytest.raises(MeshError, match="inverted"), coarse_on_purpose():
        simulate_batch([mesh, folded, mesh], Tissue(), PROTOCOL, solver=SOLVER)
    with pytest.raises(InputError, match="1 meshes and 2 tissues"):
        simulate_batch([mesh], [Tissue(), Tissue()], PROTOCOL)
    with pytest.raises(InputError, match="0 meshes and 0 tissues"):
        simulate_batch([], Tissue(), PROTOCOL)


class Wall(nn.Module):
    """A user's module: unknown permeability and stretch, signals of two meshes."""

    def __init__(self, meshes: list[TetMesh]) -> None:
        super().__init__()
        self.meshes = meshes
        self.log_kappa = nn.Parameter(torch.tensor(-3.0, dtype=torch.float64))
        self.stretch = nn.Linear(3, 3, bias=False, dtype=torch.float64)
        nn.init.eye_(self.stretch.weight)

    def forward(self, protocol):
        tissue = Tissue(diffusivity=[1.0, 2.0], permeability={(0, 1): self.log_kappa.exp()})
        moved = [mesh.with_vertices(self.stretch(mesh.vertices)) for mesh in self.meshes]
        return simulate_batch(moved, tissue, protocol, solver=SOLVER).real


def test_a_module_learns_what_made_its_signals():
    mesh, vertices = batch_of(2)
    meshes = [mesh.with_vertices(v) for v in vertices]
    true, module = Wall(meshes), Wall(meshes)
    with torch.no_grad(), coarse_on_purpose():
        true.log_kappa.fill_(-1.5)
        true.stretch.weight[2, 2] = 1.1
        wanted = true(PROTOCOL)
    optimiser = torch.optim.LBFGS(module.parameters(), max_iter=12, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        with coarse_on_purpose():
            loss = (module(PROTOCOL) - wanted).square().mean()
        loss.backward()
        return loss

    before = closure().item()
    optimiser.step(closure)
    # the gradient holds the basis fixed, so that the end is near and not exact
    assert closure().item() < 0.1 * before
    assert module.state_dict().keys() == {"log_kappa", "stretch.weight"}
