"""A whole neuron: how many modes its signals need, and what they and the vertex gradient cost.

    python benchmarks/neuron.py neuron_03b_spindle4aACC_mesh_only.npz

The mesh of a spindle neuron of SpinDoctor's collection (17 369 nodes, 56 162 tets; third-party data, which is
not in the repository) with its protocol: 180 measurements, δ/Δ 2.5/4 and 5/15 ms, b 50 to 10 000 s/mm², 15
directions. Errors over S(0): of six measurements against time stepping on all nodes, and of all 180 against
the most modes. Seconds of one run each, some six minutes in all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import torrey
from common import Report, SpinDoctorCase, peak_memory, spindoctor_case, timed

MODES = (245, 400, 600, 800)
MOST_MODES = 1200
JUDGED_BVALS = (3, 4, 5)
"""Which b-values are judged against time stepping: 1 000, 4 000 and 10 000 s/mm²."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    report = Report("neuron")
    report(__doc__ or "")
    case = spindoctor_case(path.parent, path.stem)
    rows = torch.tensor(
        [
            (sequence * case.shape[1] + b) * case.shape[2] + (4 * b + 7 * sequence) % case.shape[2]
            for sequence in range(2)
            for b in JUDGED_BVALS
        ]
    )
    judged = case.acquisition.subset(rows)
    exact, stepping = timed(
        lambda: torrey.simulate(case.mesh, case.tissue, judged, solver=torrey.BlochTorrey(tolerance=1e-5))
    )
    report(f"time stepping, {len(rows)} measurements: {stepping:.0f} s")
    best, seconds = timed(lambda: simulate(case.mesh, case, MOST_MODES))
    report(f"{MOST_MODES} modes: {seconds:.0f} s; {error(best[rows], exact, case):.1e} from time stepping")
    widths = (10, 12, 12, 16, 16, 10)
    report()
    report.row(
        "modes", "signals s", "gradient s", "time stepping", f"{MOST_MODES} modes", "peak GiB", widths=widths
    )
    for modes in MODES:
        vertices = case.mesh.vertices.clone().requires_grad_()
        mesh = case.mesh.with_vertices(vertices)
        signal, forward = timed(lambda m=mesh, n=modes: simulate(m, case, n))
        _, backward = timed(signal.real.sum().backward)
        errors = [f"{error(signal[rows], exact, case):.1e}", f"{error(signal, best, case):.1e}"]
        report.row(modes, f"{forward:.1f}", f"{backward:.1f}", *errors, f"{peak_memory():.1f}", widths=widths)
        report.write()


def simulate(mesh: torrey.TetMesh, case: SpinDoctorCase, modes: int) -> torch.Tensor:
    solver = torrey.MatrixFormalism(modes=modes)
    return torrey.simulate(mesh, case.tissue, case.acquisition, solver=solver)


def error(signal: torch.Tensor, reference: torch.Tensor, case: SpinDoctorCase) -> float:
    return float((signal - reference).detach().abs().max()) / case.volume


if __name__ == "__main__":
    main()
