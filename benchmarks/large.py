"""Growth of time and memory up to 200 000 vertices, and where the time goes.

    python benchmarks/large.py [--most VERTICES]

Tubes of radius 2 µm and length 15 µm, first-order elements, 100 modes, 90 measurements; signals and the
vertex gradient with the modes held fixed. Seconds of one run each, some eight minutes in all; `exponent` is
the growth of both together since the row before.
"""

from __future__ import annotations

import argparse
import math

import torrey
from common import Report, peak_memory, timed
from torrey.acquisition import electrostatic_directions
from torrey.fem.factorise import factorise
from torrey.mesh import cylinder
from torrey.signal.operators import Domain, Operators

MODES = 100
SOLVER = torrey.MatrixFormalism(modes=MODES)
TISSUE = torrey.Tissue(diffusivity=2.0)
SIZES = ((9, 36), (15, 76), (24, 110))
"""Rings and layers: 10 000, 55 000 and 200 000 vertices."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=200_000, help="vertices of the largest mesh")
    most = parser.parse_args().most
    acquisition = torrey.Acquisition.shells_of(
        [1000.0, 2000.0, 4000.0], electrostatic_directions(10), small_delta=5.0, big_delta=[10.0, 25.0, 50.0]
    )
    report = Report("large")
    report(__doc__ or "")
    widths = (10, 10, 10, 12, 12, 10, 10, 10)
    header = ("assembly", "factors", "eigen-solve", "all signals", "gradient", "exponent", "peak GiB")
    report.row("vertices", *header, widths=widths)
    before: tuple[int, float] | None = None
    for n_rings, n_layers in SIZES:
        mesh = cylinder(2.0, 15.0, n_rings=n_rings, n_layers=n_layers)
        if mesh.n_vertices > 1.01 * most:
            continue
        vertices = mesh.vertices.clone().requires_grad_()
        signal, forward = timed(
            lambda v=vertices, m=mesh: torrey.simulate(m.with_vertices(v), TISSUE, acquisition, solver=SOLVER)
        )
        _, backward = timed(signal.real.sum().backward)
        domain, assembly = timed(lambda m=mesh: Domain.of(m, TISSUE, order=1))
        operators, more = timed(lambda m=mesh, d=domain: Operators.of(m, TISSUE, order=1, domain=d))
        stiffness, mass = operators.matrices
        _, factors = timed(lambda S=stiffness, M=mass: factorise(S + 0.01 * M))
        modes, eigen = timed(lambda o=operators: o.modes(count=MODES))
        del modes
        total = forward + backward
        exponent = (
            f"{math.log(total / before[1]) / math.log(mesh.n_vertices / before[0]):.2f}" if before else ""
        )
        cells = [
            f"{seconds:.1f}" for seconds in (assembly + more, factors, eigen - factors, forward, backward)
        ]
        report.row(mesh.n_vertices, *cells, exponent, f"{peak_memory():.1f}", widths=widths)
        report.write()
        before = mesh.n_vertices, total


if __name__ == "__main__":
    main()
