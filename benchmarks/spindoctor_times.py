"""Seconds from mesh to signals beside SpinDoctor's own, on one thread.

    python benchmarks/spindoctor_times.py --spindoctor FOLDER

SpinDoctor (fork picspin/SpinDoctor at 7b97c43, its own numerics under GNU Octave 7.3, one thread of a shared
machine, good to a factor of two) took, as the README of the reference cases says, for PGSE with 100 modes

    nodes   assembly s   eigen-solve s   s a signal
    342     0.02         0.04            0.0009
    1 477   0.04         0.15            0.0008
    8 502   0.34         2.0             0.0007

Torrey's are seconds of processor time, the least of several runs, from a mesh to its signals, checks and the
estimate of the truncation error included; SciPy's are those of the same algorithm as SpinDoctor's in this
run (ARPACK, and matrix exponentials for each measurement). The mesh of 342 nodes is the reference's own
cylinder of radius 5 and length 20 µm, those of about 1 477 and 8 502 are of that shape. The error is the
largest over S(0), against the independent solution in the reference (`exact_signal`), or 300 modes.

The last table has what no method of sparse eigenvectors goes without: assembly, one factorisation, and one
solve for each of 100 modes (block Lanczos takes about three), beside a fifth of SpinDoctor's time for all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csc_array

import torrey
from common import Report
from compartments import Case, by_scipy, read_case
from torrey.acquisition import electrostatic_directions
from torrey.fem.blas_threads import one_blas_thread
from torrey.fem.factorise import factorise
from torrey.mesh import cylinder
from torrey.signal.operators import Operators

SPINDOCTOR = {342: (0.02, 0.04, 0.0009), 1477: (0.04, 0.15, 0.0008), 8502: (0.34, 2.0, 0.0007)}
MODES = 100
EXACT = torrey.MatrixFormalism(modes=300)
SOLVERS = {f"{MODES} modes": torrey.MatrixFormalism(modes=MODES), "default": torrey.MatrixFormalism()}


def larger(case: Case, rings: int, layers: int) -> Case:
    """Return `case` on a finer cylinder, with the signals of many modes as exact ones."""
    mesh = cylinder(5.0, 20.0, n_rings=rings, n_layers=layers)
    exact = torrey.simulate(mesh, case.tissue, case.acquisition, solver=EXACT)
    return case._replace(mesh=mesh, exact=exact.numpy()[:, None], content=float(mesh.volume))


def many_signals(case: Case) -> Case:
    """Return `case` with 1 890 measurements, with the signals of many modes as exact ones."""
    acquisition = torrey.Acquisition.shells_of(
        np.linspace(0, 10_000, 22)[1:].tolist(),
        electrostatic_directions(30),
        small_delta=5.0,
        big_delta=[10.0, 25.0, 50.0],
    )
    exact = torrey.simulate(case.mesh, case.tissue, acquisition, solver=EXACT)
    return case._replace(acquisition=acquisition, exact=exact.numpy()[:, None])


def processor_seconds(repeats: int, run: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Return a result, and the least processor time of several runs."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return result, min(seconds)


def simulated(case: Case, solver: torrey.MatrixFormalism) -> np.ndarray:
    return torrey.simulate(case.mesh, case.tissue, case.acquisition, solver=solver).numpy()


def least_seconds(case: Case) -> tuple[float, float, float]:
    """Return processor seconds of assembly, of a factorisation and of one solve for each mode."""
    marks = [time.process_time()]
    operators = Operators.of(case.mesh, case.tissue, order=1)
    marks.append(time.process_time())
    stiffness, mass = operators.matrices
    solve = factorise(csc_array(stiffness + mass))
    marks.append(time.process_time())
    block = np.random.default_rng(0).normal(size=(mass.shape[0], 4))
    for _ in range(MODES // 4):
        solve(block)
    marks.append(time.process_time())
    assembly, factorisation, solves = np.diff(marks).tolist()
    return assembly, factorisation, solves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spindoctor", type=Path, required=True, help="folder of the reference cases")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = Report("spindoctor_times")
    report(__doc__ or "")
    case = read_case(arguments.spindoctor, "cyl_straight_r5_h20")
    widths = (8, 9, 14, 9, 10, 13, 9, 10, 11)
    heads = ("signals", "SpinDoctor s", "SciPy s", "error", "Torrey", "s", "error", "faster by")
    report.row("nodes", *heads, widths=widths)
    fifths: dict[int, tuple[Case, float]] = {}
    for nodes, build in (
        (342, lambda: case),
        (342, partial(many_signals, case)),
        (1477, partial(larger, case, 4, 23)),
        (8502, partial(larger, case, 8, 38)),
    ):
        row = build()
        assembly, eigen, each = SPINDOCTOR[nodes]
        theirs = assembly + eigen + each * row.acquisition.n_measurements
        with one_blas_thread():
            plain, seconds = processor_seconds(1, partial(by_scipy, row))
            for name, solver in SOLVERS.items():
                repeats = arguments.repeats if nodes < 1000 else 3
                signal, ours = processor_seconds(repeats, partial(simulated, row, solver))
                report.row(
                    row.mesh.n_vertices,
                    row.acquisition.n_measurements,
                    f"{theirs:.2f}",
                    f"{seconds:.2f}",
                    row.error(plain),
                    name,
                    f"{ours:.3f}",
                    row.error(signal),
                    f"{theirs / ours:.1f}",
                    widths=widths,
                )
        if nodes > 1000:
            fifths[row.mesh.n_vertices] = row, theirs / 5
        report.write()
    report()
    widths = (8, 12, 15, 12, 8, 22)
    heads = ("assembly s", "factorising s", "solves s", "sum s", "fifth of SpinDoctor s")
    report.row("nodes", *heads, widths=widths)
    for nodes, (row, fifth) in fifths.items():
        parts = min((least_seconds(row) for _ in range(3)), key=sum)
        report.row(
            nodes, *(f"{part:.3f}" for part in parts), f"{sum(parts):.3f}", f"{fifth:.3f}", widths=widths
        )
    report.write()


if __name__ == "__main__":
    main()
