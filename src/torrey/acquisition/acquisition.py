"""`Acquisition`: N diffusion-weighted measurements as an immutable value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from .. import units
from ..errors import InputError
from .checks import (
    LARGEST_BVAL,
    SMALLEST_BVAL,
    check_bvals,
    check_finite,
    checked_echo_time,
    checked_protocol,
    checked_timings,
    column,
    float64,
    matrix,
    row,
    unit_directions,
)
from .free_waveform import FreeWaveform
from .waveforms import AbstractPulses, AbstractWaveform, Pgse


@dataclass(frozen=True, eq=False)
class Acquisition:
    """N diffusion-weighted spin-echo measurements.

    Parameters
    ----------
    gradients : (N, 3) Tensor
        Gradient vectors, mT/m: direction and amplitude. Gradients flow through them.
    small_delta, big_delta, echo_time : (N,) Tensor
        Pulse duration δ, pulse separation Δ and echo time, ms; δ and Δ are NaN where the waveform is free.
    waveforms : tuple of AbstractWaveform
        The shapes of the gradients over time that occur; pulsed gradients (`Pgse`) by default.
    waveform_of : (N,) int64 Tensor, optional
        Which of `waveforms` each measurement has; the first where not given.

    Use `Acquisition.pgse`, `Acquisition.encode`, `Acquisition.from_gradients` or `Acquisition.shells_of` to
    make one with pulses along one axis, `Acquisition.rotated` or `Acquisition.from_waveforms` with gradients
    that turn in space, and `Acquisition.concatenate` to mix: they check what they are given. The constructor
    itself does not, so that it works where values cannot be looked at.
    """

    gradients: Tensor
    small_delta: Tensor
    big_delta: Tensor
    echo_time: Tensor
    waveforms: tuple[AbstractWaveform, ...] = (Pgse(),)
    waveform_of: Tensor = field(default=cast(Tensor, None))

    def __post_init__(self) -> None:
        if cast("Tensor | None", self.waveform_of) is None:
            zeros = torch.zeros(len(self.gradients), dtype=torch.long, device=self.gradients.device)
            object.__setattr__(self, "waveform_of", zeros)

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
        """Make an acquisition with pulsed gradients: `Acquisition.encode` with `Pgse()`.

        Parameters
        ----------
        bvals : (N,) array_like
            s/mm².
        bvecs : (N, 3) array_like
            Unit vectors.
        small_delta, big_delta, echo_time : scalar or (N,) array_like
            δ, Δ and echo time, ms; the last is δ + Δ where not given.

        Raises
        ------
        InputError
            As for `Acquisition.encode`.
        """
        return cls.encode(
            Pgse(), bvals, bvecs, small_delta=small_delta, big_delta=big_delta, echo_time=echo_time
        )

    @classmethod
    def encode(
        cls,
        waveform: AbstractPulses,
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
        waveform : AbstractPulses
            The shape of the gradients over time.
        bvals : (N,) array_like
            s/mm².
        bvecs : (N, 3) array_like
            Unit vectors to within 1 %, which are then normalised; a row of b = 0 may be zero.
        small_delta, big_delta : scalar or (N,) array_like
            δ and Δ, ms, 0 < δ ≤ Δ.
        echo_time : scalar or (N,) array_like, optional
            ms, at least the duration of the waveform, which it is where not given: δ + Δ for `Pgse`.

        Raises
        ------
        InputError
            When a shape, a sign, a norm, a timing or a unit is wrong, the echo comes before the end of the
            waveform, or its pulses overlap; the message names the row.
        """
        protocol = checked_protocol(bvals, bvecs, small_delta, big_delta, None)
        timings = protocol.small_delta, protocol.big_delta
        echo = checked_echo_time(echo_time, *timings, waveform)
        weighting = waveform.weighting(*timings)
        amplitudes = units.gradient_from_bval(protocol.bvals, weighting)
        return cls(amplitudes[:, None] * protocol.bvecs, *timings, echo, (waveform,))

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
            As for `Acquisition.encode`, ms.

        Raises
        ------
        InputError
            When a shape, a timing or a unit is wrong; the message names the row.
        """
        vectors = matrix(gradients, "gradients")
        check_finite(vectors, "gradient", "mT/m")
        acquisition = cls(vectors, *checked_timings(small_delta, big_delta, echo_time, vectors))
        _check_strength(acquisition)
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

    @classmethod
    def rotated(
        cls, waveform: FreeWaveform, bvals: object, axes: object, *, echo_time: object = None
    ) -> Acquisition:
        """Make an acquisition with one free waveform, scaled to b-values and rotated to axes.

        Parameters
        ----------
        waveform : FreeWaveform
            Such as `axisymmetric_encoding` and `pulse_train` make.
        bvals : (N,) array_like
            Traces of the b-tensors, s/mm².
        axes : (N, 3) array_like
            Where the z axis of the waveform goes by the least rotation; unit vectors, zero allowed for b = 0.
        echo_time : scalar or (N,) array_like, optional
            ms, at least the duration of the waveform, which it is where not given.

        Raises
        ------
        InputError
            As for `Acquisition.encode`, and when the waveform has no gradient.
        """
        vectors = matrix(axes, "axes")
        b = column(bvals, "bvals", vectors)
        check_bvals(b)
        vectors = unit_directions(vectors, b)
        none = torch.full_like(b.detach(), torch.nan)
        weighting = waveform.weighting(none, none)
        if not weighting.detach().min() > 0:
            raise InputError(f"{waveform}: has no gradient, expected one to scale")
        echo = checked_echo_time(echo_time, none, none, waveform)
        amplitudes = units.gradient_from_bval(b, weighting)
        return cls(amplitudes[:, None] * vectors, none, none, echo, (waveform,))

    @classmethod
    def from_waveforms(cls, gradients: object, *, raster: float, echo_time: object = None) -> Acquisition:
        """Make an acquisition from gradient waveforms sampled on a raster.

        Parameters
        ----------
        gradients : (N, K, 3) Tensor or array_like
            Effective gradients (turned around after a refocusing pulse), mean over each cell, mT/m. Gradients
            flow through every sample.
        raster : float
            Duration of a cell, ms.
        echo_time : scalar or (N,) array_like, optional
            ms, at least K times the raster, which it is where not given.

        Raises
        ------
        InputError
            When a shape, a time or a unit is wrong, or samples do not add up to zero; the message names the
            row.
        """
        samples = float64(gradients, "gradients")
        if samples.ndim != 3 or samples.shape[2] != 3 or len(samples) == 0:
            raise InputError(f"gradients: expected shape (N, K, 3), got {tuple(samples.shape)}")
        waveforms, peaks = [], []
        for index, own in enumerate(samples):
            try:
                waveform, peak = FreeWaveform.of_gradients(own, raster)
            except InputError as error:
                raise InputError(f"{row(index)}: {error}") from None
            waveforms.append(waveform)
            peaks.append(peak)
        vectors = torch.stack(peaks)[:, None] * samples.new_tensor([0, 0, 1])
        none = torch.full_like(vectors[:, 0], torch.nan)
        echo = checked_echo_time(echo_time, none, none, waveforms[0])
        which = torch.arange(len(samples), device=samples.device)
        acquisition = cls(vectors, none, none, echo, tuple(waveforms), which)
        _check_strength(acquisition)
        return acquisition

    def subset(self, rows: object) -> Acquisition:
        """Return the measurements that `rows` selects: a boolean mask (N,), indices or a slice."""
        index = rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self.gradients.device)
        if isinstance(index, Tensor) and index.ndim != 1:
            raise InputError(f"subset: expected a mask (N,) or indices, got shape {tuple(index.shape)}")
        return Acquisition(
            self.gradients[index],
            self.small_delta[index],
            self.big_delta[index],
            self.echo_time[index],
            self.waveforms,
            self.waveform_of[index],
        )

    @classmethod
    def concatenate(cls, acquisitions: Sequence[Acquisition]) -> Acquisition:
        """Return the measurements of all `acquisitions`, one after another."""
        waveforms = tuple(dict.fromkeys(w for a in acquisitions for w in a.waveforms))
        columns = (
            torch.cat([getattr(a, name) for a in acquisitions])
            for name in ("gradients", "small_delta", "big_delta", "echo_time")
        )
        gradients, small_delta, big_delta, echo_time = columns
        number = {waveform: k for k, waveform in enumerate(waveforms)}
        which = [torch.tensor([number[w] for w in a.waveforms]) for a in acquisitions]
        own = [w.to(a.waveform_of.device)[a.waveform_of] for w, a in zip(which, acquisitions, strict=True)]
        return cls(gradients, small_delta, big_delta, echo_time, waveforms, torch.cat(own))

    def require_pgse(self, what: str) -> None:
        """Refuse other waveforms than plain pulsed gradients for `what`, which begins the message.

        Raises
        ------
        InputError
            Naming the first row that has another.
        """
        self._require(what, "pulsed gradients (PGSE)", lambda waveform: type(waveform) is Pgse)

    def require_pulses(self, what: str) -> None:
        """Refuse gradients that turn in space for `what`, as `require_pgse` does."""
        self._require(what, "pulses along one axis", lambda waveform: isinstance(waveform, AbstractPulses))

    def _require(self, what: str, expected: str, fits: Callable[[AbstractWaveform], bool]) -> None:
        wrong = [(int(rows[0]), waveform) for waveform, rows in self.by_waveform if not fits(waveform)]
        if wrong:
            first, waveform = min(wrong, key=lambda found: found[0])
            raise InputError(f"{what}: {row(first)} is {waveform}, expected {expected}")

    @property
    def by_waveform(self) -> list[tuple[AbstractWaveform, Tensor]]:
        """The waveforms that occur, each with the rows (k,) that have it."""
        order = torch.argsort(self.waveform_of, stable=True)
        kinds, counts = torch.unique_consecutive(self.waveform_of[order], return_counts=True)
        rows = order.split(counts.tolist())
        return [(self.waveforms[kind], own) for kind, own in zip(kinds.tolist(), rows, strict=True)]

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
        return units.bval_from_gradient(self.gradients.norm(dim=1), self._weighting)

    @property
    def b_tensors(self) -> Tensor:
        """b-tensors ∫(γF)(γF)ᵀdt (N, 3, 3), s/mm²; their traces are the b-values."""
        axes, delta, Delta = self.bvecs, self.small_delta, self.big_delta
        tensors = self._of_each(lambda w, rows: w.weighting_tensors(axes[rows], delta[rows], Delta[rows]))
        scale = units.bval_from_gradient(self.gradients.norm(dim=1), torch.ones_like(delta))
        return scale[:, None, None] * tensors

    def free_wave_vectors(self, rows: Tensor) -> Tensor:
        """Return q over time (n, K, 3), rad/(µm ms), of `rows` (n,) with free waveforms of K cells each."""
        own = self.subset(rows)
        shapes = own._of_each(lambda waveform, some: _free(waveform).turned(own.bvecs[some]))
        return units.wave_vectors(own.gradients.norm(dim=1))[:, None, None] * shapes

    @property
    def energies(self) -> Tensor:
        """∫|f|²dt (N,), ms, of the waveforms for unit gradients."""
        return self._of_each(lambda waveform, rows: waveform.energy(self.small_delta[rows]))

    @property
    def durations(self) -> Tensor:
        """Time (N,) from the start of the first gradient to the end of the last, ms."""
        delta, Delta = self.small_delta, self.big_delta
        return self._of_each(lambda waveform, rows: waveform.duration(delta[rows], Delta[rows]))

    @property
    def largest_winding(self) -> float:
        """The largest phase that a gradient winds along a length at any time, rad/µm."""
        reach = self._of_each(lambda waveform, rows: waveform.reach(self.small_delta[rows]))
        return float((self.wave_vectors.norm(dim=1) * reach).detach().max())

    @property
    def _weighting(self) -> Tensor:
        """∫|F|²dt (N,), ms³."""
        delta, Delta = self.small_delta, self.big_delta
        return self._of_each(lambda waveform, rows: waveform.weighting(delta[rows], Delta[rows]))

    def _of_each(self, value: Callable[[AbstractWaveform, Tensor], Tensor]) -> Tensor:
        """Return (N, ...) of the values (k, ...) for each waveform and its rows (k,)."""
        groups = self.by_waveform or [(self.waveforms[0], self.waveform_of)]
        rows = torch.cat([own for _, own in groups])
        return torch.cat([value(waveform, own) for waveform, own in groups])[rows.argsort()]

    @property
    def bvecs(self) -> Tensor:
        """Unit directions (N, 3); zero where there is no gradient."""
        return torch.nn.functional.normalize(self.gradients, dim=1)


def _free(waveform: AbstractWaveform) -> FreeWaveform:
    assert isinstance(waveform, FreeWaveform)
    return waveform


def _check_strength(acquisition: Acquisition) -> None:
    """Refuse gradients whose largest b-value says that they are not in mT/m."""
    bvals = acquisition.bvals.detach()
    worst = int(bvals.argmax())
    if 0 < bvals[worst] < SMALLEST_BVAL or bvals[worst] > LARGEST_BVAL:
        raise InputError(
            f"{row(worst)}: gradient of {float(acquisition.gradients[worst].detach().norm()):.6g} makes the "
            f"largest b-value {float(bvals[worst]):.3g} s/mm²; expected gradients in mT/m"
        )
