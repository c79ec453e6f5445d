"""`Acquisition`: N diffusion-weighted measurements as an immutable value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import units
from ..errors import InputError
from .checks import (
    LARGEST_BVAL,
    SMALLEST_BVAL,
    check_finite,
    checked_protocol,
    checked_timings,
    float64,
    matrix,
    row,
)


@dataclass(frozen=True, eq=False)
class Acquisition:
    """N pulsed-gradient spin-echo (PGSE) measurements.

    Parameters
    ----------
    gradients : (N, 3) Tensor
        Gradient vectors, mT/m. Gradients flow through them.
    small_delta, big_delta, echo_time : (N,) Tensor
        Pulse duration δ, pulse separation Δ and echo time, ms.

    Use `Acquisition.pgse`, `Acquisition.from_gradients` or `Acquisition.shells_of` to make one: they check
    what they are given. The constructor itself does not, so that it works where values cannot be looked at.
    """

    gradients: Tensor
    small_delta: Tensor
    big_delta: Tensor
    echo_time: Tensor

    @classmethod
    def pgse(
        cls,
        bvals: object,
        bvecs: object,
        *,
        small_delta: object,
        big_delta: object,
        echo_time: object = None,
    ) -> Acquisition:
        """Make an acquisition from b-values and unit directions.

        Parameters
        ----------
        bvals : (N,) array_like
            s/mm².
        bvecs : (N, 3) array_like
            Unit vectors to within 1 %, which are then normalised; a row of b = 0 may be zero.
        small_delta, big_delta : scalar or (N,) array_like
            δ and Δ, ms, 0 < δ ≤ Δ.
        echo_time : scalar or (N,) array_like, optional
            ms, at least δ + Δ, which it is where not given.

        Raises
        ------
        InputError
            When a shape, a sign, a norm, a timing or a unit is wrong; the message names the row.
        """
        protocol = checked_protocol(bvals, bvecs, small_delta, big_delta, echo_time)
        amplitudes = units.gradient_from_bval(protocol.bvals, protocol.small_delta, protocol.big_delta)
        return cls(
            gradients=amplitudes[:, None] * protocol.bvecs,
            small_delta=protocol.small_delta,
            big_delta=protocol.big_delta,
            echo_time=protocol.echo_time,
        )

    @classmethod
    def from_gradients(
        cls, gradients: object, *, small_delta: object, big_delta: object, echo_time: object = None
    ) -> Acquisition:
        """Make an acquisition from gradient vectors.

        Parameters
        ----------
        gradients : (N, 3) array_like
            mT/m.
        small_delta, big_delta, echo_time : scalar or (N,) array_like
            As for `Acquisition.pgse`, ms.

        Raises
        ------
        InputError
            When a shape, a timing or a unit is wrong; the message names the row.
        """
        vectors = matrix(gradients, "gradients")
        check_finite(vectors, "gradient", "mT/m")
        acquisition = cls(vectors, *checked_timings(small_delta, big_delta, echo_time, vectors))
        bvals = acquisition.bvals.detach()
        worst = int(bvals.argmax())
        if 0 < bvals[worst] < SMALLEST_BVAL or bvals[worst] > LARGEST_BVAL:
            raise InputError(
                f"{row(worst)}: gradient of {float(vectors[worst].detach().norm()):.6g} makes the largest "
                f"b-value {float(bvals[worst]):.3g} s/mm²; expected gradients in mT/m"
            )
        return acquisition

    @classmethod
    def shells_of(
        cls, bvals: object, directions: object, *, small_delta: object, big_delta: object
    ) -> Acquisition:
        """Make every combination of separations, b-values and directions.

        Parameters
        ----------
        bvals : (B,) array_like
            s/mm².
        directions : (n, 3) array_like
            Unit vectors.
        small_delta : float
            δ, ms.
        big_delta : float or (K,) array_like
            Δ, ms.

        Returns
        -------
        Acquisition
            N = K·B·n measurements; directions vary fastest, separations slowest.
        """
        vectors = matrix(directions, "directions")
        b = torch.atleast_1d(float64(bvals, "bvals"))
        separations = torch.atleast_1d(float64(big_delta, "big_delta"))
        if b.ndim != 1 or separations.ndim != 1:
            raise InputError(
                "bvals and big_delta: expected (B,) and (K,), "
                f"got {tuple(b.shape)} and {tuple(separations.shape)}"
            )
        n = len(vectors)
        return cls.pgse(
            b.repeat_interleave(n).repeat(len(separations)),
            vectors.repeat(len(separations) * len(b), 1),
            small_delta=small_delta,
            big_delta=separations.repeat_interleave(n * len(b)),
        )

    def subset(self, rows: object) -> Acquisition:
        """Return the measurements that `rows` selects: a boolean mask (N,), indices or a slice."""
        index = rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self.gradients.device)
        if isinstance(index, Tensor) and index.ndim != 1:
            raise InputError(f"subset: expected a mask (N,) or indices, got shape {tuple(index.shape)}")
        return Acquisition(
            self.gradients[index], self.small_delta[index], self.big_delta[index], self.echo_time[index]
        )

    @property
    def n_measurements(self) -> int:
        """Number of measurements N."""
        return len(self.gradients)

    @property
    def wave_vectors(self) -> Tensor:
        """Wave vectors q = γg (N, 3), rad/(µm ms)."""
        return units.wave_vectors(self.gradients)

    @property
    def bvals(self) -> Tensor:
        """b-values (N,), s/mm²."""
        return units.bval_from_gradient(self.gradients.norm(dim=1), self.small_delta, self.big_delta)

    @property
    def bvecs(self) -> Tensor:
        """Unit directions (N, 3); zero where there is no gradient."""
        return torch.nn.functional.normalize(self.gradients, dim=1)
