"""Reconstruct known shapes from signals made on a finer mesh of another mesher, in a random pose.

    python benchmarks/reconstruction.py [--starts N] [--workers N] [--only NAME ...]

Each shape is triangulated finely, filled with tetrahedra by fTetWild (unstructured, about four times the
nodes of the mesh that the fit predicts with), and its signals are made there with second-order elements.
PGSE, δ = 5 ms, Δ = 10, 25, 50 ms, b = 0, 500, 1000, 2000, 4000 s/mm², 30 directions: 450 signals in µm³. d
and d′ are measured from 20 000 points on each surface to the triangles of the other, so there is no sampling
floor; "d up to inversion" takes out position and point reflection, which is all that PGSE cannot tell, and d′
is the paper's, minimised over axis rotations too about the bounding-box centre. "cylinder" is the straight
cylinder of equal volume along the true principal axis.
"""

from __future__ import annotations

import argparse
import math
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import torrey
from common import Report
from torrey.acquisition import electrostatic_directions
from torrey.mesh import Surface, disc, sweep_connectivity, tetrahedralize
from torrey.mesh.surface import boundary_triangles
from torrey.shape.frame import rotation_minimising_normals

SNR = 50
LENGTH, RADIUS = 15.0, 2.0
EDGE = 0.62
TISSUE = torrey.Tissue(diffusivity=2.0)
SHAPES = ("straight", "bend", "s-curve", "2 beads", "4 beads", "taper", "bend + taper")
CACHE = Path(os.environ.get("TORREY_BENCHMARK_CACHE", "/tmp/torrey-benchmark"))


def protocol() -> torrey.Acquisition:
    return torrey.Acquisition.shells_of(
        [0, 500, 1000, 2000, 4000],
        electrostatic_directions(30),
        small_delta=5.0,
        big_delta=[10.0, 25.0, 50.0],
    )


def smooth_surface(name: str) -> Surface:
    """Return the closed surface of a shape in a random pose, 36 × 72 quadrilaterals and two caps."""
    s = torch.linspace(0, 1, 73, dtype=torch.float64)
    z = s - 0.5
    centre = torch.stack([0 * s, 0 * s, LENGTH * z], dim=1)
    radius = torch.full_like(s, RADIUS)
    if "bend" in name:
        centre[:, 0] += 4 * (2 * z) ** 2
    if "s-curve" in name:
        centre[:, 0] += 2.5 * torch.sin(2 * math.pi * z)
    if "beads" in name:
        radius = radius * (1 + 0.3 * torch.sin(2 * math.pi * int(name[0]) * s))
    if "taper" in name:
        radius = radius * (1 + 0.35 * 2 * z)
    tangent = torch.gradient(centre, spacing=(s,), dim=0, edge_order=2)[0]
    tangent = tangent / tangent.norm(dim=1, keepdim=True)
    first = rotation_minimising_normals(centre, tangent)
    second = torch.linalg.cross(tangent, first)
    points, triangles = disc(6)
    spokes = points[:, 0, None] * first[:, None] + points[:, 1, None] * second[:, None]
    vertices = (centre[:, None] + radius[:, None, None] * spokes).reshape(-1, 3)
    generator = torch.Generator().manual_seed(SHAPES.index(name))
    pose, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    pose = pose * torch.linalg.det(pose).sign()
    tets = sweep_connectivity(triangles, len(points), 72)
    return Surface.from_indexed(vertices @ pose.T, boundary_triangles(tets))


def measured(name: str) -> tuple[torrey.TetMesh, torch.Tensor]:
    """Return the true mesh and its signals, kept between runs."""
    file = CACHE / f"{name}-{EDGE}.pt"
    if not file.exists():
        mesh = tetrahedralize(smooth_surface(name), edge_length=EDGE)
        solver = torrey.MatrixFormalism(order=2, modes=130)
        signal = torrey.simulate(mesh, TISSUE, protocol(), solver=solver).real
        CACHE.mkdir(parents=True, exist_ok=True)
        torch.save((mesh.vertices, mesh.tets, signal), file)
    vertices, tets, signal = torch.load(file)
    return torrey.TetMesh(vertices, tets), signal


def case(name: str, snr: float | None, starts: int) -> list[str]:
    torch.set_num_threads(1)
    truth, signal = measured(name)
    sigma = None
    if snr is not None:
        generator = torch.Generator().manual_seed(1000 + SHAPES.index(name))
        sigma = 1 / snr
        noise = torch.randn(signal.shape, dtype=torch.float64, generator=generator)
        signal = signal + noise * sigma * float(truth.volume)
    result = torrey.reconstruct(signal, protocol(), TISSUE, n_starts=starts, sigma=sigma)
    best = min(result.start_misfits)
    level = max(1.1 * best, best + 1e-4, 0.0 if snr is None else 1.002 * best)
    reached = sum(misfit <= level for misfit in result.start_misfits)
    sd = result.posterior.standard_deviations
    straight = torrey.metrics.cylinder_of_equal_volume(truth)
    return [
        name,
        "none" if snr is None else f"SNR {snr:g}",
        f"{truth.n_vertices}",
        f"{result.misfit:.1e}",
        f"{reached}/{starts}",
        f"{torrey.metrics.chamfer_up_to_inversion(result.mesh, truth):.3f}",
        f"{torrey.metrics.chamfer_up_to_symmetry(result.mesh, truth):.3f}",
        f"{torrey.metrics.chamfer_up_to_inversion(straight, truth):.3f}",
        f"{torrey.metrics.volume_overlap(result.mesh, truth):.3f}",
        f"{int((sd < 0.1).sum())}, {int((sd < 0.3).sum())} of {len(sd)}",
        f"{result.posterior.model_sigma:.1e}",
        f"{result.seconds / starts:.0f}",
    ]


HEADER = [
    "shape",
    "noise",
    "true nodes",
    "misfit",
    "starts at best",
    "d inversion µm",
    "d′ µm",
    "cylinder µm",
    "Dice",
    "directions < 0.1, < 0.3 µm",
    "σ model",
    "s a start",
]

WIDTHS = (13, 8, 12, 9, 16, 16, 8, 13, 7, 28, 9, 11)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=SHAPES, choices=SHAPES)
    arguments = parser.parse_args()
    jobs = [(name, snr) for snr in (None, SNR) for name in arguments.only]
    report = Report("reconstruction")
    report(__doc__ or "")
    report.row(*HEADER, widths=WIDTHS)
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(case, name, snr, arguments.starts) for name, snr in jobs]:
            report.row(*future.result(), widths=WIDTHS)
            report.write()


if __name__ == "__main__":
    main()
