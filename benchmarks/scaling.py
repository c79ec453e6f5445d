"""Time and memory by the number of vertices: eigen-solve alone, and signal with fixed-basis gradient.

Each size runs in a process of its own, so that its peak memory is its own. The eigen-solve is compared with
ARPACK (SciPy's `eigsh`) on the same factorisation and for as many modes.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse import csc_array
from scipy.sparse.linalg import LinearOperator, eigsh

import torrey
from common import Report, best_of, peak_memory
from torrey.acquisition import electrostatic_directions
from torrey.fem.block_lanczos import BlockLanczos
from torrey.fem.eigenmodes import Eigenmodes, lowest_modes
from torrey.fem.factorise import factorise
from torrey.mesh import cylinder, sphere
from torrey.signal import MatrixFormalism
from torrey.signal.operators import Operators

MODES = 60
TISSUE = torrey.Tissue(diffusivity=2.0)
SIZES = {5_000: (7, 29), 10_000: (9, 36), 20_000: (11, 49)}
"""Rings and layers of a tube of about so many vertices."""


def protocol() -> torrey.Acquisition:
    return torrey.Acquisition.shells_of(
        [1000.0, 2000.0, 4000.0], electrostatic_directions(10), small_delta=5.0, big_delta=[10.0, 25.0, 50.0]
    )


def by_arpack(modes: Eigenmodes) -> tuple[np.ndarray, np.ndarray]:
    """Factorise and find the same modes with `eigsh`."""
    mass, shift = modes.mass, -0.1 * modes.values[1]
    solve = factorise(csc_array(modes.stiffness - shift * mass))
    inverse = LinearOperator(mass.shape, matvec=solve, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(mass.shape[0])
    count = len(modes.values)
    return eigsh(modes.stiffness, count, mass, sigma=shift, OPinv=inverse, v0=start)  # type: ignore[no-any-return]


def measure(n_rings: int, n_layers: int) -> dict[str, float]:
    mesh, acquisition = cylinder(2.0, 15.0, n_rings=n_rings, n_layers=n_layers), protocol()
    operators = Operators.of(mesh, TISSUE, order=1)
    stiffness, mass = operators.matrices
    modes, eigen = best_of(3, lambda: lowest_modes(stiffness, mass, count=MODES))
    _, arpack = best_of(2, lambda: by_arpack(modes))
    solver = MatrixFormalism(modes=MODES)
    _, signal = best_of(3, lambda: torrey.simulate(mesh, TISSUE, acquisition, solver=solver))

    def gradient() -> torch.Tensor:
        vertices = mesh.vertices.clone().requires_grad_()
        torrey.simulate(
            mesh.with_vertices(vertices), TISSUE, acquisition, solver=solver
        ).real.sum().backward()
        return vertices.grad

    _, both = best_of(3, gradient)
    return {
        "vertices": mesh.n_vertices,
        "eigen": eigen,
        "arpack": arpack,
        "signal": signal,
        "both": both,
        "memory": peak_memory(),
    }


def solvers_against_each_other(report: Report) -> None:
    report()
    report("Eigen-solves without factorisation, seconds (best of three)")
    widths = (22, 7, 9, 9, 9, 11)
    report.row("mesh", "nodes", "modes", "ARPACK", "block", "dense", widths=widths)
    cases = {
        "tube, P1": [(cylinder(2.0, 15.0, n_rings=r, n_layers=n), 1) for r, n in ((2, 15), (2, 45), (5, 27))],
        "tube, P2": [(cylinder(2.0, 15.0, n_rings=r, n_layers=n), 2) for r, n in ((1, 16), (1, 26), (2, 15))],
        "ball, P1": [(sphere(3.0, resolution=n), 1) for n in (5, 7, 9)],
    }
    for name, meshes in cases.items():
        for mesh, order in meshes:
            operators = Operators.of(mesh, TISSUE, order=order)
            S, M = operators.matrices
            for count in (40, 80, 180):
                if 3 * count < M.shape[0]:
                    times = solver_times(S, M, count)
                    report.row(name, M.shape[0], count, *(f"{t:.3f}" for t in times), widths=widths)


def solver_times(S: csc_array, M: csc_array, count: int) -> list[float]:
    """Return the seconds of ARPACK, block Lanczos and a dense solve."""
    shift = -0.05
    solve = factorise(csc_array(S - shift * M))
    inverse = LinearOperator(M.shape, matvec=solve, dtype=np.float64)
    runs = [
        lambda: eigsh(S, count, M, sigma=shift, OPinv=inverse, v0=np.cos(np.arange(M.shape[0]))),
        lambda: BlockLanczos(M, solve, shift=shift).lowest(count),
    ]
    if M.shape[0] < 2200:
        runs.append(lambda: eigh(S.toarray(), M.toarray(), subset_by_index=(0, count - 1)))
    times = [best_of(3, run)[1] for run in runs]
    return times if len(times) == 3 else [*times, math.nan]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    one = parser.parse_args().one
    if one:
        torch.manual_seed(0)
        import warnings

        warnings.simplefilter("ignore")
        print(json.dumps(measure(*one)))
        return
    report = Report("scaling")
    report(f"Tubes, P1, {MODES} modes, {protocol().n_measurements} measurements; seconds, best of three")
    widths = (10, 13, 9, 9, 20, 10, 11, 10)
    heads = ("eigen-solve", "ARPACK", "signal", "signal + gradient", "/ eigen", "/ ARPACK", "peak GiB")
    report.row("vertices", *heads, widths=widths)
    rows = []
    for rings, layers in SIZES.values():
        command = [sys.executable, __file__, "--one", str(rings), str(layers)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        row = json.loads(output.splitlines()[-1])
        rows.append(row)
        report.row(
            int(row["vertices"]),
            f"{row['eigen']:.2f}",
            f"{row['arpack']:.2f}",
            f"{row['signal']:.2f}",
            f"{row['both']:.2f}",
            f"{row['both'] / row['eigen']:.2f}",
            f"{row['both'] / row['arpack']:.2f}",
            f"{row['memory']:.2f}",
            widths=widths,
        )
    growth = math.log(rows[-1]["vertices"] / rows[0]["vertices"])
    for name, label in (("eigen", "eigen-solve"), ("arpack", "ARPACK"), ("both", "signal + gradient")):
        exponent = np.log(rows[-1][name] / rows[0][name]) / growth
        report(f"{label}: grows as V^{exponent:.2f}")
    solvers_against_each_other(report)
    report.write()


if __name__ == "__main__":
    main()
