"""Error of the split exponential against SciPy's matrix exponential: why these steps, and why this estimate.

`error` is that of the signal over S(0) with steps f · (3, 6, 9, 12); `estimate` is what decides,
with the factor for stiffness. An asterisk marks the first f that is accepted.
"""

from __future__ import annotations

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
from torrey.signal.matrix_formalism import Operators
from torrey.signal.splitting import Pulse

MODES = 80
FACTORS = (1, 2, 4, 8)


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
    """Return error and estimate over S(0) for each of `FACTORS`."""
    exact = exact_signals(model, acquisition)
    volume = float(model.magnetisation.square().sum())
    groups = group_measurements(acquisition.wave_vectors, acquisition.small_delta, acquisition.big_delta)
    positions, rotation = torch.linalg.eigh(torch.einsum("gc,cij->gij", groups.axes, model.moments))
    rates = model.rates.diagonal()
    rows = []
    for factor in FACTORS:
        steps = tuple(factor * m for m in pgse._BASE_STEPS)
        pulse = Pulse(positions, rotation, rates, groups.small_delta, groups.wave_number, steps)
        end, change = pulse.propagate(model.magnetisation)
        signal = pgse._pair(pulse, groups.pause, end)
        fourth = pgse._pair(pulse, groups.pause, end - change)
        stiffness = float(groups.small_delta.max() * rates.max()) / steps[0]
        estimate = float((signal - fourth).abs().max()) / volume * max(1.0, stiffness / pgse._STIFF)
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
    report(f"{MODES} modes, tolerance {pgse.SPLITTING_TOLERANCE:g}; error / estimate")
    widths = (18, 6, 8, *[22] * len(FACTORS))
    report.row("shape", "δ ms", "b", *(f"f = {f}" for f in FACTORS), widths=widths)
    directions = electrostatic_directions(6)
    worst = 0.0
    for name, mesh in shapes.items():
        model = Operators.of(mesh, torrey.Tissue(diffusivity=2.0), order=1).basis(count=MODES).model
        for delta in (1.0, 5.0, 20.0):
            for b in (500.0, 4000.0, 10_000.0):
                acquisition = torrey.Acquisition.shells_of(
                    [b], directions, small_delta=delta, big_delta=delta + 5
                )
                cells, accepted = [], False
                for error, estimate in errors(model, acquisition):
                    first = not accepted and estimate <= pgse.SPLITTING_TOLERANCE
                    if first:
                        accepted, worst = True, max(worst, error)
                    cells.append(f"{error:.0e} / {estimate:.0e}{'*' if first else ' '}")
                report.row(name, f"{delta:g}", f"{b:g}", *cells, widths=widths)
    report(f"largest error where accepted: {worst:.1e}")
    report.write()


if __name__ == "__main__":
    main()
