"""Homogeneous polynomials and their derivatives, without loops: one long expression a degree.

With coefficients c_m of the monomials x^a y^b z^c, the entries t_m = c_m a! b! c! / L! of the symmetric
tensor make all second derivatives share their monomials of degree L − 2, weighted by multinomials w:
∂²P/∂x_i∂x_j = L (L − 1) Σ_m w_m x^m t_{m + e_i + e_j}. At degree 8 these are 28 monomials and 6 × 28
products. Loops over them take four times as long, because their lengths differ from row to row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ...meridians import AROUND
from ...polynomial import PAIRS, exponents

MAX_DEGREE = 8
"""Degrees 2, 4, 6 and 8 are compiled: what MRtrix makes; each more would lengthen compilation by seconds."""

REASSOCIATE = {"contract", "reassoc", "nsz", "arcp"}
"""Fast arithmetic that still knows NaN and infinity."""

kernel = njit(cache=True, error_model="numpy")
"""Compile a function; a division by zero gives infinity or NaN."""

_FLAGS = ("contract", "reassoc", "nsz")


class _Expressions:
    """Sums and products of values of one type, in LLVM's intermediate form."""

    def __init__(self, context: Any, builder: Any, real: Any) -> None:
        self._builder = builder
        self._type = context.get_value_type(real)

    def constant(self, value: float) -> Any:
        return self._type(value)

    def product(self, *factors: Any) -> Any:
        result = factors[0]
        for factor in factors[1:]:
            result = self._builder.fmul(result, factor, flags=_FLAGS)
        return result

    def sum(self, *terms: Any) -> Any:
        result = terms[0]
        for term in terms[1:]:
            result = self._builder.fadd(result, term, flags=_FLAGS)
        return result

    def powers(self, base: Any, highest: int) -> list[Any]:
        """Return the powers from 0 to `highest`."""
        result = [self.constant(1.0)]
        for _ in range(highest):
            result.append(self.product(result[-1], base))
        return result


def _second_derivatives_of(degree: int) -> Callable[..., Any]:
    """Return the function of coefficients and a point that gives xx, yy, zz, xy, xz, yz for one degree."""
    place = {monomial: row for row, monomial in enumerate(exponents(degree))}

    @intrinsic
    def second(typing: Any, coefficients: Any, x: Any, y: Any, z: Any) -> Any:
        real = coefficients.dtype

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            do = _Expressions(context, builder, real)
            data = context.make_array(signature.args[0])(context, builder, value=arguments[0]).data
            entries = {}
            for (a, b, c), row in place.items():
                scale = math.factorial(a) * math.factorial(b) * math.factorial(c)
                value = builder.load(cgutils.gep(builder, data, row))
                entries[a, b, c] = do.product(value, do.constant(scale / math.factorial(degree - 2)))
            powers = [do.powers(base, degree - 2) for base in arguments[1:]]
            terms: list[list[Any]] = [[] for _ in PAIRS]
            for low in exponents(degree - 2):
                weight = math.factorial(degree - 2) / math.prod(math.factorial(k) for k in low)
                monomial = do.product(do.constant(weight), *(p[k] for p, k in zip(powers, low, strict=True)))
                for pair, collected in zip(PAIRS, terms, strict=True):
                    a, b, c = (k + pair.count(axis) for axis, k in enumerate(low))
                    collected.append(do.product(monomial, entries[a, b, c]))
            sums = [do.sum(*collected) for collected in terms]
            return context.make_tuple(builder, signature.return_type, sums)

        return types.UniTuple(real, len(PAIRS))(coefficients, real, real, real), generate

    return second


