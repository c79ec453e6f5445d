"""`SDStream`: follow the peak of a fibre orientation distribution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ...errors import InputError
from ..fields import SHField
from ..grid import Grid
from ..interpolation import interpolate, support
from ..meridians import ELEVATIONS
from ..peaks import Ascent, find_peaks
from ..polynomial import from_harmonics
from ..regions import Region
from .rules import Heading


@dataclass(frozen=True)
class SDStream:
    """Go along the peak of the interpolated orientation distribution that is nearest to the last direction.

    What MRtrix calls SD_STREAM: harmonics are interpolated trilinearly, and the peak is found by ascent from
    the last direction (Tournier et al., Int. J. Imaging Syst. Technol. 2012). The cutoff is an amplitude.

    Parameters
    ----------
    sharpen : bool
        Whether to go to the peak itself. MRtrix stops within some 1e-4 rad of it, and ends a streamline where
        a peak is so elongated that its ascent does not converge in 50 steps: about one in eight in the
        FiberCup phantom. Gradients are those of the peak itself, in both cases.
    elevations : int
        MRtrix interpolates Legendre functions linearly between 512 elevations, which decides where a slow
        ascent ends. The error falls as the square of their number: 2**14 are its `-noprecomputed`, to
        rounding in float32. Without effect where `sharpen` is set.
    """

    sharpen: bool = False
    elevations: int = ELEVATIONS

    def __post_init__(self) -> None:
        if self.elevations < 2:
            raise InputError(f"elevations is {self.elevations}; expected 2 or more")

    def rule(self, field: object) -> PeakRule:
        """Return the rule for an `SHField`."""
        if not isinstance(field, SHField):
            raise InputError(f"field is a {type(field).__name__}; expected an SHField for SDStream")
        polynomials = from_harmonics(field.coefficients.flatten(0, 2), field.degree)
        return PeakRule(field.grid, polynomials, field.degree, Ascent(self.sharpen, self.elevations))


@dataclass(frozen=True, eq=False)
class PeakRule:
    """Peaks of the polynomials `image` (V, N) of one degree."""

    grid: Grid
    image: Tensor
    degree: int
    ascent: Ascent

    @cached_property
    def support(self) -> Region:
        """Where the field is known."""
        return support(self.image, self.grid)

    def heading(self, image: Tensor, points: Tensor, references: Tensor) -> Heading:
        """Return the peaks nearest to `references`."""
        polynomials = interpolate(image, self.grid, points)
        return Heading(*find_peaks(polynomials, references, self.degree, self.ascent))
