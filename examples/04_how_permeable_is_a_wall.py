"""Permeability and inner diffusivity of a cell in its box, from signals with noise.

The cell is a ball in a cube of free water; the signals are made with finer elements. Gradients of the
simulated signals in both unknowns drive PyTorch's own optimiser. Returns the relative error of the
permeability.
"""

import math

import torch

import torrey
from torrey.acquisition import Acquisition, CosineOgse, Pgse

RADIUS, SIDE = 5.0, 14.0  # µm
PERMEABILITY, INSIDE, OUTSIDE = 0.05, 1.5, 2.5  # µm/ms, µm²/ms
NOISE = 1 / 100


def protocol() -> Acquisition:
    directions = torrey.acquisition.electrostatic_directions(10)
    parts = [
        Acquisition.encode(
            waveform, [b] * len(directions), directions, small_delta=small_delta, big_delta=big_delta
        )
        for waveform, small_delta, big_delta, bvals in (
            (Pgse(), 5.0, 10.0, (500.0, 2000.0)),
            (Pgse(), 5.0, 50.0, (500.0, 2000.0)),
            (CosineOgse(2), 20.0, 25.0, (300.0,)),
        )
        for b in bvals
    ]
    return Acquisition.concatenate(parts)


def attenuation(resolution: int, permeability: object, inside: object, *, order: int) -> torch.Tensor:
    mesh = torrey.mesh.sphere_in_box(RADIUS, SIDE, resolution=resolution)
    inner = torch.as_tensor(inside, dtype=torch.float64)
    tissue = torrey.Tissue(
        diffusivity=torch.stack([inner, torch.full_like(inner, OUTSIDE)]), permeability={(0, 1): permeability}
    )
    signal = torrey.simulate(mesh, tissue, protocol(), solver=torrey.MatrixFormalism(modes=100, order=order))
    return signal.real / mesh.volume


def main() -> float:
    with torch.no_grad():
        measured = attenuation(3, PERMEABILITY, INSIDE, order=2)
    noise = torch.randn(measured.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measured = measured + NOISE * noise

    unknown = torch.tensor([0.01, 2.0], dtype=torch.float64).log().requires_grad_()
    optimiser = torch.optim.LBFGS([unknown], max_iter=12, line_search_fn="strong_wolfe")

    def misfit() -> torch.Tensor:
        optimiser.zero_grad()
        predicted = attenuation(3, *unknown.exp(), order=1)
        loss = ((predicted - measured) / NOISE).square().mean()
        loss.backward()
        return loss

    print(f"{protocol().n_measurements} signals, start: κ 0.010 µm/ms, D 2.00 µm²/ms inside")
    optimiser.step(misfit)
    permeability, inside = unknown.detach().exp().tolist()
    print(f"found: κ {permeability:.4f} (true {PERMEABILITY}), D {inside:.3f} (true {INSIDE})")
    print(f"misfit {math.sqrt(float(misfit().detach())):.2f} standard deviations of the noise")
    return abs(permeability / PERMEABILITY - 1)


if __name__ == "__main__":
    main()
