"""Charts of the gallery: gradients over time, and signals against b."""

from __future__ import annotations

import torch
from gallery_meshes import AXES
from matplotlib.axes import Axes
from torch import Tensor

import torrey
from torrey.acquisition import AbstractPulses
from torrey.units import GYROMAGNETIC_RATIO

# ever thinner, so that curves which coincide are all seen
STYLES = {
    "x": {"marker": "o", "markersize": 6, "linewidth": 3},
    "y": {"marker": "s", "markersize": 4.5, "linewidth": 1.8, "linestyle": "--"},
    "z": {"marker": "^", "markersize": 3.5, "linewidth": 1.2},
}
_SAMPLES = 1200
_REST = 0.03


def draw_gradient(axes: Axes, acquisition: torrey.Acquisition, row: int) -> None:
    """Draw the effective gradient of one measurement over time, and write its b-tensor above."""
    edges, gradient = _gradient(acquisition, row)
    for (name, colour), values in zip(AXES.items(), gradient.T, strict=True):
        if values.abs().max() > 1e-6 * gradient.abs().max():
            axes.stairs(
                values.numpy(), edges.numpy(), baseline=None, color=colour, label=f"$G_{name}$", linewidth=1.5
            )
    axes.axhline(0, color="grey", linewidth=0.6, zorder=0)
    axes.set(xlabel="time (ms)", ylabel="effective gradient (mT/m)")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.15 * (high - low))
    axes.legend(loc="upper center", ncols=3)
    tensor = acquisition.b_tensors[row]
    values = sorted((abs(round(v)) for v in torch.linalg.eigvalsh(tensor).tolist()), reverse=True)
    axes.set_title(
        f"b = {float(acquisition.bvals[row]):.0f} s/mm²; eigenvalues of the b-tensor\n"
        + ", ".join(f"{v:d}" for v in values)
        + " s/mm²"
    )


def draw_signal(
    axes: Axes, acquisition: torrey.Acquisition, signal: Tensor, *, what: str = "gradient"
) -> None:
    """Draw S/S(0) against b for each axis of gradients; the first measurement is that without one."""
    for name, weighted in _rows_by_axis(acquisition):
        rows = torch.cat([torch.tensor([0]), weighted])
        b, s = acquisition.bvals[rows], (signal / signal[0])[rows]
        axes.plot(b, s.real, **STYLES[name], color=AXES[name], label=f"{what} along {name}")
    _finish_signal(axes)


def draw_complex_signal(axes: Axes, acquisition: torrey.Acquisition, signal: Tensor) -> None:
    """Draw both parts of S/S(0) against b."""
    s = signal / signal[0]
    axes.plot(acquisition.bvals, s.real, "o-", color="#0072B2", label="real part", markersize=3.5)
    axes.plot(acquisition.bvals, s.imag, "s--", color="#D55E00", label="imaginary part", markersize=3.5)
    _finish_signal(axes)


def draw_comparison(
    axes: Axes, acquisition: torrey.Acquisition, curves: dict[str, Tensor], dots: dict[str, Tensor]
) -> None:
    """Draw S/S(0) against b of one axis: `curves` as lines, `dots` as markers on them, colour by colour."""
    colours = ("#0072B2", "#D55E00", "#009E73")
    for (name, line), (other, marks), colour in zip(curves.items(), dots.items(), colours, strict=False):
        axes.plot(acquisition.bvals, line.real / line[0].real, "-", color=colour, label=name)
        axes.plot(acquisition.bvals, marks.real / marks[0].real, "o", color=colour, label=other, markersize=4)
    _finish_signal(axes)


def draw_diffusion(axes: Axes, acquisition: torrey.Acquisition, exact: Tensor, fitted: Tensor) -> None:
    """Draw `exact` coefficients as lines and `fitted` ones as markers over Δ, for each axis."""
    for name, rows in _rows_by_axis(acquisition):
        order = rows[acquisition.big_delta[rows].argsort()]
        times = acquisition.big_delta[order]
        axes.plot(times, exact[order], "-", color=AXES[name], label=f"exact, along {name}")
        axes.plot(
            times, fitted[order], "o", color=AXES[name], label=f"from signals, along {name}", markersize=4
        )
    axes.set(xlabel="Δ (ms)", ylabel="apparent diffusion (µm²/ms)", xscale="log", ylim=(0, 2.05))
    axes.set_xticks(times.tolist(), [f"{t:g}" for t in times.tolist()])
    axes.minorticks_off()
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend()


def _finish_signal(axes: Axes) -> None:
    axes.set(xlabel="b (s/mm²)", ylabel="S/S(0)")
    low = min(0.0, axes.get_ylim()[0])
    axes.set_ylim(low, 1.04)
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend()


def _rows_by_axis(acquisition: torrey.Acquisition) -> list[tuple[str, Tensor]]:
    """Return the rows with a gradient along x, y and z, of those that occur."""
    found = []
    for name, axis in zip("xyz", torch.eye(3, dtype=torch.float64), strict=True):
        rows = (acquisition.bvecs @ axis > 0.999).nonzero().ravel()
        if len(rows):
            found.append((name, rows))
    return found


def _gradient(acquisition: torrey.Acquisition, row: int) -> tuple[Tensor, Tensor]:
    """Return edges (K + 1,), ms, and the mean effective gradient between them (K, 3), mT/m."""
    waveform = acquisition.waveforms[int(acquisition.waveform_of[row])]
    if not isinstance(waveform, AbstractPulses):
        q = acquisition.free_wave_vectors(torch.tensor([row]))[0]
        edges = torch.arange(len(q) + 1, dtype=torch.float64) * waveform.raster
        return _with_rest(edges, q / GYROMAGNETIC_RATIO)
    small_delta, big_delta = acquisition.small_delta[row], acquisition.big_delta[row]
    edges = torch.linspace(0, float(acquisition.durations[row]), _SAMPLES + 1, dtype=torch.float64)
    integral = torch.zeros_like(edges)
    for start, sign in waveform.pulses(small_delta, big_delta):
        since = (edges - start).clamp(torch.tensor(0.0), waveform.pulse_duration(small_delta))
        integral += sign * waveform.running_integral(since, float(small_delta))
    shape = integral.diff() / edges.diff()
    return _with_rest(edges, shape[:, None] * acquisition.gradients[row])


def _with_rest(edges: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return them with a little time without a gradient before and after."""
    rest = _REST * edges[-1:]
    none = torch.zeros_like(gradient[:1])
    return torch.cat([-rest, edges, edges[-1:] + rest]), torch.cat([none, gradient, none])
