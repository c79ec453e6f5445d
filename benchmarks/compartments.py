"""Every simulated case of the SpinDoctor reference, by both solvers.

    python benchmarks/compartments.py --spindoctor FOLDER

Largest error over S(0) against an independent solution of the same semi-discrete system (`exact_*` there),
and seconds from mesh to signals (small meshes: best of three): matrix formalism in default settings and with
a tolerance of 1e-5 (1e-3 for the neuron), and time stepping with 1e-5, which takes some of the measurements.
`SciPy` is plain matrix formalism as SpinDoctor does it, in the same run: ARPACK, and matrix exponentials for
each measurement, with as many modes as the reference took. Rows of `each compartment` are those of
`simulate_compartments`, the largest error of any compartment.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.linalg import expm
from scipy.sparse.linalg import eigsh

import torrey
from common import Report, best_of, timed
from torrey.acquisition import Acquisition, CosineOgse, DoublePgse, Pgse, SineOgse
from torrey.fem.blas_threads import one_blas_thread
from torrey.signal.operators import Operators, uniform_rate

PGSE_CASES = (
    "cyl_straight_r5_h20",
    "cyl_bent0.05_twist1",
    "sphere_r5",
    "cyl_in_out_perm_T2",
    "cyl_out_ecs_perm",
    "cyl_out_ecs_imperm",
)
NEURON = "neuron_03b_spindle4aACC_dendrites_2"
SEQUENCES = "sequences_ogse_dpgse_T2"
STEPPED = 24
"""Measurements of each case at most for the time stepping."""


class Case(NamedTuple):
    """A mesh and tissue, the measurements with exact signals (N, C), and the reference's number of modes."""

    mesh: torrey.TetMesh
    tissue: torrey.Tissue
    acquisition: Acquisition
    exact: np.ndarray
    content: float
    modes: int

    def error(self, signal: np.ndarray, rows: np.ndarray | slice = slice(None)) -> str:
        """Return the largest difference over S(0), of the measurements `rows`: of all, or of each (·, C)."""
        exact = self.exact if signal.ndim == 2 else self.exact.sum(1)
        return f"{np.abs(signal - exact[rows]).max() / self.content:.1e}"


def read_case(folder: Path, name: str) -> Case:
    with np.load(folder / f"{name}.npz", allow_pickle=True) as archive:
        d = dict(archive)
    if name == SEQUENCES:
        waveforms, points = (CosineOgse(2), SineOgse(1), DoublePgse(2.0)), np.indices(d["exact_signal"].shape)
        points, exact = points.reshape(3, -1).T, d["exact_signal"].reshape(-1, 1)
    else:
        waveforms = (Pgse(),) * len(d["delta"])
        points = d.get("exact_points_seq_b_dir")
        if points is None:
            shape = d["exact_signal"].shape
            points = np.indices(shape[:3]).reshape(3, -1).T
            exact = d["exact_signal"].reshape(len(points), -1)
        else:
            exact = d["exact_points_signal"].reshape(len(points), -1)
    parts = [
        Acquisition.encode(
            waveforms[s],
            [d["bvalues"][s, b]],
            d["directions"][[u]],
            small_delta=float(d["delta"][s]) / 1e3,
            big_delta=float(d["Delta"][s]) / 1e3,
        )
        for s, b, u in points
    ]
    several = "compartment" in d and int(d["compartment"].max()) > 0
    kappa = float(d["permeability"][0]) * 1e3 if several else 0.0
    T2 = np.atleast_1d(d["T2"]) / 1e3
    diffusivity = d["diffusivity"] * 1e3
    return Case(
        torrey.TetMesh(d["vertices"], d["elements"], d["compartment"] if several else None),
        torrey.Tissue(
            diffusivity=diffusivity if several or diffusivity.ndim == 2 else diffusivity[0],
            T2=T2 if len(set(T2.tolist())) > 1 else T2[0],
            permeability={(0, 1): kappa} if kappa else None,
        ),
        Acquisition.concatenate(parts),
        exact,
        float(d["S0"]),
        int(np.sum(d["mf_neig"])) if "mf_neig" in d else int(d["sd_mf_neig"]),
    )


