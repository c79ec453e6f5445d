"""Signals of a finite cylinder, by finite elements and in closed form.

Prints both for a few directions and returns the largest difference over S(0).
"""

import torch

import torrey
from torrey.signal.analytic import Cylinder

RADIUS, LENGTH = 2.0, 12.0  # µm
DIFFUSIVITY = 2.0  # µm²/ms


def main() -> float:
    mesh = torrey.mesh.cylinder(RADIUS, LENGTH, n_rings=3, n_layers=12)
    tissue = torrey.Tissue(diffusivity=DIFFUSIVITY)
    angles = torch.linspace(0, torch.pi / 2, 4, dtype=torch.float64)
    directions = torch.stack([angles.sin(), torch.zeros_like(angles), angles.cos()], dim=1)
    acquisition = torrey.Acquisition.shells_of(
        [0.0, 1000.0, 2000.0, 4000.0], directions, small_delta=5.0, big_delta=[10.0, 30.0]
    )

    solver = torrey.MatrixFormalism(tolerance=1e-4, order=2)
    signal = torrey.simulate(mesh, tissue, acquisition, solver=solver)
    simulated = signal.real / mesh.volume
    exact = Cylinder(RADIUS, LENGTH).attenuation(acquisition, DIFFUSIVITY)

    print(f"{mesh.n_vertices} vertices, {float(mesh.volume):.2f} µm³")
    print("  b (s/mm²)   Δ (ms)   angle to axis   simulated   exact")
    for row in range(0, acquisition.n_measurements, 5):
        tilt = torch.rad2deg(torch.acos(acquisition.bvecs[row, 2].clamp(max=1)))
        print(
            f"  {float(acquisition.bvals[row]):9.0f} {float(acquisition.big_delta[row]):8.0f} "
            f"{float(tilt):15.0f} {float(simulated[row]):11.5f} {float(exact[row]):7.5f}"
        )
    error = float((simulated - exact).abs().max())
    print(f"largest difference {error:.1e} of S(0)")
    return error


if __name__ == "__main__":
    main()
