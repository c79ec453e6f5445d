"""Finite elements on layered meshes against the closed forms of spheres and cylinders in permeable layers.

    python benchmarks/multilayers.py

Largest error over S(0) = ∫ρ for b = 0, 1000, 4000 and 10 000 s/mm² (δ/Δ/TE = 5/20/30 ms), and seconds from
mesh to signals, in default settings with elements of order 1 and 2; n is the number of layers of cells from
the centre to the surface, and along the cylinder. `closed` are the seconds of the closed form to 1e-8.

sphere    radii 3 and 5 µm, D 1 and 2 µm²/ms, T2 40 and 80 ms, ρ 1 and 0.6, outer wall 0.02 µm/ms
cylinder  radii 2, 3 and 5 µm, length 8 µm, T2 80, 20 and 60 ms, ρ 1, 0.5 and 0.8: unequal, with D 2, 0.5 and
          1 µm²/ms and gradients along x and z; relaxing, with D 1.5 µm²/ms, all walls relaxing at 0.02 µm/ms
          and an oblique gradient
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

import torrey
from common import Report, timed
from torrey.acquisition import Acquisition
from torrey.mesh import layered_cylinder, layered_sphere
from torrey.signal.analytic import LayeredCylinder, LayeredSphere

X, _, Z = torch.eye(3).double()
OBLIQUE = (X + Z) / 2**0.5
RUNS = ((1, 6), (1, 10), (2, 4))
"""Order of the elements, and n."""


class Case(NamedTuple):
    """A smooth shape with its tissue and measurements."""

    shape: LayeredSphere | LayeredCylinder
    tissue: torrey.Tissue
    acquisition: Acquisition

    @property
    def content(self) -> float:
        """∫ρ, µm³."""
        return float((self.shape.volumes * self.tissue.spin_density).sum())

    def mesh(self, n: int) -> torrey.TetMesh:
        """Return the mesh of n layers."""
        if isinstance(self.shape, LayeredSphere):
            return layered_sphere(self.shape.radii, resolution=n)
        return layered_cylinder(self.shape.radii, self.shape.length, n_rings=n, n_layers=n)


def cases(kappa: float) -> dict[str, Case]:
    cylinder = LayeredCylinder((2.0, 3.0, 5.0), 8.0)
    inside = {
        "T2": [80.0, 20.0, 60.0],
        "spin_density": [1.0, 0.5, 0.8],
        "permeability": {(0, 1): kappa, (1, 2): kappa},
    }
    nested = torrey.Tissue(
        diffusivity=[1.0, 2.0],
        T2=[40.0, 80.0],
        spin_density=[1.0, 0.6],
        permeability={(0, 1): kappa},
        surface_relaxivity={1: 0.02},
    )
    unequal = torrey.Tissue(diffusivity=[2.0, 0.5, 1.0], **inside)
    relaxing = torrey.Tissue(diffusivity=1.5, surface_relaxivity=dict.fromkeys(range(3), 0.02), **inside)
    return {
        "sphere": Case(LayeredSphere((3.0, 5.0)), nested, protocol(OBLIQUE)),
        "cylinder, unequal": Case(cylinder, unequal, protocol(X, Z)),
        "cylinder, relaxing": Case(cylinder, relaxing, protocol(OBLIQUE)),
    }


def protocol(*directions: torch.Tensor) -> Acquisition:
    u = torch.stack(directions)
    shells = [
        Acquisition.pgse([b] * len(u), u, small_delta=5.0, big_delta=20.0, echo_time=30.0)
        for b in (0.0, 1000.0, 4000.0, 10_000.0)
    ]
    return Acquisition.concatenate(shells)


def main() -> None:
    report = Report("multilayers")
    report(__doc__ or "")
    widths = (20, 8, 8, *(8, 10, 8) * len(RUNS))
    titles = [x for order, n in RUNS for x in ("nodes", f"{order}, n={n}", "s")]
    report.row("case", "κ", "closed", *titles, widths=widths)
    for name in cases(0.0):
        for kappa in (0.005, 0.05, 0.5):
            case = cases(kappa)[name]
            exact, closed = timed(partial(case.shape.signal, case.tissue, case.acquisition))
            cells: list[str] = []
            for order, n in RUNS:
                mesh = case.mesh(n)
                simulate = partial(torrey.simulate, mesh, case.tissue, case.acquisition)
                signal, seconds = timed(partial(simulate, solver=torrey.MatrixFormalism(order=order)))
                error = float((signal - exact).abs().max()) / case.content
                cells += [str(mesh.n_vertices), f"{error:.1e}", f"{seconds:.2f}"]
            report.row(name, kappa, f"{closed:.2f}", *cells, widths=widths)
            report.write()


if __name__ == "__main__":
    main()