def by_scipy(case: Case) -> np.ndarray:
    """Return signals (N,) of PGSE by ARPACK and matrix exponentials."""
    operators = Operators.of(case.mesh, case.tissue, order=1)
    S, M = operators.matrices
    rates, Phi = eigsh(S, case.modes, M, sigma=-0.01)
    J = np.array([Phi.T @ (operators.space.matrix(values) @ Phi) for values in operators.values.moments])
    start = Phi.T @ M.sum(1)
    a, signals = case.acquisition, []
    for q, delta, Delta in zip(a.wave_vectors.numpy(), a.small_delta, a.big_delta, strict=True):
        turn = 1j * np.einsum("c,cij->ij", q, J)
        state = expm(-float(delta) * (np.diag(rates) + turn)) @ start
        state = np.exp(-rates * float(Delta - delta)) * state
        signals.append(start @ expm(-float(delta) * (np.diag(rates) - turn)) @ state)
    return np.array(signals) * np.exp(-a.echo_time.numpy() * float(uniform_rate(case.tissue)))


def simulated(
    case: Case,
    acquisition: Acquisition,
    solver: torrey.MatrixFormalism | torrey.BlochTorrey,
    *,
    each: bool,
) -> np.ndarray:
    simulate = torrey.simulate_compartments if each else torrey.simulate
    return simulate(case.mesh, case.tissue, acquisition, solver=solver).numpy()


def by_torrey(case: Case, name: str, *, each: bool) -> list[str]:
    """Return errors and seconds of both solvers."""
    fine = torrey.MatrixFormalism(tolerance=1e-3 if name == NEURON else 1e-5)
    N = case.acquisition.n_measurements
    few = np.linspace(0, N - 1, min(STEPPED, N)).astype(int)
    cells: list[str] = []
    for solver in (torrey.MatrixFormalism(), fine):
        repeats = 3 if case.mesh.n_vertices < 1000 and not each else 1
        signal, seconds = best_of(repeats, partial(simulated, case, case.acquisition, solver, each=each))
        cells += [case.error(signal), f"{seconds:.2f}"]
    some, stepping = case.acquisition.subset(few), torrey.BlochTorrey(tolerance=1e-5)
    signal, seconds = timed(partial(simulated, case, some, stepping, each=each))
    return [*cells, case.error(signal, few), f"{seconds:.2f}", str(len(few))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Every simulated case of the SpinDoctor reference.")
    parser.add_argument("--spindoctor", type=Path, required=True, help="folder of the reference cases")
    folder = parser.parse_args().spindoctor
    report = Report("compartments")
    report(__doc__ or "")
    widths = (38, 7, 6, 10, 8, 10, 8, 10, 8, 6, 10, 8)
    header = ("default", "s", "1e-5", "s", "stepping", "s", "of N", "SciPy", "s")
    report.row("case", "nodes", "N", *header, widths=widths)
    for name in (*PGSE_CASES, SEQUENCES, NEURON):
        case = read_case(folder, name)
        shown = case.mesh.n_vertices, case.acquisition.n_measurements
        cells = by_torrey(case, name, each=False)
        if all(type(waveform) is Pgse for waveform in case.acquisition.waveforms):
            # one BLAS thread, as Torrey takes
            with one_blas_thread():
                signal, seconds = timed(partial(by_scipy, case))
            cells += [case.error(signal), f"{seconds:.2f}"]
        else:
            cells += ["", ""]
        report.row(name, *shown, *cells, widths=widths)
        if case.mesh.n_compartments > 1:
            cells = [*by_torrey(case, name, each=True), "", ""]
            report.row("  each compartment", *shown, *cells, widths=widths)
        report.write()


if __name__ == "__main__":
    main()
