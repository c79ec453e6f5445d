"""Error of the split exponential against SciPy's matrix exponential: why these steps, and why this estimate.

Each cell holds the error of the signal over S(0) with steps f · (3, 6, 9, 12) and the estimate that decides,
with the factor for stiffness: for f = 1, and for the first f whose estimate is accepted.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from scipy.linalg import expm

import torrey
from common import Report
from torrey.acquisition import electrostatic_directions
from torrey.fem.reduced import ReducedModel
from torrey.mesh import Bend, cylinder, deform, sphere
from torrey.signal import pgse
from torrey.signal.groups import group_measurements
from torrey.signal.operators import Operators
from torrey.signal.splitting import Pulse, stiffness

MODES = (80, 130)
THIRDS = (3, 4, 6, 8, 12, 16, 24, 32)
"""Three times the factors that are tried in turn."""


def exact_signals(model: ReducedModel, acquisition: torrey.Acquisition) -> np.ndarray:
    rates, moments, start = (t.numpy() for t in model)
    decay = rates.diagonal()
    signals = []
    for q, delta, separation in zip(
        acquisition.wave_vectors.numpy(),
        acquisition.small_delta.numpy(),
        acquisition.big_delta.numpy(),
        strict=True,
    ):
        end = expm(-delta * (rates + 1j * np.einsum("c,cij->ij", q, moments))) @ start
        signals.append((np.exp(-(separation - delta) * decay) * np.abs(end) ** 2).sum())
    return np.array(signals)


def errors(model: ReducedModel, acquisition: torrey.Acquisition) -> list[tuple[float, float]]:
    """Return error and estimate over S(0) for each of `THIRDS`."""
    exact = exact_signals(model, acquisition)
    volume = float(model.magnetisation.square().sum())
    groups = group_measurements(acquisition.wave_vectors, acquisition.small_delta, acquisition.big_delta)
    positions, rotation = torch.linalg.eigh(torch.einsum("gc,cij->gij", groups.axes, model.moments))
    rates = model.rates.diagonal()
    rows = []
    for thirds in THIRDS:
        steps = tuple(m * thirds // 3 for m in pgse._BASE_STEPS)
        pulse = Pulse(positions, rotation, rates, groups.small_delta, groups.wave_number, steps)
        end, change = pulse.propagate(model.magnetisation)
        signal = pgse._pair(pulse, groups.pause, end)
        sixth = pgse._pair(pulse, groups.pause, end - change)
        enlarged = stiffness(float(groups.small_delta.max()) / steps[0], rates)
        estimate = float((signal - sixth).abs().max()) / volume * enlarged
        error = np.abs(groups.scatter(signal).numpy() - exact).max() / volume
        rows.append((float(error), estimate))
    return rows


def main() -> None:
    report = Report("splitting")
    shapes = {
        "tube r 2 L 15": cylinder(2.0, 15.0, n_rings=2, n_layers=20),
        "bent tube": deform(cylinder(2.0, 15.0, n_rings=2, n_layers=20), Bend(0.05)),
        "thread r 1 L 40": cylinder(1.0, 40.0, n_rings=1, n_layers=50),
        "sphere r 5": sphere(5.0, resolution=5),
    }
    report(f"tolerance {pgse.SPLITTING_TOLERANCE:g}; error / estimate")
    widths = (18, 7, 6, 8, 20, 9, 20)
    report.row("shape", "modes", "δ ms", "b", "f = 1", "f", "accepted", widths=widths)
    directions = electrostatic_directions(6)
    worst = 0.0
    for (name, mesh), modes in product(shapes.items(), MODES):
        model = Operators.of(mesh, torrey.Tissue(diffusivity=2.0), order=1).basis(count=modes).model
        for delta, b in product((1.0, 5.0, 20.0), (500.0, 4000.0, 10_000.0)):
            acquisition = torrey.Acquisition.shells_of(
                [b], directions, small_delta=delta, big_delta=delta + 5
            )
            rows = errors(model, acquisition)
            taken = next(k for k, (_, estimate) in enumerate(rows) if estimate <= pgse.SPLITTING_TOLERANCE)
            worst = max(worst, rows[taken][0])
            cells = [f"{error:.0e} / {estimate:.0e}" for error, estimate in (rows[0], rows[taken])]
            factor = f"{THIRDS[taken] / 3:.3g}"
            report.row(name, modes, f"{delta:g}", f"{b:g}", cells[0], factor, cells[1], widths=widths)
    report(f"largest error where accepted: {worst:.1e}")
    report.write()


if __name__ == "__main__":
    main()
