"""Free waveforms of common b-tensors: linear, planar, spherical, and between."""

from __future__ import annotations

import math

import torch

from ..errors import InputError
from .checks import LONGEST_TIME, float64
from .free_waveform import FreeWaveform

_FINEST = 1000
"""Most cells of a raster in a pulse."""


def axisymmetric_encoding(b_delta: float, duration: float, *, n_cells: int = 200) -> FreeWaveform:
    """Return a waveform whose b-tensor is axially symmetric about z, of any shape.

    Magic-angle spinning of the dephasing vector generalised to other angles: F(t) = A(t) (sin ζ cos ψ,
    sin ζ sin ψ, cos ζ) with A = sin²(πt/τ), cos²ζ = (2b_Δ + 1)/3 and ψ = 2π∫A²/∫₀^τ A² (Eriksson, Lasič,
    Nilsson, Westin and Topgaard, J. Chem. Phys. 142, 104201 (2015)). It begins and ends with no gradient, and
    is scaled to a largest gradient of 1.

    Parameters
    ----------
    b_delta : float
        Shape of the b-tensor: 1 linear, 0 spherical, −½ planar, or any value between −½ and 1.
    duration : float
        τ, ms.
    n_cells : int
        Cells of the raster; the b-tensor departs from its shape by about 7/n_cells².

    Raises
    ------
    InputError
        When a value is out of range.
    """
    if not -0.5 <= b_delta <= 1:
        raise InputError(f"axisymmetric_encoding: b_delta is {b_delta}, expected −0.5 … 1")
    if not (0 < duration <= LONGEST_TIME and n_cells >= 10):
        raise InputError(
            f"axisymmetric_encoding: {n_cells} cells in {duration} ms, expected at least 10 cells and "
            f"a positive time of at most {LONGEST_TIME:g} ms"
        )
    turn = 2 * math.pi * torch.linspace(0, 1, n_cells + 1, dtype=torch.float64)
    envelope = (1 - torch.cos(turn)) / 2
    # ∫sin⁴ over its whole
    psi = turn - (4 * torch.sin(turn) - torch.sin(2 * turn) / 2) / 3
    cosine = math.sqrt((2 * b_delta + 1) / 3)
    sine = math.sqrt(1 - cosine**2)
    around = torch.stack([sine * torch.cos(psi), sine * torch.sin(psi), torch.full_like(psi, cosine)], dim=1)
    gradient = (envelope[:, None] * around).diff(dim=0)
    return FreeWaveform(gradient / gradient.norm(dim=1).max(), duration / n_cells)


def pulse_train(
    directions: object, *, small_delta: float, big_delta: float, pause: float = 0.0
) -> FreeWaveform:
    """Return pairs of rectangular pulses one after another, each pair along a direction of its own.

    Two orthogonal directions make a planar b-tensor, three a spherical one; an angle between two is double
    diffusion encoding (Mitra, Phys. Rev. B 51, 15074 (1995)).

    Parameters
    ----------
    directions : (P, 3) array_like
        Of each pair; their lengths are the relative amplitudes.
    small_delta, big_delta : float
        δ and Δ of a pair, ms.
    pause : float
        From the end of a pair to the beginning of the next, ms.

    Raises
    ------
    InputError
        When a shape or time is wrong, or the times have no common raster of at least a thousandth of δ.
    """
    vectors = float64(directions, "pulse_train: directions")
    if vectors.ndim != 2 or vectors.shape[1] != 3 or len(vectors) == 0:
        raise InputError(f"pulse_train: directions have shape {tuple(vectors.shape)}, expected (P, 3)")
    if not (0 < small_delta <= big_delta and pause >= 0):
        raise InputError(
            f"pulse_train: small_delta {small_delta}, big_delta {big_delta}, pause {pause} ms, expected "
            "0 < small_delta ≤ big_delta and no negative pause"
        )
    cells = _common_raster(small_delta, big_delta - small_delta, pause)
    pulse, gap, rest = (round(time / cells) for time in (small_delta, big_delta - small_delta, pause))
    shape = torch.zeros(2 * pulse + gap + rest, dtype=torch.float64)
    shape[:pulse], shape[pulse + gap : 2 * pulse + gap] = 1, -1
    samples = (vectors[:, None] * shape[:, None]).flatten(0, 1)
    return FreeWaveform(samples[: len(samples) - rest], cells)


def _common_raster(small_delta: float, *times: float) -> float:
    """Return the longest cell of which `small_delta` and all `times`, ms, are multiples."""
    for parts in range(1, _FINEST + 1):
        raster = small_delta / parts
        if all(abs(time / raster - round(time / raster)) < 1e-6 for time in times):
            return raster
    raise InputError(
        f"pulse_train: times {small_delta:g}, {', '.join(f'{t:g}' for t in times)} ms have no common raster, "
        "expected multiples of one that is at least a thousandth of small_delta"
    )
