import pytest
import torch
from handmade import box_mesh, make_reconstruction

from torrey.inverse.result import Reconstruction
from torrey.mesh import TetMesh


@pytest.fixture(scope="session")
def small_mesh() -> TetMesh:
    mesh = box_mesh(3, 3, 12, size=(3.0, 3.0, 15.0))
    along = (mesh.vertices[:, 2] - 3.0) / 7.5
    bend = torch.stack([2.0 * along**2, torch.zeros_like(along), torch.zeros_like(along)], dim=1)
    return mesh.with_vertices(mesh.vertices + bend)


@pytest.fixture(scope="session")
def reconstruction(small_mesh: TetMesh) -> Reconstruction:
    return make_reconstruction(small_mesh)
