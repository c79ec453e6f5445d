"""Lowest Laplace modes of a mesh, S φ = λ M φ with reflecting walls, cut at a spectral gap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse import csc_array

from ..errors import ConvergenceError, InputError
from .blas_threads import one_blas_thread
from .block_lanczos import BlockLanczos
from .factorise import factorise

DENSE_BELOW = 400
"""Nodes up to which a dense eigen-solve is quicker for a few modes; for 130 modes up to twice as many, and so
on (`benchmarks/scaling.py`)."""

_MOST_OF = 6
"""Of a mesh that is small enough for a dense solve, from a sixth of its modes on all of them, by divide and
conquer, are sooner found than a part."""

SPLIT_MULTIPLET = 1e-3
"""Relative distance under which neighbouring eigenvalues are one multiplet, which the cut must not split."""


@dataclass(frozen=True, eq=False)
class Eigenmodes:
    """The lowest modes of a mesh and a few more.

    Attributes
    ----------
    values : (n + p,) ndarray
        Eigenvalues λ, 1/ms, ascending; the first is 0.
    vectors : (nodes, n + p) ndarray
        M-orthonormal eigenvectors, µm^(-3/2).
    n_modes : int
        How many are kept, n; the p others lie above the cut and serve its check and exact derivatives.
    stiffness, mass : (nodes, nodes) csc_array
        S and M.
    solve : callable
        Applies (S − σM)⁻¹ to (nodes,) or (nodes, k).
    """

    values: np.ndarray
    vectors: np.ndarray
    n_modes: int
    stiffness: csc_array
    mass: csc_array
    solve: Callable[[np.ndarray], np.ndarray]

    @property
    def complete(self) -> bool:
        """Whether every mode of the space is kept."""
        return self.n_modes == int(self.mass.shape[0])

    @property
    def next_value(self) -> float:
        """The first eigenvalue above the cut, 1/ms; infinite where the basis is complete."""
        return float(self.values[self.n_modes]) if len(self.values) > self.n_modes else math.inf


class Spectrum:
    """The eigenproblem S φ = λ M φ of one mesh, solved as far up as is asked for.

    It is factorised once, where it must be, and asking for more modes continues the block Lanczos method
    where it ended. Small meshes are solved densely, and all their modes at once where many are wanted.

    Parameters
    ----------
    stiffness, mass : (nodes, nodes) csc_array
        S (µm³/ms) and M (µm³), symmetric.
    diffusivity : float, optional
        Its order of magnitude, µm²/ms, from which the shift is chosen; read off S where not given, which must
        then hold nothing but diffusion.
    volume : float, optional
        Of the shape, µm³, from which the shift is chosen too; the sum of M where not given, which must then
        have unit spin density.
    """

    def __init__(
        self,
        stiffness: csc_array,
        mass: csc_array,
        *,
        diffusivity: float | None = None,
        volume: float | None = None,
    ) -> None:
        self._stiffness, self._mass = stiffness, mass
        self._diffusivity = _mean_diffusivity(stiffness, mass) if diffusivity is None else diffusivity
        self._volume = float(mass.sum()) if volume is None else volume
        # a rate well below the order of magnitude of the first non-zero eigenvalue
        self._shift = -0.1 * self._diffusivity * math.pi**2 / self._volume ** (2 / 3)

    @cached_property
    def _factor(self) -> Callable[[np.ndarray], np.ndarray]:
        return factorise(csc_array(self._stiffness - self._shift * self._mass))

    def _solve(self, right: np.ndarray) -> np.ndarray:
        return self._factor(right)

    @cached_property
    def _lanczos(self) -> BlockLanczos:
        return BlockLanczos(self._mass, self._solve, shift=self._shift)

    @cached_property
    def _whole(self) -> _Whole:
        return _Whole.of(self._stiffness, self._mass)

    def lowest(self, *, count: int | None = None, below: float | None = None) -> Eigenmodes:
        """Compute the lowest modes, cut where no multiplet is split.

        Parameters
        ----------
        count : int, optional
            Keep this many modes, and as many more as complete a multiplet (`SPLIT_MULTIPLET`).
        below : float, optional
            Keep every mode with λ ≤ `below`, 1/ms; the multiplet at the cut is completed likewise.

        Raises
        ------
        InputError
            Unless exactly one of `count` and `below` is given, and positive.
        """
        if (count is None) == (below is None):
            raise InputError("modes: give either a count or an eigenvalue limit")
        if count is not None and count < 1:
            raise InputError(f"modes: expected a positive count, got {count}")
        n_nodes = int(self._mass.shape[0])
        guess = count or self._guess_below(below or 0.0)
        while True:
            guess = min(n_nodes, guess)
            wanted = min(n_nodes, guess + 6 + guess // 32)
            with one_blas_thread():
                values, vectors = self._pairs(wanted)
            least = count or int(np.searchsorted(values, below or 0.0, side="right"))
            keep = _cut_at_gap(values, min(least, n_nodes), n_nodes)
            if keep is not None:
                return Eigenmodes(values, vectors, keep, self._stiffness, self._mass, self._solve)
            # what the space has seen of the modes below is sooner right than another guess
            known = 0 if below is None else self._known_below(below)
            guess = known if known > wanted else int(1.4 * guess) + 8

    def completed(self, modes: Eigenmodes) -> Eigenmodes:
        """Return `modes` of this mesh with all others above their cut, where a dense solve can find them.

        Changes out of the span of the kept ones need no iteration then. Of a larger mesh return `modes`.
        """
        n_nodes = int(self._mass.shape[0])
        if n_nodes > 2 * DENSE_BELOW or modes.complete:
            return modes
        with one_blas_thread():
            values, vectors = self._whole.lowest(n_nodes)
        n = modes.n_modes
        return replace(
            modes,
            values=np.concatenate([modes.values[:n], values[n:]]),
            vectors=np.concatenate([modes.vectors[:, :n], vectors[:, n:]], axis=1),
        )

    def _guess_below(self, below: float) -> int:
        # a coarse mesh has fewer than Weyl's law says, and to ask once more costs little
        return self._known_below(below) or _weyl_count(self._volume, below / self._diffusivity)

    def _known_below(self, below: float) -> int:
        """Return how many modes are known to lie below, of what was solved before."""
        solved = vars(self)
        if "_whole" in solved:
            return int((self._whole.values < below).sum())
        return self._lanczos.at_least_below(below) if "_lanczos" in solved else 0

    def _pairs(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        n_nodes = int(self._mass.shape[0])
        small = n_nodes <= DENSE_BELOW * (1 + count / 130)
        if (_MOST_OF if small else 3) * count > n_nodes:
            values, vectors = self._whole.lowest(count)
        elif small:
            S, M = self._stiffness.toarray(), self._mass.toarray()
            values, vectors = eigh(S, M, subset_by_index=(0, count - 1))
        else:
            values, vectors = self._lanczos.lowest(count)
        if not np.isfinite(values).all():
            raise ConvergenceError("modes: the eigen-solve gave values that are not finite")
        return np.maximum(values, 0.0), np.ascontiguousarray(vectors)


@dataclass(frozen=True, eq=False)
class _Whole:
    """All `values` (m,) of a dense eigenproblem, and vectors (m, m) of L⁻¹SL⁻ᵀ with M = LLᵀ.

    In torch, whose LAPACK is quicker by a quarter than SciPy's.
    """

    values: np.ndarray
    factor: torch.Tensor
    rotated: torch.Tensor

    @classmethod
    def of(cls, stiffness: csc_array, mass: csc_array) -> _Whole:
        S, L = torch.from_numpy(stiffness.toarray()), torch.linalg.cholesky(torch.from_numpy(mass.toarray()))
        half = torch.linalg.solve_triangular(L, S, upper=False)
        values, rotated = torch.linalg.eigh(torch.linalg.solve_triangular(L, half.mT, upper=False))
        return cls(values.numpy(), L, rotated)

    def lowest(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        vectors = torch.linalg.solve_triangular(self.factor.mT, self.rotated[:, :count], upper=True)
        return self.values[:count], vectors.numpy()


def lowest_modes(
    stiffness: csc_array, mass: csc_array, *, count: int | None = None, below: float | None = None
) -> Eigenmodes:
    """Compute the lowest modes of S (µm³/ms) and M (µm³) of diffusion alone; see `Spectrum`."""
    return Spectrum(stiffness, mass).lowest(count=count, below=below)


def _cut_at_gap(values: np.ndarray, keep: int, n_nodes: int) -> int | None:
    """Return the first cut ≥ `keep` that splits no multiplet, or None where `values` end before it."""
    for cut in range(max(keep, 1), len(values)):
        if values[cut] - values[cut - 1] > SPLIT_MULTIPLET * values[cut]:
            return cut
    return n_nodes if len(values) == n_nodes else None


def _mean_diffusivity(stiffness: csc_array, mass: csc_array) -> float:
    # tr S / tr M scales as D h⁻²; the exact value does not matter for a shift
    cell = float(mass.sum()) / mass.shape[0]
    return float(stiffness.diagonal().sum() / mass.diagonal().sum() * cell ** (2 / 3) / 10)


def _weyl_count(volume: float, squared_wave_number: float) -> int:
    """Guess how many modes have λ/D below that (µm⁻²), from Weyl's law with a generous surface term."""
    wave_number = math.sqrt(squared_wave_number)
    bulk = volume * wave_number**3 / (6 * math.pi**2)
    surface = 6 * volume ** (2 / 3) * wave_number**2 / (16 * math.pi)
    return max(8, int(bulk + surface) + 1)
