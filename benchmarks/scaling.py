"""Time and memory by the number of vertices: eigen-solve alone, and signal with fixed-basis gradient.

Each size runs in a process of its own, so that its peak memory is its own.
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

import torrey
from common import Report, best_of, peak_memory
from torrey.acquisition import electrostatic_directions
from torrey.fem import eigenmodes
from torrey.fem.eigenmodes import lowest_modes
from torrey.mesh import cylinder
from torrey.signal import MatrixFormalism
from torrey.signal.matrix_formalism import Operators

MODES = 60
TISSUE = torrey.Tissue(diffusivity=2.0)
SIZES = {5_000: (7, 29), 10_000: (9, 36), 20_000: (11, 49)}
"""Rings and layers of a tube of about so many vertices."""


def protocol() -> torrey.Acquisition:
    return torrey.Acquisition.shells_of(
        [1000.0, 2000.0, 4000.0], electrostatic_directions(10), small_delta=5.0, big_delta=[10.0, 25.0, 50.0]
    )


def measure(n_rings: int, n_layers: int) -> dict[str, float]:
    mesh, acquisition = cylinder(2.0, 15.0, n_rings=n_rings, n_layers=n_layers), protocol()
    operators = Operators.of(mesh, TISSUE, order=1)
    stiffness, mass = operators.space.matrix(operators.stiffness), operators.space.matrix(operators.mass)
    _, eigen = best_of(3, lambda: lowest_modes(stiffness, mass, count=MODES))
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
        "signal": signal,
        "both": both,
        "memory": peak_memory(),
    }


def dense_against_sparse(report: Report) -> None:
    report()
    report("Dense against sparse eigen-solve of small meshes, 40 modes (s)")
    for n_layers in (12, 20, 30, 45):
        operators = Operators.of(cylinder(2.0, 15.0, n_rings=2, n_layers=n_layers), TISSUE, order=1)
        S, M = operators.space.matrix(operators.stiffness), operators.space.matrix(operators.mass)
        _, dense = best_of(3, lambda S=S, M=M: eigh(S.toarray(), M.toarray(), subset_by_index=(0, 50)))
        eigenmodes.DENSE_BELOW = 0
        _, sparse = best_of(3, lambda S=S, M=M: lowest_modes(S, M, count=40))
        report(f"{M.shape[0]:6d} nodes   dense {dense:.3f}   sparse {sparse:.3f}")


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
    widths = (10, 12, 10, 20, 10, 12)
    report.row("vertices", "eigen-solve", "signal", "signal + gradient", "ratio", "peak GiB", widths=widths)
    rows = []
    for rings, layers in SIZES.values():
        command = [sys.executable, __file__, "--one", str(rings), str(layers)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        row = json.loads(output.splitlines()[-1])
        rows.append(row)
        report.row(
            int(row["vertices"]),
            f"{row['eigen']:.2f}",
            f"{row['signal']:.2f}",
            f"{row['both']:.2f}",
            f"{row['both'] / row['eigen']:.2f}",
            f"{row['memory']:.2f}",
            widths=widths,
        )
    growth = math.log(rows[-1]["vertices"] / rows[0]["vertices"])
    for name, label in (("eigen", "eigen-solve"), ("both", "signal + gradient")):
        exponent = np.log(rows[-1][name] / rows[0][name]) / growth
        report(f"{label}: grows as V^{exponent:.2f}")
    dense_against_sparse(report)
    report.write()


if __name__ == "__main__":
    main()
