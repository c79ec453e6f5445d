"""Derivatives of signals against differences of the same truncated computation, and what exact mode costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

import torrey
from common import Report, best_of
from torrey.acquisition import axisymmetric_encoding, electrostatic_directions
from torrey.mesh import Bead, Bend, cylinder, deform, layered_cylinder, layered_sphere, sphere
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
    return _central(lambda s: loss(mesh.with_vertices(mesh.vertices + s * u), solver))


def _central(f: Callable[[float], Tensor]) -> float:
    """Return the derivative at zero by differences of fourth order."""
    with torch.no_grad():
        steps = [float(f(k * STEP)) for k in (-2, -1, 1, 2)]
    return (8 * (steps[2] - steps[1]) - (steps[3] - steps[0])) / (12 * STEP)


def permeable(report: Report) -> None:
    """Two compartments that exchange, in all that the signal depends on."""
    report()
    report("The same with two compartments, a permeable wall and different D, T2 and spin densities")
    widths = (18, 8, 8, 8, 26, 11, 11)
    report.row("shape", "nodes", "modes", "kappa", "direction", "exact", "fixed", widths=widths)
    sphere_in_sphere = layered_sphere((2.0, 3.0), resolution=4)
    sheathed = layered_cylinder((1.2, 2.0), 8.0, n_rings=3, n_layers=12)
    for name, mesh, kappa in (
        ("nucleated sphere", sphere_in_sphere, 0.05),
        ("nucleated sphere", sphere_in_sphere, 1.0),
        ("sheathed cylinder", sheathed, 0.05),
        ("sheathed cylinder", sheathed, 1.0),
    ):
        point = {
            "vertices": mesh.vertices,
            "permeability": torch.tensor(kappa, dtype=torch.float64),
            "diffusivity": torch.tensor([1.0, 2.0], dtype=torch.float64),
            "T2": torch.tensor([50.0, 90.0], dtype=torch.float64),
            "spin density": torch.tensor([0.7, 1.0], dtype=torch.float64),
            # of about 1800 s/mm²
            "samples": 1200 * axisymmetric_encoding(0.0, 20.0, n_cells=20).samples,
        }
        basis = MatrixFormalism(length_scale=1.0).basis(mesh, _tissue(point), protocol())
        shape = name, basis.space.n_nodes, basis.modes.n_modes, kappa
        for direction, errors in _errors(mesh, point, basis.modes.n_modes).items():
            report.row(*shape, direction, *(f"{error:.1e}" for error in errors), widths=widths)


def _errors(mesh: torrey.TetMesh, point: dict[str, Tensor], modes: int) -> dict[str, list[float]]:
    """Return the relative errors of exact and of fixed basis for each direction."""
    cut = MatrixFormalism(modes=modes)
    slopes = [_slopes(mesh, point, solver) for solver in (replace(cut, exact_gradient=True), cut)]
    errors = {}
    for direction, (field, u) in _directions(point).items():

        def moved(s: float, field: str = field, u: Tensor = u) -> Tensor:
            return _mixed_loss(mesh, {**point, field: point[field] + s * u}, cut)

        expected = _central(moved)
        errors[direction] = [abs(float((slope[field] * u).sum()) / expected - 1) for slope in slopes]
    return errors


def _directions(point: dict[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """Return what is changed, and how."""
    directions = {f"vertices, {k}": ("vertices", u) for k, u in displacements(point["vertices"]).items()}
    for field, value in point.items():
        if field == "samples":
            noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
            directions[field] = (field, 100 * (noise - noise.mean(0)))
        elif field != "vertices":
            for c, unit in enumerate(torch.eye(value.numel(), dtype=torch.float64)):
                label = field if value.ndim == 0 else f"{field} of {c}"
                directions[label] = (field, 0.1 * unit.view(value.shape) * value)
    return directions


def _tissue(point: dict[str, Tensor]) -> torrey.Tissue:
    return torrey.Tissue(
        diffusivity=point["diffusivity"],
        T2=point["T2"],
        spin_density=point["spin density"],
        permeability={(0, 1): point["permeability"]},
    )


def _mixed_loss(mesh: torrey.TetMesh, point: dict[str, Tensor], solver: MatrixFormalism) -> Tensor:
    """Pulsed gradients, and one waveform of which every sample counts."""
    mesh, tissue = mesh.with_vertices(point["vertices"]), _tissue(point)
    free = torrey.Acquisition.from_waveforms(point["samples"][None], raster=1.0)
    pulsed = torrey.simulate(mesh, tissue, protocol(), solver=solver).real
    weights = torch.rand(len(pulsed), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turning = torrey.simulate(mesh, tissue, free, solver=solver)
    return (weights * pulsed).sum() + (turning.real + turning.imag / 2).sum()


def _slopes(mesh: torrey.TetMesh, point: dict[str, Tensor], solver: MatrixFormalism) -> dict[str, Tensor]:
    leaves = {field: value.clone().requires_grad_() for field, value in point.items()}
    _mixed_loss(mesh, leaves, solver).backward()
    return {field: leaf.grad for field, leaf in leaves.items()}


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
    permeable(report)
    cost(report)
    report.write()


if __name__ == "__main__":
    main()
