"""Axons packed in a bundle, and how water that passes their walls changes the signal across them.

Twelve axons with radii from a gamma distribution fill 60 % of a square. Without exchange the signal of the
water in them is the mean of the exact ones of their cylinders. Returns the largest deviation, of S(0).
"""

import math

import torch

import torrey
from torrey.acquisition import Acquisition
from torrey.mesh import cylinders, gamma_radii, pack_cylinders
from torrey.signal.analytic import Cylinder

N_AXONS, FRACTION, GAP = 12, 0.6, 0.2  # –, –, µm
DIFFUSIVITY = 2.0  # µm²/ms


def main() -> float:
    generator = torch.Generator().manual_seed(1)
    radii = gamma_radii(N_AXONS, mean=2.0, std=0.5, generator=generator)
    bundle = pack_cylinders(radii, volume_fraction=FRACTION, gap=GAP, generator=generator)
    mesh = cylinders(bundle, 1.0, edge_length=1.0, n_layers=1)
    outside = mesh.n_compartments - 1
    print(
        f"{N_AXONS} axons of {radii.min():.2f} to {radii.max():.2f} µm in {bundle.side:.1f} µm, "
        f"{mesh.n_vertices} vertices"
    )

    bvals = [0.0, 500.0, 1000.0, 2000.0, 4000.0]
    acquisition = Acquisition.pgse(bvals, [[1.0, 0.0, 0.0]] * 5, small_delta=5.0, big_delta=30.0)
    for kappa in (0.0, 0.02, 0.1):  # µm/ms
        tissue = torrey.Tissue(
            diffusivity=DIFFUSIVITY, permeability={(axon, outside): kappa for axon in range(N_AXONS)}
        )
        signal = torrey.simulate(mesh, tissue, acquisition).real
        row = "  ".join(f"{s:.3f}" for s in (signal / signal[0]).tolist())
        print(f"κ = {kappa:4.2f} µm/ms, S/S(0) at b = 0 … 4000 s/mm²: {row}")

    # water outside that weighs next to nothing leaves the signal of the axons
    density = torch.ones(mesh.n_compartments, dtype=torch.float64)
    density[outside] = 1e-9
    tissue = torrey.Tissue(diffusivity=DIFFUSIVITY, spin_density=density)
    within = torrey.simulate(mesh, tissue, acquisition).real
    exact = sum(
        math.pi * r**2 * Cylinder(r, 1.0).attenuation(acquisition, DIFFUSIVITY) for r in radii.tolist()
    )
    error = float((within - exact).abs().max() / within[0])
    print(f"water in the axons without exchange: within {error:.1e} of S(0) of the exact signals")
    return error


if __name__ == "__main__":
    main()
