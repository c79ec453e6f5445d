"""Time of one start: 40 latent parameters, 450 measurements, a mesh of about 500 vertices.

    python benchmarks/one_start.py

A bent tube with two beads, radius 2 µm and length 15 µm, in a random pose; signals in µm³ from a finer mesh
(three rings, 48 layers). `Tube(n_control=7, n_radius=19)` has 40 parameters; with 2 rings and 26 layers its
mesh has 513 vertices.
"""

from __future__ import annotations

import math
import time

import torch

import torrey
from common import Report
from torrey.acquisition import electrostatic_directions
from torrey.shape import Tube

TISSUE = torrey.Tissue(diffusivity=2.0)


def truth() -> torrey.TetMesh:
    tube = Tube(n_control=7, n_radius=19, n_rings=3, n_layers=48)
    latent = tube.straight(length=15.0, radius=2.0, direction=(1.0, 2.0, 3.0))
    control, log_radius = tube.split(latent.clone())
    s = torch.linspace(-1, 1, 7, dtype=torch.float64)
    control += 3 * s[:, None] ** 2 * torch.tensor([3.0, 0.0, -1.0], dtype=torch.float64) / math.sqrt(10)
    t = torch.linspace(0, 1, 19, dtype=torch.float64)
    log_radius += 0.25 * torch.sin(4 * math.pi * t)
    return tube.mesh(torch.cat([control.ravel(), log_radius]))


def main() -> None:
    acquisition = torrey.Acquisition.shells_of(
        [0, 500, 1000, 2000, 4000],
        electrostatic_directions(30),
        small_delta=5.0,
        big_delta=[10.0, 25.0, 50.0],
    )
    mesh = truth()
    signal = torrey.simulate(
        mesh, TISSUE, acquisition, solver=torrey.MatrixFormalism(order=2, modes=120)
    ).real
    shape = Tube(n_control=7, n_radius=19, n_rings=2, n_layers=26)
    rows = []
    for snr in (None, 50, 20):
        noisy, sigma = signal, None
        if snr is not None:
            sigma = 1 / snr
            generator = torch.Generator().manual_seed(1)
            noise = torch.randn(signal.shape, dtype=torch.float64, generator=generator)
            noisy = signal + noise * sigma * float(mesh.volume)
        began = time.perf_counter()
        result = torrey.reconstruct(noisy, acquisition, TISSUE, shape=shape, n_starts=1, sigma=sigma)
        seconds = time.perf_counter() - began
        rows.append(
            [
                "none" if snr is None else f"SNR {snr}",
                f"{shape.n_latent}",
                f"{result.mesh.n_vertices}",
                f"{acquisition.n_measurements}",
                f"{len(result.history)}",
                f"{result.misfit:.1e}",
                f"{torrey.metrics.chamfer_up_to_inversion(result.mesh, mesh):.3f}",
                f"{seconds:.1f}",
            ]
        )
    header = (
        "noise",
        "parameters",
        "vertices",
        "measurements",
        "iterates",
        "misfit",
        "d µm",
        "seconds, all in",
    )
    report = Report("one_start")
    report(__doc__ or "")
    for row in (header, *rows):
        report.row(*row, widths=(8, 12, 10, 14, 10, 10, 8, 17))
    report.write()


if __name__ == "__main__":
    main()
