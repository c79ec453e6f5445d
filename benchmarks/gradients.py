"""Derivatives of signals against differences of the same truncated computation, and what exact mode costs."""

from __future__ import annotations

import torch
from torch import Tensor

import torrey
from common import Report, best_of
from torrey.acquisition import electrostatic_directions
from torrey.mesh import Bead, Bend, cylinder, deform, sphere
from torrey.signal import MatrixFormalism

TISSUE = torrey.Tissue(diffusivity=2.0)
STEP = 1e-2
"""Of a displacement of 0.01 µm: smaller steps show rounding, larger ones the fifth derivative."""


def protocol() -> torrey.Acquisition:
    return torrey.Acquisition.shells_of(
        [1000.0, 4000.0], electrostatic_directions(10), small_delta=5.0, big_delta=[10.0, 50.0]
    )


def displacements(vertices: Tensor) -> dict[str, Tensor]:
    x = vertices - vertices.mean(0)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = x[:, 2] / x[:, 2].abs().max()
    # the stretch keeps the derivative from vanishing by symmetry, as that of a bend does on a straight shape
    bend = torch.stack([z**2, 0 * z, z / 2], dim=1)
    swell = x * torch.tensor([1.0, 1.0, 0.0]) * (1 + z.sin())[:, None] / 4
    return {"rough": 0.01 * noise, "bend": 0.01 * bend, "swell": 0.01 * swell}


def loss(mesh: torrey.TetMesh, solver: MatrixFormalism) -> Tensor:
    signal = torrey.simulate(mesh, TISSUE, protocol(), solver=solver).real
    weights = torch.rand(len(signal), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (weights * signal).sum()


def gradient(mesh: torrey.TetMesh, solver: MatrixFormalism) -> Tensor:
    vertices = mesh.vertices.clone().requires_grad_()
    loss(mesh.with_vertices(vertices), solver).backward()
    return vertices.grad


def accuracy(report: Report) -> None:
    straight = cylinder(2.0, 10.0, n_rings=2, n_layers=13)
    shapes = {
        "straight tube": straight,
        "bent tube": deform(straight, Bend(0.04)),
        "beaded tube": deform(straight, Bead(0.3, 2)),
        "sphere": sphere(3.0, resolution=4),
    }
    report(
        "Relative error of directional derivatives: exact and fixed basis at a cut of 1 µm, complete basis"
    )
    widths = (16, 8, 8, 8, 11, 11, 11)
    report.row("shape", "nodes", "modes", "field", "exact", "fixed", "complete", widths=widths)
    for name, mesh in shapes.items():
        n = MatrixFormalism(length_scale=1.0).basis(mesh, TISSUE, protocol()).modes.n_modes
        cut, complete = MatrixFormalism(modes=n), MatrixFormalism(modes=mesh.n_vertices)
        found = [
            (gradient(mesh, MatrixFormalism(modes=n, exact_gradient=True)), cut),
            (gradient(mesh, cut), cut),
            (gradient(mesh, complete), complete),
        ]
        for field, u in displacements(mesh.vertices).items():
            cells = []
            expected: dict[int, float] = {}
            for slope, solver in found:
                if solver.modes not in expected:
                    expected[solver.modes] = _difference(mesh, u, solver)
                fd = expected[solver.modes]
                cells.append(f"{abs(float((slope * u).sum()) / fd - 1):.1e}")
            report.row(name, mesh.n_vertices, n, field, *cells, widths=widths)


def _difference(mesh: torrey.TetMesh, u: Tensor, solver: MatrixFormalism) -> float:
    def f(s: float) -> float:
        return float(loss(mesh.with_vertices(mesh.vertices + s * u), solver))

    return (8 * (f(STEP) - f(-STEP)) - (f(2 * STEP) - f(-2 * STEP))) / (12 * STEP)


def cost(report: Report) -> None:
    mesh = cylinder(2.0, 15.0, n_rings=9, n_layers=36)
    report()
    N = protocol().n_measurements
    report(f"Cost on {mesh.n_vertices} vertices, 100 modes, {N} measurements; best of three")
    _, forward = best_of(3, lambda: loss(mesh, MatrixFormalism(modes=100)))
    report(f"forward (assembly, eigen-solve, signals)   {forward:7.2f} s")
    for name, exact in (("fixed basis", False), ("exact", True)):
        _, both = best_of(
            3, lambda exact=exact: gradient(mesh, MatrixFormalism(modes=100, exact_gradient=exact))
        )
        backward = both - forward
        report(f"backward, {name:32s} {backward:7.2f} s   {backward / forward:.2f} × forward")


def main() -> None:
    report = Report("gradients")
    accuracy(report)
    cost(report)
    report.write()


if __name__ == "__main__":
    main()
