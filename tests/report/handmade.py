"""A reconstruction made by hand: a bent box of tets with signals and a posterior like real ones."""

import math

import torch

from torrey.acquisition import Acquisition
from torrey.inverse.result import Iteration, Posterior, Reconstruction
from torrey.mesh import TetMesh
from torrey.signal.tissue import Tissue
from torrey.units import gradient_from_bval, pgse_diffusion_weighting

# the six tets around the diagonal 0–7 of a cube; corner number = x + 2y + 4z
KUHN = torch.tensor([[0, 1, 3, 7], [0, 3, 2, 7], [0, 2, 6, 7], [0, 6, 4, 7], [0, 4, 5, 7], [0, 5, 1, 7]])


def box_mesh(n_x: int, n_y: int, n_z: int, *, size: tuple[float, float, float]) -> TetMesh:
    """Return a box of 6·n_x·n_y·n_z tets, centred at (1, 2, 3) µm."""
    axes = [
        torch.linspace(-s / 2, s / 2, n + 1, dtype=torch.float64)
        for n, s in zip((n_x, n_y, n_z), size, strict=True)
    ]
    vertices = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    number = torch.arange(vertices[..., 0].numel()).reshape(n_x + 1, n_y + 1, n_z + 1)
    corners = torch.stack(
        [
            number[i : n_x + i, j : n_y + j, k : n_z + k].reshape(-1)
            for k in (0, 1)
            for j in (0, 1)
            for i in (0, 1)
        ],
        dim=1,
    )
    centre = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    return TetMesh(vertices.reshape(-1, 3) + centre, corners[:, KUHN].reshape(-1, 4))


def make_reconstruction(
    mesh: TetMesh, *, n_parameters: int = 20, normalised: bool = True, settings: dict | None = None
) -> Reconstruction:
    """Return a reconstruction on `mesh` with 2 timings × 3 shells × 20 directions and one b = 0 a timing."""
    generator = torch.Generator().manual_seed(7)
    directions = torch.nn.functional.normalize(
        torch.randn(20, 3, generator=generator, dtype=torch.float64), dim=1
    )
    shell = torch.cat([torch.zeros(1), *(torch.full((20,), b) for b in (1000.0, 2500.0, 4000.0))]).double()
    bvals = shell.repeat(2)
    bvecs = torch.cat([torch.zeros(1, 3, dtype=torch.float64), directions, directions, directions]).repeat(
        2, 1
    )
    small = torch.full_like(bvals, 5.0)
    big = torch.cat([torch.full((61,), 10.0), torch.full((61,), 30.0)]).double()
    acquisition = Acquisition(
        gradients=gradient_from_bval(bvals, pgse_diffusion_weighting(small, big))[:, None] * bvecs,
        small_delta=small,
        big_delta=big,
        echo_time=small + big,
    )
    signal = torch.exp(-bvals / 1000 * (0.3 + 1.2 * bvecs[:, 2] ** 2)) * (1.0 if normalised else 200.0)
    noise = 0.01 * torch.randn(len(bvals), generator=generator, dtype=torch.float64) * signal.max()
    displacements = torch.zeros(n_parameters, mesh.n_vertices, 3, dtype=torch.float64)
    along = mesh.vertices[:, 2] - 3.0
    for k in range(n_parameters):
        displacements[k, :, k % 3] = math.sqrt(2) * torch.cos(along * (k + 1) / 4)
    sigmas = torch.logspace(-2.5, 0.8, n_parameters, dtype=torch.float64)
    stages = ("low b", "all b", "finer knots")
    history = tuple(
        Iteration(
            start, stages[min(i // 5, 2)], i, (0.2 + 0.05 * start) * 0.55**i + 0.004 * (start + 1), 0.1 * i
        )
        for start in range(4)
        for i in range(14 - start)
    )
    return Reconstruction(
        mesh=mesh,
        latent=torch.arange(n_parameters, dtype=torch.float64),
        measured=signal + noise,
        predicted=signal,
        acquisition=acquisition,
        tissue=Tissue(diffusivity=2.0),
        normalised=normalised,
        misfit=0.0043219,
        start_misfits=(0.0043219, 0.0081, 0.012, 0.016),
        history=history,
        posterior=Posterior(
            sigma=0.0112,
            noise_sigma=0.01,
            model_sigma=0.00504,
            eigenvalues=sigmas**-2,
            standard_deviations=sigmas,
            directions=torch.eye(n_parameters, dtype=torch.float64),
            displacements=displacements,
        ),
        settings=settings
        or {"shape": {"name": "Tube", "n_knots": 8}, "seed": 3, "versions": {"torch": "2.99.1"}},
        stop_reason="the misfit reached the noise",
        seconds=83.4,
    )
