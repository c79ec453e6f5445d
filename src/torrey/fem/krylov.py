r"""Bases that resolve how one block of node vectors decays, without eigenmodes of the whole shape.

The space spanned by W, KW, K²W, … with K = (S + pM)⁻¹M holds the decays e^{−tM⁻¹S}W about as well as the best
rational function with its one pole at −p does, whatever the mesh: some ten solves give eight digits for times
about 1/p. A form wᵀM e^{−tM⁻¹S} w' of two vectors of the block is better still, as the errors of both sides
multiply, and so is its derivative with the basis held fixed.

Van den Eshof and Hochbruck, SIAM J. Sci. Comput. 27, 1438 (2006); Moret and Novati, BIT 44, 595 (2004).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csc_array

from .blas_threads import one_blas_thread
from .eigenmodes import Eigenmodes
from .factorise import factorise

_DEPENDENT = 1e-10
"""Length that is left of a vector of length one, beside the basis, under which it counts as inside."""


def krylov_modes(
    stiffness: csc_array, mass: csc_array, block: np.ndarray, *, pole: float
) -> Iterator[Eigenmodes]:
    """Yield Ritz pairs of growing spaces: that of `block`, and what one more solve each adds.

    They stand for eigenmodes wherever only the span counts: M-orthonormal, S-diagonal, all kept. The
    iteration ends when the space no longer grows, and then holds the decays of `block` exactly.

    Parameters
    ----------
    stiffness, mass : (nodes, nodes) csc_array
        S and M.
    block : (nodes, k) ndarray
        W.
    pole : float
        p, 1/ms, positive.
    """
    solve = factorise(csc_array(stiffness + pole * mass))
    basis = np.zeros((mass.shape[0], 0))
    energy = np.zeros((0, 0))
    while True:
        with one_blas_thread():
            block = _orthonormal(block, basis, mass)
            if block.shape[1] == 0:
                return
            image = stiffness @ block
            across = basis.T @ image
            energy = np.block([[energy, across], [across.T, block.T @ image]])
            basis = np.concatenate([basis, block], axis=1)
            values, rotation = np.linalg.eigh((energy + energy.T) / 2)
            vectors = basis @ rotation
        yield Eigenmodes(np.maximum(values, 0.0), vectors, len(values), stiffness, mass, solve)
        block = solve(mass @ block)


def _orthonormal(block: np.ndarray, basis: np.ndarray, mass: csc_array) -> np.ndarray:
    """Return an M-orthonormal basis of what `block` adds to the span of `basis`."""
    block = block / np.sqrt(np.einsum("ij,ij->j", block, mass @ block))
    # the second time removes what rounding left of the first
    for _ in range(2):
        block = block - basis @ (basis.T @ (mass @ block))
        squares, rotation = np.linalg.eigh(block.T @ (mass @ block))
        new = squares > _DEPENDENT**2
        block = block @ (rotation[:, new] / np.sqrt(squares[new]))
    return block
