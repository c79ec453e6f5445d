"""Philox4x32-10: random numbers that are a function of where they are used, not of what was drawn before.

Four words of a counter go through ten rounds of multiplication, each turned by two words of a key (Salmon,
Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011).
"""

from __future__ import annotations

import numpy as np

from .unrolled import kernel

_FACTORS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10

Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


@kernel
def philox(a: int, b: int, c: int, d: int, key: int, other_key: int) -> Words:
    """Return four words of 32 bits of a counter of four and a key of two."""
    w, x, y, z = np.uint64(a) & _WORD, np.uint64(b) & _WORD, np.uint64(c) & _WORD, np.uint64(d) & _WORD
    k, m = np.uint64(key) & _WORD, np.uint64(other_key) & _WORD
    for _ in range(_ROUNDS):
        first, second = _FACTORS[0] * w, _FACTORS[1] * y
        w, y = (second >> _HALF) ^ x ^ k, (first >> _HALF) ^ z ^ m
        x, z = second & _WORD, first & _WORD
        k, m = (k + _WEYL[0]) & _WORD, (m + _WEYL[1]) & _WORD
    return w, x, y, z


@kernel
def fraction(word: np.uint64) -> float:
    """Return a number in (0, 1), the middle of the one of 2³² cells that a word of 32 bits names."""
    return (float(word) + 0.5) * 2.0**-32
