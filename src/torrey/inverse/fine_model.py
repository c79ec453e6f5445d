"""The discretisation that a reconstruction believes."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from ..signal import MatrixFormalism

_FINEST, _ALL = 1e-3, 10**9
"""A length scale, µm, that lets every mode in, and a number of modes that no mesh has."""

_LATENT = 5e-6
"""What the latent of a learned shape leaves of S(0) at the shape nearest to the true one."""


@dataclass(frozen=True)
class FineModel:
    """Elements and modes of the final prediction, whose difference from the cheaper ones corrects the fit.

    Attributes
    ----------
    order : {1, 2}
        Of the finite elements.
    length_scale : float
        µm; modes with λ ≤ D̄(π/ℓ)² are kept,
    most_modes : int
        but at most this many.
    floor : float
        Error over S(0) that it is never believed to beat.
    corrections : int
        At most so often is the fit corrected by it.
    """

    order: int
    length_scale: float
    most_modes: int
    floor: float
    corrections: int

    @classmethod
    def of(cls, solver: MatrixFormalism) -> FineModel:
        """Return what `solver` does on a mesh, taken to be what made the signals.

        Raises
        ------
        InputError
            When its cut is a tolerance, which is another number of modes at every iterate.
        """
        if solver.modes is None and solver.length_scale is None:
            raise InputError(
                "solver: expected MatrixFormalism with modes or length_scale, for a fixed number of modes"
            )
        most = _ALL if solver.modes is None else int(solver.modes)
        length_scale = _FINEST if solver.length_scale is None else solver.length_scale
        return cls(solver.order, length_scale, most, _LATENT, 6)

    @property
    def settings(self) -> dict[str, float | int | None]:
        """What describes it in a result."""
        return {
            "element_order": self.order,
            "length_scale": None if self.length_scale == _FINEST else self.length_scale,
            "modes": None if self.most_modes == _ALL else self.most_modes,
        }