def _value_of(degree: int) -> Callable[..., Any]:
    """Return the function of coefficients and a point that gives P for one degree."""

    @intrinsic
    def value(typing: Any, coefficients: Any, x: Any, y: Any, z: Any) -> Any:
        real = coefficients.dtype

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            do = _Expressions(context, builder, real)
            data = context.make_array(signature.args[0])(context, builder, value=arguments[0]).data
            px, py, pz = (do.powers(base, degree) for base in arguments[1:])
            by_power: list[list[Any]] = [[] for _ in range(degree + 1)]
            for row, (a, b, c) in enumerate(exponents(degree)):
                entry = builder.load(cgutils.gep(builder, data, row))
                by_power[a].append(do.product(entry, do.product(py[b], pz[c])))
            return do.sum(*(do.product(px[a], do.sum(*collected)) for a, collected in enumerate(by_power)))

        return real(coefficients, real, real, real), generate

    return value


def _around_of(degree: int) -> Callable[..., Any]:
    """Return the function that gives P and its derivatives in elevation and azimuth for one degree."""

    @intrinsic
    def around(
        typing: Any, coefficients: Any, table: Any, row: Any, share: Any, cosine: Any, sine: Any
    ) -> Any:
        real = coefficients.dtype

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            do = _Expressions(context, builder, real)
            arrays = zip(signature.args[:2], arguments[:2], strict=True)
            data, node = (
                context.make_array(kind)(context, builder, value=value).data for kind, value in arrays
            )
            length = degree + 1
            node = cgutils.gep(builder, node, builder.mul(arguments[2], arguments[2].type(3 * length)))
            share = arguments[3]
            rest = builder.fsub(do.constant(1.0), share)

            def read(pointer: Any, place: int) -> Any:
                return builder.load(cgutils.gep(builder, pointer, place))

            meridian = [
                do.sum(do.product(rest, read(node, j)), do.product(share, read(node, j + 3 * length)))
                for j in range(3 * length)
            ]
            px, py = (do.powers(base, degree) for base in arguments[4:])
            place = {(a, b): j for j, (a, b, _) in enumerate(exponents(degree))}
            terms: list[list[Any]] = [[] for _ in range(6)]
            for k in range(length):
                monomials = [do.product(px[k - b], py[b]) for b in range(k + 1)]
                parts = [monomials]
                for _ in range(2):
                    parts.append(_turned(do, parts[-1]))
                entries = [read(data, place[k - b, b]) for b in range(k + 1)]
                along = [do.sum(*(do.product(*pair) for pair in zip(entries, p, strict=True))) for p in parts]
                for collected, (i, j) in zip(terms, AROUND, strict=True):
                    collected.append(do.product(meridian[i * length + k], along[j]))
            sums = [do.sum(*collected) for collected in terms]
            return context.make_tuple(builder, signature.return_type, sums)

        return types.UniTuple(real, len(AROUND))(coefficients, table, types.int64, real, real, real), generate

    return around


def _turned(do: _Expressions, values: list[Any]) -> list[Any]:
    """Return d/dφ of cos^(k−b) φ sin^b φ, b = 0 … k, from these or, over again, from derivatives of these."""
    k = len(values) - 1
    turned = []
    for b in range(k + 1):
        terms = []
        if b < k:
            terms.append(do.product(do.constant(b - k), values[b + 1]))
        if b > 0:
            terms.append(do.product(do.constant(b), values[b - 1]))
        turned.append(do.sum(*terms) if terms else do.constant(0.0))
    return turned


def _turned_monomials_of(degree: int) -> Callable[..., Any]:
    """Return the function that writes u·∇(x^a y^b z^c) of each monomial of one degree."""

    @intrinsic
    def turned(typing: Any, out: Any, x: Any, y: Any, z: Any, ux: Any, uy: Any, uz: Any) -> Any:
        real = out.dtype

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            do = _Expressions(context, builder, real)
            data = context.make_array(signature.args[0])(context, builder, value=arguments[0]).data
            powers = [do.powers(base, degree) for base in arguments[1:4]]
            slopes = [
                [do.constant(0.0), *(do.product(do.constant(k), p[k - 1], u) for k in range(1, degree + 1))]
                for p, u in zip(powers, arguments[4:], strict=True)
            ]
            (px, py, pz), (sx, sy, sz) = powers, slopes
            for row, (a, b, c) in enumerate(exponents(degree)):
                across = do.sum(do.product(sy[b], pz[c]), do.product(py[b], sz[c]))
                value = do.sum(do.product(sx[a], do.product(py[b], pz[c])), do.product(px[a], across))
                builder.store(value, cgutils.gep(builder, data, row))
            return context.get_dummy_value()

        return types.void(out, *[real] * 6), generate

    return turned


