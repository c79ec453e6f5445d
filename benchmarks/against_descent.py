"""A fit in a latent against descent in every vertex, and modes against time stepping, in one run.

    python benchmarks/against_descent.py [--small] [--starts N] [--stepped N]

Protocol of the ReMiDi paper (arXiv 2502.01988): δ = 5 ms, Δ = 10, 25, 50 ms, b = 0, 500, …, 10 000 s/mm², 30
directions: 1 890 values, D = 2 µm²/ms, no noise. Shapes are deformed prisms of 315 vertices, as there.

Simulation: both on the same first-order elements, so that they differ in time only; errors are the largest
over S(0) from the complete basis. Modes are as few as make the error no larger than that of time stepping.
Time stepping is timed on measurements drawn at random, whose number is printed, and its time scaled to all;
its coarsest run, three times with steps from 0.5 ms on and extrapolated, is what the loose tolerance takes.

Fits: signals are made on the prism with second-order elements. Descent moves all vertices of that prism,
preconditioned by its graph Laplacian, from the straight template in the true pose; the tube knows neither
mesh nor pose. Descent runs for as long as the fit in the latent took with all its starts, and its lowest
misfit is taken. Misfits are root mean squares over S(0).
"""

from __future__ import annotations

import argparse
import contextlib
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import torrey
from common import Report, timed
from torrey.acquisition.remidi import remidi_protocol
from torrey.experiments.baselines import descend_in_vertices
from torrey.inverse import Adam, Iteration, LevenbergMarquardt
from torrey.mesh import Bead, Bend, Twist, deform, prism
from torrey.shape import Tube

TISSUE = torrey.Tissue(diffusivity=2.0)
SHAPES = {
    "bend & twist": (Bend(0.02), Twist(0.5)),
    "3 beads": (Bead(0.3, 3),),
}
TOLERANCES = (1e-3, 1e-6)
MODES = (20, 30, 40, 60, 80, 100, 130, 160, 200, 250, 315)
LONGEST = 100_000
"""Iterations of descent at most: the clock ends it."""

TUBE, NEWTON = Tube(), LevenbergMarquardt()
DESCENT = Adam(max_iterations=LONGEST, patience=LONGEST)

MISFIT_BAR, SPEED_BAR = 0.42, 17.0


class TimeIsUp(Exception):  # noqa: N818 (no error)
    """Ends a descent."""


def protocol(*, small: bool) -> torrey.Acquisition:
    acquisition = remidi_protocol()
    return acquisition.subset(slice(None, None, 21)) if small else acquisition


def simulation(report: Report, acquisition: torrey.Acquisition, stepped: int) -> None:
    mesh = deform(prism(), *SHAPES["bend & twist"])
    n = acquisition.n_measurements
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:stepped].sort().values
    complete = torrey.simulate(
        mesh, TISSUE, acquisition, solver=torrey.MatrixFormalism(modes=mesh.n_vertices)
    ).real
    reference = float(mesh.volume)

    def error(signal: torch.Tensor, of: torch.Tensor) -> float:
        return float((signal.real - of).abs().max()) / reference

    reductions = []
    for modes in MODES:
        solver = torrey.MatrixFormalism(modes=modes)
        signal, seconds = timed(lambda s=solver: torrey.simulate(mesh, TISSUE, acquisition, solver=s))
        reductions.append((modes, error(signal, complete), seconds))
    report(
        f"simulation: {mesh.n_vertices} vertices, {n} measurements, time stepping on {len(rows)} of them, "
        "first-order elements"
    )
    widths = (12, 12, 12, 8, 12, 12, 10, 8)
    report.row(
        "tolerance", "stepping", "all, s", "modes", "error", "s", "faster", f"≥ {SPEED_BAR:g}", widths=widths
    )
    for tolerance in TOLERANCES:
        solver = torrey.BlochTorrey(tolerance=tolerance)
        signal, seconds = timed(
            lambda s=solver: torrey.simulate(mesh, TISSUE, acquisition.subset(rows), solver=s)
        )
        stepping, whole = error(signal, complete[rows]), seconds * n / len(rows)
        modes, own, fast = min((r for r in reductions if r[1] <= stepping), key=lambda r: r[2])
        report.row(
            f"{tolerance:.0e}",
            f"{stepping:.1e}",
            f"{whole:.1f}",
            modes,
            f"{own:.1e}",
            f"{fast:.2f}",
            f"{whole / fast:.0f}×",
            "yes" if whole / fast >= SPEED_BAR else "no",
            widths=widths,
        )
    report.write()


def fits(report: Report, acquisition: torrey.Acquisition, starts: int) -> None:
    report()
    report(f"fits: {acquisition.n_measurements} measurements; {starts} starts of {TUBE} by {NEWTON};")
    report(f"descent in 3 × 315 coordinates by {DESCENT}")
    widths = (14, 12, 12, 12, 12, 10, 8, 10, 8)
    report.row(
        "shape",
        "s",
        "start",
        "descent",
        "iterations",
        "latent",
        "below",
        f"≥ {MISFIT_BAR:.0%}",
        "d′ µm",
        widths=widths,
    )
    for name, steps in SHAPES.items():
        truth = deform(prism(), *steps)
        solver = torrey.MatrixFormalism(order=2, length_scale=1.0)
        signal = torrey.simulate(truth, TISSUE, acquisition, solver=solver).real
        fit = torrey.reconstruct(signal, acquisition, TISSUE, shape=TUBE, optimiser=NEWTON, n_starts=starts)
        course: list[Iteration] = []

        def until_as_long(step: Iteration, course=course, limit=fit.seconds) -> None:
            if step.seconds > limit:
                raise TimeIsUp
            course.append(step)

        with contextlib.suppress(TimeIsUp):
            descend_in_vertices(signal, acquisition, TISSUE, optimiser=DESCENT, progress=until_as_long)
        lowest = min(step.misfit for step in course)
        below = 1 - fit.misfit / lowest
        report.row(
            name,
            f"{fit.seconds:.1f}",
            f"{course[0].misfit:.1e}",
            f"{lowest:.1e}",
            len(course),
            f"{fit.misfit:.1e}",
            f"{below:.0%}",
            "yes" if below >= MISFIT_BAR else "no",
            f"{torrey.metrics.chamfer_up_to_symmetry(fit.mesh, truth):.3f}",
            widths=widths,
        )
        report.write()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="90 measurements, written elsewhere: a trial")
    parser.add_argument("--starts", type=int, default=2, help="of the fit in the latent")
    parser.add_argument("--stepped", type=int, default=60, help="measurements that time stepping runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = Report("against_descent_small" if arguments.small else "against_descent")
    report(__doc__ or "")
    acquisition = protocol(small=arguments.small)
    simulation(report, acquisition, min(arguments.stepped, acquisition.n_measurements))
    fits(report, acquisition, arguments.starts)


if __name__ == "__main__":
    main()
