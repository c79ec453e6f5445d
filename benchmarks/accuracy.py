"""Signals against SpinDoctor and against the closed forms of slab, cylinder and sphere.

python benchmarks/accuracy.py --spindoctor FOLDER    (without it only the closed forms)
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from math import log2
from pathlib import Path

import numpy as np
import torch

import torrey
from common import Report, SpinDoctorCase, spindoctor_case, timed
from torrey.acquisition import electrostatic_directions
from torrey.fem.space import FunctionSpace
from torrey.mesh import box, cylinder, sphere
from torrey.signal import MatrixFormalism
from torrey.signal.analytic import Cylinder, Slab, Sphere
from torrey.signal.matrix_formalism import truncation_error

CASES = ("cyl_straight_r5_h20", "cyl_bent0.05_twist1", "sphere_r5")
NEURON = "neuron_03b_spindle4aACC_dendrites_2"
D = 2.0


def spindoctor(report: Report, folder: Path) -> None:
    report()
    report("SpinDoctor's meshes, P1, b up to 10 000 s/mm²: largest error over S(0). `exact` solves the same")
    report("semi-discrete system; `mf` is its matrix formalism, to compare where the modes are as many.")
    widths = (38, 8, 8, 10, 10, 11, 9)
    report.row("case", "nodes", "modes", "exact", "mf", "estimate", "time s", widths=widths)
    for name in (*CASES, NEURON):
        case = spindoctor_case(folder, name)
        same = int(case.data["mf_neig"].sum())
        # the default tolerance asks the neuron for some 700 modes and minutes
        wanted = MatrixFormalism(tolerance=1e-3) if name == NEURON else MatrixFormalism()
        solvers = [MatrixFormalism(modes=same), MatrixFormalism(modes=300), wanted]
        for solver in solvers:
            signal, seconds = timed(
                lambda s=solver, c=case: torrey.simulate(c.mesh, c.tissue, c.acquisition, solver=s)
            )
            basis = solver.basis(case.mesh, case.tissue, case.acquisition)
            S = signal.real.numpy().reshape(case.shape)
            against_mf = np.abs(S - case.data["mf_signal"].sum(-1)).max() / case.volume
            report.row(
                name,
                basis.space.n_nodes,
                basis.modes.n_modes,
                f"{_exact_error(S, case):.1e}",
                f"{against_mf:.1e}",
                f"{truncation_error(basis, case.acquisition, signal):.1e}",
                f"{seconds:.2f}",
                widths=widths,
            )


def _exact_error(S: np.ndarray, case: SpinDoctorCase) -> float:
    data = case.data
    if "exact_signal" in data:
        exact = data["exact_signal"].sum(-1)
        return float(np.abs(S[:, :, : exact.shape[2]] - exact).max() / case.volume)
    index = tuple(data["exact_points_seq_b_dir"].T)
    return float(np.abs(S[index] - data["exact_points_signal"]).max() / case.volume)


def closed_forms(report: Report) -> None:
    directions = electrostatic_directions(6)
    bvals, timing = [500.0, 1000.0, 2000.0, 4000.0], {"small_delta": 5.0, "big_delta": [10.0, 25.0, 50.0]}
    oblique = torrey.Acquisition.shells_of(bvals, directions, **timing)
    along_x = torrey.Acquisition.shells_of(bvals, torch.eye(3)[:1].double(), **timing)
    shapes = {
        "slab, 6 µm": (Slab(6.0), along_x, lambda n: box((6.0, 1.0, 1.0), (4 * n, 1, 1)), (1, 2, 4)),
        "cylinder, r 2, L 15 µm": (
            Cylinder(2.0, 15.0),
            oblique,
            lambda n: cylinder(2.0, 15.0, n_rings=n, n_layers=8 * n),
            (1, 2, 4),
        ),
        "sphere, r 3 µm": (Sphere(3.0), oblique, lambda n: sphere(3.0, resolution=n), (2, 4, 8)),
    }
    report()
    report(
        "Closed forms, b up to 4 000 s/mm², 150 modes: largest error over S(0) and the order between rows."
    )
    report("Errors below 3e-5 are those of the cut and of the splitting in time.")
    widths = (28, 8, 8, 11, 8, 9)
    report.row("shape", "order", "nodes", "error", "rate", "time s", widths=widths)
    for name, (domain, acquisition, make, sizes) in shapes.items():
        exact = domain.attenuation(acquisition, D, tolerance=1e-6)
        for order in (1, 2):
            rows = []
            for n in sizes if order == 1 else [n // 2 for n in sizes if n > 1]:
                mesh = make(n)
                rows.append((n, *_perfect_error(mesh, acquisition, exact, order=order, modes=150)))
            rates = ["", *(f"{log2(a[2] / b[2]) / log2(b[0] / a[0]):.1f}" for a, b in pairwise(rows))]
            for (_, nodes, error, seconds), rate in zip(rows, rates, strict=True):
                report.row(name, f"P{order}", nodes, f"{error:.1e}", rate, f"{seconds:.2f}", widths=widths)


def fewest_nodes(report: Report) -> None:
    acquisition = torrey.Acquisition.shells_of(
        [500.0, 1000.0, 2000.0, 4000.0],
        electrostatic_directions(15),
        small_delta=5.0,
        big_delta=[10.0, 25.0, 50.0],
    )
    exact = Cylinder(2.0, 15.0).attenuation(acquisition, D, tolerance=1e-6)
    report()
    report("Fewest nodes of a tube, r 2, L 15 µm, that reach an error of 1e-3 at b ≤ 4 000 s/mm²")
    for order, rings in ((1, (2, 3, 4, 5, 6)), (2, (1, 2))):
        found = []
        for n_rings in rings:
            for n_layers in range(4, 41, 2):
                mesh = cylinder(2.0, 15.0, n_rings=n_rings, n_layers=n_layers)
                nodes, error, seconds = _perfect_error(mesh, acquisition, exact, order=order, modes=100)
                if error <= 1e-3:
                    found.append((nodes, n_rings, n_layers, error, seconds))
                    break
        nodes, n_rings, n_layers, error, seconds = min(found)
        grid = f"{n_rings} rings, {n_layers} layers"
        report(f"P{order}: {nodes} nodes ({grid}), error {error:.1e}, {seconds:.2f} s")


def _perfect_error(
    mesh: torrey.TetMesh, acquisition: torrey.Acquisition, exact: torch.Tensor, *, order: int, modes: int
) -> tuple[int, float, float]:
    """Return nodes, largest error over S(0), and seconds."""
    solver = MatrixFormalism(modes=modes, order=order)
    tissue = torrey.Tissue(diffusivity=D)
    signal, seconds = timed(lambda: torrey.simulate(mesh, tissue, acquisition, solver=solver).real)
    nodes = FunctionSpace.on(mesh.tets, mesh.n_vertices, order=order).n_nodes
    return nodes, float((signal / mesh.volume - exact).abs().max()), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spindoctor", type=Path, help="folder of the SpinDoctor reference")
    folder = parser.parse_args().spindoctor
    report = Report("accuracy")
    if folder is not None:
        spindoctor(report, folder)
    closed_forms(report)
    fewest_nodes(report)
    report.write()


if __name__ == "__main__":
    main()