_value_2, _value_4, _value_6, _value_8 = (_value_of(degree) for degree in range(2, MAX_DEGREE + 1, 2))
_second_2, _second_4, _second_6, _second_8 = (
    _second_derivatives_of(degree) for degree in range(2, MAX_DEGREE + 1, 2)
)
_around_2, _around_4, _around_6, _around_8 = (_around_of(degree) for degree in range(2, MAX_DEGREE + 1, 2))
_turned_2, _turned_4, _turned_6, _turned_8 = (
    _turned_monomials_of(degree) for degree in range(2, MAX_DEGREE + 1, 2)
)


@kernel
def value(coefficients: np.ndarray, degree: int, x: float, y: float, z: float) -> Any:
    """Return P at (x, y, z), in the type of `coefficients` (n,)."""
    real = coefficients.dtype.type
    p, q, r = real(x), real(y), real(z)
    if degree == 8:
        return _value_8(coefficients, p, q, r)
    if degree == 6:
        return _value_6(coefficients, p, q, r)
    if degree == 4:
        return _value_4(coefficients, p, q, r)
    return _value_2(coefficients, p, q, r)


@kernel
def second_derivatives(coefficients: np.ndarray, degree: int, x: float, y: float, z: float) -> Any:
    """Return xx, yy, zz, xy, xz, yz of ∇²P at (x, y, z), in the type of `coefficients` (n,)."""
    real = coefficients.dtype.type
    p, q, r = real(x), real(y), real(z)
    if degree == 8:
        return _second_8(coefficients, p, q, r)
    if degree == 6:
        return _second_6(coefficients, p, q, r)
    if degree == 4:
        return _second_4(coefficients, p, q, r)
    return _second_2(coefficients, p, q, r)


@kernel
def around(coefficients: np.ndarray, degree: int, table: np.ndarray, x: float, y: float, z: float) -> Any:
    """Return P, P_θ, P_θθ, P_φ, P_θφ, P_φφ at a unit vector; see `meridians`. In the type of `table`."""
    real = coefficients.dtype.type
    radius = math.sqrt(x * x + y * y)
    cosine, sine = (x / radius, y / radius) if radius > 0.0 else (1.0, 0.0)
    last = table.shape[0] - 1
    at = math.atan2(radius, z) * (last / math.pi)
    row = min(int(at), last - 1)
    p, q, share = real(cosine), real(sine), real(at - row)
    if degree == 8:
        return _around_8(coefficients, table, row, share, p, q)
    if degree == 6:
        return _around_6(coefficients, table, row, share, p, q)
    if degree == 4:
        return _around_4(coefficients, table, row, share, p, q)
    return _around_2(coefficients, table, row, share, p, q)


@kernel
def turned_monomials(
    out: np.ndarray, degree: int, x: float, y: float, z: float, ux: float, uy: float, uz: float
) -> None:
    """Write u·∇(x^a y^b z^c) of every monomial of `degree` to `out` (n,)."""
    real = out.dtype.type
    p, q, r, u, v, w = real(x), real(y), real(z), real(ux), real(uy), real(uz)
    if degree == 8:
        _turned_8(out, p, q, r, u, v, w)
    elif degree == 6:
        _turned_6(out, p, q, r, u, v, w)
    elif degree == 4:
        _turned_4(out, p, q, r, u, v, w)
    else:
        _turned_2(out, p, q, r, u, v, w)
