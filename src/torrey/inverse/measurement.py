"""`Measurement`: a signal, its protocol and its noise, checked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..errors import InputError

WEAK = 100.0
"""s/mm² under which a measurement counts as b = 0 when S(0) is estimated."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """N measured signals.

    Attributes
    ----------
    signal : (N,) Tensor
        Real; over S(0) where `normalised`, else µm³.
    acquisition : Acquisition
        Its protocol.
    normalised : bool
        Whether it was divided by S(0).
    sigma : float or None
        Standard deviation of the noise over S(0); None where it is not known.
    reference : float
        S(0): 1 where normalised.
    """

    signal: Tensor
    acquisition: Acquisition
    normalised: bool
    sigma: float | None
    reference: float

    @property
    def attenuation(self) -> Tensor:
        """Signals over S(0), (N,)."""
        return self.signal / self.reference

    def thinned(self, most: int) -> Measurement:
        """Return at most `most` of the measurements, drawn evenly at random but the same at every call."""
        count = len(self.signal)
        if count <= most:
            return self
        drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most].sort().values
        return replace(self, signal=self.signal[drawn], acquisition=self.acquisition.subset(drawn))


def check_measurement(
    signal: object, acquisition: Acquisition, *, normalised: bool, sigma: float | None
) -> Measurement:
    """Check a measured signal and make it real.

    Raises
    ------
    InputError
        When counts differ, a value is not finite, the signal is not real, or it does not fit `normalised`.
    """
    acquisition.require_pgse("reconstruct")
    values = torch.as_tensor(signal).detach().cpu()
    if values.shape != (acquisition.n_measurements,):
        raise InputError(
            f"signal: expected {acquisition.n_measurements} values, one a measurement, "
            f"got shape {tuple(values.shape)}"
        )
    bad = ~torch.isfinite(values)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise InputError(f"signal: row {row} is {values[row].item()}, expected a finite number")
    values = _real(values)
    if sigma is not None and not 0 < sigma < 1:
        raise InputError(f"sigma: {sigma} is not between 0 and 1, the noise over S(0)")
    if not bool((acquisition.bvals > WEAK).any()):
        raise InputError("acquisition: no measurement has a gradient (b > 100 s/mm²), nothing can be fitted")
    largest = float(values.max())
    if normalised and largest > 1.5 + 6 * (sigma or 0.0):
        raise InputError(
            f"signal: the largest value is {largest:.4g}, expected about 1 for S/S(0); "
            "are these µm³ (normalised=False)?"
        )
    if not normalised and largest < 1.5:
        raise InputError(
            f"signal: the largest value is {largest:.4g}, too small for a volume in µm³; "
            "is it S/S(0) (normalised=True)?"
        )
    weak = acquisition.bvals < WEAK
    reference = 1.0 if normalised else float(values[weak].mean() if weak.any() else values.max())
    return Measurement(values, acquisition, normalised, sigma, reference)


def _real(values: Tensor) -> Tensor:
    if not values.is_complex():
        return values.double()
    real, imaginary = float(values.real.abs().max()), float(values.imag.abs().max())
    if imaginary > 0.2 * real:
        raise InputError(
            f"signal: imaginary parts reach {imaginary:.3g} against {real:.3g} real, expected a real signal: "
            "PGSE in a compartment with uniform spin density gives no phase"
        )
    return values.real.double()
