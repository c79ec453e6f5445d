"""Numbers as a reader wants them: few significant digits, no needless exponent."""

from __future__ import annotations

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def significant(value: float, digits: int = 3) -> str:
    """Return `value` with `digits` significant digits: 0.01234 → "0.0123", 1.2e-7 → "1.20×10⁻⁷"."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "not a number"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    if -4 <= exponent < 6:
        text = f"{rounded:.{max(0, digits - 1 - exponent)}f}"
    else:
        text = f"{rounded / 10.0**exponent:.{digits - 1}f}×10{str(exponent).translate(_SUPERSCRIPTS)}"
    return text.replace("-", "−")


def short(value: float) -> str:
    """Return an axis label: as few digits as tell `value` apart, decades as powers of ten."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    if not -3 <= exponent < 5:
        mantissa = value / 10.0**exponent
        power = f"10{str(exponent).translate(_SUPERSCRIPTS)}"
        text = power if abs(mantissa - 1) < 1e-9 else f"{mantissa:.3g}×{power}"
    else:
        text = f"{value:.5g}"
    return text.replace("-", "−")


def duration(seconds: float) -> str:
    """Return `seconds` as "8.21 s", "3 min 20 s" or "2 h 5 min"."""
    if seconds < 60:
        return f"{significant(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
