"""One thread for many small matrix products."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """Return a context in which NumPy's and SciPy's BLAS take one thread.

    Products of a few columns gain nothing from a second one, and its waiting for the next product takes the
    processor from PyTorch's threads: on two cores an eigen-solve of 1 000 nodes took 270 ms instead of 100.
    """
    limited: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limited
