"""Diffusion coefficient and kurtosis along each direction, fitted to signals as to measured ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..acquisition.checks import row
from ..errors import InputError
from ..units import S_PER_MM2
from .groups import signed_axes

_DECIMALS = 6
"""Directions (unit vectors) and times (ms) that agree to this many decimals are one."""


@dataclass(frozen=True, eq=False)
class CumulantFit:
    """A polynomial of ln|S| in b for each of G sets of measurements that differ in b alone.

    Attributes
    ----------
    rows : (G,) int64 Tensor
        A measurement of each set; `acquisition.subset(fit.rows)` tells directions and timings.
    coefficients : (G, degree + 1) Tensor
        ln|S| = c₀ + c₁b + c₂b² + …, b in ms/µm².
    """

    rows: Tensor
    coefficients: Tensor

    @property
    def adc(self) -> Tensor:
        """Apparent diffusion coefficient −c₁ (G,), µm²/ms."""
        return -self.coefficients[:, 1]

    @property
    def kurtosis(self) -> Tensor:
        """Excess kurtosis of displacements K = 6c₂/c₁² (G,) along the direction.

        Raises
        ------
        InputError
            When the polynomial is a line.
        """
        if self.coefficients.shape[1] < 3:
            raise InputError("kurtosis: the fit is of degree 1, expected at least 2")
        return 6 * self.coefficients[:, 2] / self.coefficients[:, 1] ** 2

    @property
    def unweighted(self) -> Tensor:
        """Signal without a gradient, e^{c₀} (G,), in the unit of the signal."""
        return self.coefficients[:, 0].exp()


def fit_cumulants(
    signal: Tensor, acquisition: Acquisition, *, largest_bval: float, degree: int = 2
) -> CumulantFit:
    """Fit ln|S| = ln S₀ − bD + b²D²K/6 − … by least squares for each direction and time course.

    D and K are those of the cumulant expansion (Jensen et al., Magn. Reson. Med. 53, 1432 (2005)) as far as
    the terms beyond `degree` are small over the range of b that is fitted; `apparent_diffusion` has no such
    limit.

    Parameters
    ----------
    signal : (N,) Tensor
        Real or complex, of which the magnitude counts; any unit. Gradients flow through it.
    acquisition : Acquisition
        N measurements. Opposite directions are one; measurements without a gradient belong to all directions
        with their echo time.
    largest_bval : float
        Measurements up to this b-value are fitted, s/mm².
    degree : int
        Degree of the polynomial in b; 2 for the kurtosis.

    Raises
    ------
    InputError
        When a direction has no more b-values than `degree`, a signal is zero or not finite, or an argument is
        out of range.
    """
    if signal.shape != (acquisition.n_measurements,):
        raise InputError(
            f"signal: expected ({acquisition.n_measurements},), one for each measurement, "
            f"got {tuple(signal.shape)}"
        )
    if degree < 1 or not largest_bval > 0:
        raise InputError(
            f"fit_cumulants: degree is {degree}, expected at least 1, and largest_bval {largest_bval}, "
            "expected positive (s/mm²)"
        )
    b = acquisition.bvals.to(signal.device) / S_PER_MM2
    # b-values that were computed from gradients may lie above by rounding
    used = b.detach() <= largest_bval / S_PER_MM2 * (1 + 1e-9)
    magnitude = signal.abs()
    bad = (used & ~((magnitude.detach() > 0) & magnitude.detach().isfinite())).nonzero()
    if len(bad):
        raise InputError(
            f"signal: {row(int(bad[0]))} is {signal[int(bad[0])].item()}, expected finite and not zero"
        )
    rows, coefficients = [], []
    for members in _sets(acquisition):
        fitted = members[used[members]]
        coefficients.append(_polynomial(b[fitted], magnitude[fitted].log(), degree, row(int(members[0]))))
        rows.append(members[0])
    return CumulantFit(torch.stack(rows), torch.stack(coefficients))


def _sets(acquisition: Acquisition) -> list[Tensor]:
    """Return the measurements of each direction and time course, those without a gradient last."""
    axes, _ = signed_axes(acquisition.wave_vectors.detach())
    moving = (acquisition.gradients.detach() != 0).any(1)
    times = (acquisition.small_delta, acquisition.big_delta, acquisition.echo_time)
    columns = [axes, *(t[:, None] for t in (*times, acquisition.waveform_of))]
    # adding zero makes −0 and 0 one
    keys = torch.cat([c.detach().double() for c in columns], dim=1).round(decimals=_DECIMALS) + 0.0
    keys = keys.nan_to_num(0.0)  # free waveforms have neither δ nor Δ
    _, which = torch.unique(keys[moving], dim=0, return_inverse=True)
    rows, resting = moving.nonzero().ravel(), (~moving).nonzero().ravel()
    if len(rows) == 0:
        raise InputError("fit_cumulants: no measurement has a gradient, expected one direction or more")
    sets = []
    for k in range(int(which.max()) + 1):
        members = rows[which == k]
        shared = (keys[resting, 5] == keys[members[0], 5]).nonzero().ravel()
        sets.append(torch.cat([members, resting[shared]]))
    return sets


def _polynomial(b: Tensor, logarithm: Tensor, degree: int, name: str) -> Tensor:
    """Return the coefficients (degree + 1,) of least squares."""
    values = torch.unique(b.detach().round(decimals=_DECIMALS))
    if len(values) <= degree:
        raise InputError(
            f"fit_cumulants: {len(values)} b-values in range in the direction of {name}, expected at least "
            f"{degree + 1} for degree {degree}"
        )
    powers = torch.arange(degree + 1, device=b.device)
    largest = values[-1]
    Q, R = torch.linalg.qr((b[:, None] / largest) ** powers)
    scaled = torch.linalg.solve_triangular(R, (Q.T @ logarithm)[:, None], upper=True)[:, 0]
    coefficients: Tensor = scaled / largest**powers
    return coefficients
