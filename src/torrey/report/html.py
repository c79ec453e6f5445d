"""Assemble the report: one HTML file that needs neither a network nor a library."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from ..errors import FileError
from ..inverse.result import Reconstruction
from . import charts, summary
from .grouping import Timing, angles_to_axis, bval_groups, timings
from .markup import figure, figures, fill, json_text, package_text, table
from .numerals import significant
from .surface_data import boundary, principal_frame, shown_directions, surface_data

MOST_PANELS = 12
"""Timings drawn as panels of their own; the scatter always shows every measurement."""


def write_report(reconstruction: Reconstruction, path: str | Path) -> None:
    """Write the self-contained HTML report of `reconstruction` to `path`.

    Raises
    ------
    FileError
        When the file cannot be written.
    """
    page = render(reconstruction)
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot write the report, {error.strerror}") from error


def render(reconstruction: Reconstruction) -> str:
    """Return the report as one HTML string."""
    signal_text, legend, panels = _signal_section(reconstruction)
    parts = {
        "style": package_text("style.css"),
        "viewer": package_text("turntable.js") + package_text("viewer.js"),
        "figures": figures(summary.headline(reconstruction)),
        "surface_data": json_text(surface_data(reconstruction)),
        "shown": _shown_text(reconstruction),
        "signal_text": signal_text,
        "legend": legend,
        "panels": panels,
        "uncertainty_text": escape(summary.uncertainty_sentences(reconstruction.posterior)),
        "uncertainty": _uncertainty(reconstruction),
        "misfit_text": escape(_misfit_text(reconstruction)),
        "misfit": figure(
            "All starts", charts.misfit_curve(reconstruction.history, best=_best_start(reconstruction))
        ),
        "settings": table("Settings of the run", summary.flat_settings(reconstruction.settings)),
        "versions": table("Versions", summary.versions(reconstruction).items()),
        "citation": "".join(f"<p>{escape(line)}</p>" for line in summary.CITATION),
    }
    return fill(package_text("template.html"), parts)


def _signal_section(reconstruction: Reconstruction) -> tuple[str, str, str]:
    acquisition = reconstruction.acquisition
    vertices, triangles, _ = boundary(reconstruction)
    axis = principal_frame(vertices, triangles).axes[0]
    measured, predicted = summary.real(reconstruction.measured), summary.real(reconstruction.predicted)
    bvals = acquisition.bvals.detach().cpu().numpy()
    groups = bval_groups(bvals)
    panels = timings(*(t.detach().cpu().numpy() for t in (acquisition.small_delta, acquisition.big_delta)))
    largest = sorted(panels, key=lambda timing: -len(timing.rows))[:MOST_PANELS]
    shown = [timing for timing in panels if timing in largest]
    residual = (predicted - measured) / _unit_signal(reconstruction)
    label = "signal / S(0)" if reconstruction.normalised else "signal (µm³)"
    angle = angles_to_axis(acquisition.bvecs.detach().cpu().numpy(), axis)
    # measurements without a gradient have no angle: they appear in the scatter only
    directed = np.flatnonzero(bvals > 0)
    charts_shown = [
        figure(
            f"{timing.label}, {len(timing.rows)} measurements",
            charts.signal_panel(
                Timing(timing.small_delta, timing.big_delta, np.intersect1d(timing.rows, directed)),
                groups,
                angle=angle,
                measured=measured,
                predicted=predicted,
                residual=residual,
                signal_label=label,
                residual_range=float(np.abs(residual).max()) or 1e-12,
            ),
        )
        for timing in shown
    ]
    charts_shown.append(
        figure(
            "All measurements",
            charts.scatter(groups, measured=measured, predicted=predicted, signal_label=label),
        )
    )
    text = (
        f"{len(measured)} measurements over {len(groups)} b-values and {len(panels)} timings. "
        "Each panel is one timing; the horizontal axis is the angle between the gradient and the "
        "longest axis of the reconstruction. Below it, predicted − measured over S(0)."
    )
    if len(shown) < len(panels):
        text += f" The {len(shown)} timings with most measurements are drawn; the scatter holds all."
    return escape(text), charts.legend(groups), "".join(charts_shown)


def _unit_signal(reconstruction: Reconstruction) -> float:
    """S(0) in the unit of the signals: 1, or the largest measured one where they are in µm³."""
    return 1.0 if reconstruction.normalised else float(np.abs(summary.real(reconstruction.measured)).max())


def _best_start(reconstruction: Reconstruction) -> int:
    misfits = reconstruction.start_misfits
    return int(np.argmin(misfits)) if misfits else 0


def _misfit_text(reconstruction: Reconstruction) -> str:
    misfits = sorted(reconstruction.start_misfits)
    if not misfits:
        return f"Stopped because: {reconstruction.stop_reason}."
    alike = sum(value <= 1.05 * misfits[0] for value in misfits)
    starts = "1 start" if len(misfits) == 1 else f"{len(misfits)} starts"
    return (
        f"{starts}; {alike} within 5 % of the lowest misfit, {significant(misfits[0])}. "
        f"The best start (in colour) stopped because: {reconstruction.stop_reason}. "
        "Dashed lines begin a stage."
    )


def _uncertainty(reconstruction: Reconstruction) -> str:
    sigmas = reconstruction.posterior.standard_deviations.detach().cpu().numpy()
    chart = charts.uncertainty_chart(sigmas, shown=shown_directions(len(sigmas)))
    return figure("Standard deviation by direction (blue: in the 3-D view)", chart)


def _shown_text(reconstruction: Reconstruction) -> str:
    total = len(reconstruction.posterior.standard_deviations)
    shown = len(shown_directions(total))
    if shown == total:
        return f"All {total} directions are listed."
    return f"Of {total} directions the {shown // 2} best and the {shown // 2} worst determined are listed."
