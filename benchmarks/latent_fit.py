"""One fit in the latent of a learned sweep, in the ReMiDi paper's setting, and what the data say of beads.

    python benchmarks/latent_fit.py [--shapes N]

The first N shapes of each test split: 315 vertices, 1 890 signals by the solver that fits them, no noise,
pose known, one start. d′ is between surfaces. Then, at beads of amplitude 0.35: how well signals determine
each direction of the sweep's latent (Laplace approximation, exact Jacobian of the truncated signals), if each
is known to σ of S(0); and how much all signals change by a micrometre, in the rms over vertices, along the
directions that they see most and least, beside the error that a Jacobian with modes held fixed makes there.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch

import torrey
from common import Report
from torrey.acquisition import remidi_protocol
from torrey.inverse.forward import ForwardModel
from torrey.inverse.posterior import laplace_posterior
from torrey.mesh import Bead, prism
from torrey.shape import pretrained
from torrey.shape.families import Beads, BendTwist, Fans

WATER = torrey.Tissue(diffusivity=2.0)
LENGTH_SCALE, ALL = 1.0, 10**9
"""µm; and a number of modes that no mesh has."""

SOLVER = torrey.MatrixFormalism(length_scale=LENGTH_SCALE)
WIDTHS = (8, 10, 12, 12, 12)
KNOWN = 0.05
"""µm."""


def fits(report: Report, n_shapes: int) -> None:
    report.row("family", "index", "seconds", "misfit", "d′, µm", widths=WIDTHS)
    for family in (BendTwist(), Beads(), Fans()):
        model = pretrained("sweep", family.name)
        for index in family.split("test")[:n_shapes]:
            truth = torrey.TetMesh(family.sample(index).canonical, prism().tets)
            signal = torrey.simulate(truth, WATER, remidi_protocol(), solver=SOLVER).real
            began = time.perf_counter()
            found = torrey.reconstruct(
                signal, remidi_protocol(), WATER, shape=model, solver=SOLVER, sigma=1e-7, n_starts=1
            )
            seconds = time.perf_counter() - began
            distance = torrey.metrics.chamfer_up_to_symmetry(truth, found.mesh, n_points=4000)
            row = f"{seconds:.1f}", f"{found.misfit:.1e}", f"{distance:.4f}"
            report.row(family.name, index, *row, widths=WIDTHS)


def directions(report: Report) -> None:
    model, template = pretrained("sweep", "bead"), prism()
    for count in (2, 4, 6, 8):
        vertices = Bead(0.35, count)(template.vertices)
        latent = model.latent_of(vertices - vertices.mean(0))
        one_mode = ForwardModel(model, WATER, remidi_protocol(), False, 1, 1)
        (modes,) = one_mode.count_resolved(latent, (LENGTH_SCALE, ALL))
        held = replace(one_mode, n_modes=modes)
        prediction = replace(held, out_of_span="all").at(latent)
        at, volume = prediction.linearise(), float(prediction.mesh.volume)
        for sigma in (1e-6, 0.02):
            sure = laplace_posterior(
                at.jacobian / volume, prediction.mesh, at.displacements, noise_sigma=sigma, model_sigma=0.0
            ).standard_deviations
            report(
                f"{count} beads, σ = {sigma:g}: {int((sure < KNOWN).sum())} of {len(sure)} directions known "
                f"to {KNOWN} µm; the weakest to {float(sure.max()):.1e} µm"
            )

        held_slope = held.at(latent).linearise().jacobian
        # a latent step of 1 µm in the rms over vertices, by the factor of the metric
        factor = torch.linalg.cholesky(at.metric)
        slope, wrong = (
            torch.linalg.solve_triangular(factor, J.T, upper=False) / volume
            for J in (at.jacobian, held_slope - at.jacobian)
        )
        axes, seen, _ = torch.linalg.svd(slope, full_matrices=False)
        errors = (axes.T @ wrong).norm(dim=1)
        report(
            f"{count} beads: signals change by {float(seen[0]):.1e} … {float(seen[-1]):.1e} of S(0) a µm; "
            f"modes held fixed, {float(errors.min()):.1e} … {float(errors.max()):.1e} of it is wrong, "
            f"more than all in {int((errors > seen).sum())} of {len(seen)} directions"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=int, default=2)
    arguments = parser.parse_args()
    report = Report("latent_fit")
    report(__doc__ or "")
    fits(report, arguments.shapes)
    report()
    directions(report)
    report.write()


if __name__ == "__main__":
    main()
