"""Gradients that turn in space: accuracy against time stepping, and what signals and derivatives cost.

    python benchmarks/waveforms.py

A bent tube of radius 2 µm and length 12 µm, 333 vertices, D 2 µm²/ms, in default settings. Error over
S(0): the largest of eight measurements with b to 4 000 s/mm², against time stepping on the same mesh to 1e-6.
Seconds for 60 measurements, and for the derivative of their sum in every sample of the waveforms and every
vertex (modes held fixed). Best of two.
"""

from __future__ import annotations

import torch

import torrey
from common import Report, best_of, timed
from torrey.acquisition import (
    Acquisition,
    axisymmetric_encoding,
    electrostatic_directions,
    pulse_train,
)
from torrey.mesh import Bend, cylinder, deform

AXES = torch.eye(3, dtype=torch.float64)
TISSUE = torrey.Tissue(diffusivity=2.0)


def encodings() -> dict[str, torrey.acquisition.FreeWaveform]:
    return {
        "linear, 40 ms": axisymmetric_encoding(1.0, 40.0, n_cells=80),
        "planar, 40 ms": axisymmetric_encoding(-0.5, 40.0, n_cells=80),
        "spherical, 40 ms": axisymmetric_encoding(0.0, 40.0, n_cells=80),
        "spherical, 0.1 ms cells": axisymmetric_encoding(0.0, 40.0, n_cells=400),
        "triple PGSE": pulse_train(AXES, small_delta=4.0, big_delta=12.0, pause=2.0),
        "asymmetric": asymmetric(),
    }


def asymmetric() -> torrey.acquisition.FreeWaveform:
    """Return a long weak lobe along x and y, then a short strong one: its signals are complex."""
    samples = torch.zeros(40, 3, dtype=torch.float64)
    samples[:30] = torch.tensor([1 / 3, 1 / 6, 0])
    samples[30:] = torch.tensor([-1.0, -0.5, 0])
    return torrey.acquisition.FreeWaveform(samples, 1.0)


def main() -> None:
    report = Report("waveforms")
    report(__doc__ or "")
    mesh = deform(cylinder(2.0, 12.0, n_rings=3, n_layers=8), Bend(0.02))
    axes = electrostatic_directions(20).repeat(3, 1)
    bvals = torch.tensor([1000.0, 2000.0, 4000.0], dtype=torch.float64).repeat_interleave(20)
    rows = torch.tensor([0, 7, 14, 21, 28, 40, 47, 54])
    widths = (22, 8, 12, 14, 12, 14, 12)
    header = ("cells", "error", "largest imag", "signals s", "derivative s", "stepping s")
    report.row("waveform", *header, widths=widths)
    for name, waveform in encodings().items():
        vertices = mesh.vertices.clone().requires_grad_()
        samples = waveform.samples.clone().requires_grad_()
        free = torrey.acquisition.FreeWaveform(samples, waveform.raster)
        acquisition = Acquisition.rotated(free, bvals, axes)

        def simulate(
            m: torrey.TetMesh = mesh, a: Acquisition = acquisition, v: torch.Tensor = vertices
        ) -> torch.Tensor:
            return torrey.simulate(m.with_vertices(v), TISSUE, a)

        signal, forward = best_of(2, simulate)
        _, backward = timed(signal.abs().sum().backward)
        exact, stepping = timed(
            lambda a=acquisition: torrey.simulate(
                mesh, TISSUE, a.subset(rows), solver=torrey.BlochTorrey(tolerance=1e-6)
            )
        )
        error = float((signal[rows] - exact).detach().abs().max() / mesh.volume)
        imaginary = float(signal.imag.detach().abs().max() / mesh.volume)
        report.row(
            name,
            len(waveform.samples),
            f"{error:.1e}",
            f"{imaginary:.1e}",
            f"{forward:.2f}",
            f"{backward:.2f}",
            f"{stepping:.1f}",
            widths=widths,
        )
    report.write()


if __name__ == "__main__":
    main()
