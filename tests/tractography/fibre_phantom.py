"""Signals of fibres with known tensors, and the files of a diffusion image made of them."""

import math
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import torch

from torrey.tractography.orientation import GradientTable, spiral_directions

# MRtrix's response of a fibre with these diffusivities (µm²/ms) at b = 2000 s/mm² and S0 = 1000
AXIAL, RADIAL, BVAL, S0 = 1.7, 0.3, 2000.0, 1000.0
OBLIQUE = np.array(
    [[-1.9, 0.3, 0.0, 20.0], [0.2, 2.0, -0.5, -10.0], [0.1, 0.5, 2.4, 5.0], [0.0, 0.0, 0.0, 1.0]]
)


def protocol(n_directions: int = 45) -> GradientTable:
    """Two volumes at b = 0 and a shell."""
    directions = torch.cat([torch.zeros(2, 3), spiral_directions(n_directions)])
    bvals = torch.full((n_directions + 2,), BVAL)
    bvals[:2] = 0
    return GradientTable(bvals, directions)


def unit(n: int, generator: torch.Generator) -> torch.Tensor:
    vectors = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return vectors / vectors.norm(dim=1, keepdim=True)


def fibre_signals(table: GradientTable, fibres: torch.Tensor) -> torch.Tensor:
    """Signals (V, N) of fibres (V, F, 3) in equal parts."""
    cosines = torch.einsum("nd,vfd->vfn", table.directions, fibres)
    exponent = -table.bvals / 1000 * (RADIAL + (AXIAL - RADIAL) * cosines**2)
    return S0 * exponent.exp().mean(1)


def noisy_crossings(table: GradientTable, n: int, *, seed: int = 0, noise: float = 15.0) -> torch.Tensor:
    """Signals (n, N) of two fibres each with Gaussian noise, positive."""
    generator = torch.Generator().manual_seed(seed)
    fibres = torch.stack([unit(n, generator), unit(n, generator)], 1)
    clean = fibre_signals(table, fibres)
    noisy = clean + noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    return noisy.clamp(min=1.0)


def response(n: int = 5) -> torch.Tensor:
    """Zonal harmonics of the fibre along z, by Gauss-Legendre quadrature of the closed form."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    signal = S0 * np.exp(-BVAL / 1000 * (RADIAL + (AXIAL - RADIAL) * nodes**2))
    coefficients = []
    for degree in range(0, 2 * n, 2):
        legendre = np.polynomial.legendre.Legendre.basis(degree)(nodes)
        scale = 2 * math.pi * math.sqrt((2 * degree + 1) / (4 * math.pi))
        coefficients.append(scale * float((weights * signal * legendre).sum()))
    return torch.tensor(coefficients, dtype=torch.float64)


def write_dwi(
    folder: Path, signals: torch.Tensor, table: GradientTable, affine: np.ndarray = OBLIQUE
) -> None:
    """Write dwi.nii.gz, float64, of signals (X, Y, Z, N), and grad.b in world axes."""
    image = nibabel.Nifti1Image(signals.numpy(), affine)
    nibabel.save(image, folder / "dwi.nii.gz")
    np.savetxt(folder / "grad.b", torch.cat([table.directions, table.bvals[:, None]], 1).numpy(), fmt="%.17g")


def run(folder: Path, *command: str) -> str:
    """Run a program of MRtrix in `folder` and return what it prints."""
    done = subprocess.run(
        [*command, "-quiet", "-nthreads", "0"], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout
