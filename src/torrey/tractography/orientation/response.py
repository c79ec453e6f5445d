"""The response function: the signal of one fibre population along z, as zonal harmonics of even degree.

Coefficient l/2 multiplies Y_l0, as in MRtrix's text files of one row.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from ...errors import FileError
from ...text_files import PathLike
from .gradient_files import read_rows


def read_response(path: PathLike) -> Tensor:
    """Read a response (K,) of one shell, as `dwi2response` writes it.

    Raises
    ------
    FileError
        When the file is missing, holds more than one row (several shells), or a mean that is not positive.
    """
    rows = read_rows(path, "response")
    if len(rows) != 1:
        raise FileError(f"{path}: {len(rows)} rows, of as many shells; expected the row of the shell in use")
    if float(rows[0][0]) <= 0:
        raise FileError(f"{path}: first coefficient is {float(rows[0][0]):g}; expected a positive one")
    return rows[0]


def write_response(path: PathLike, response: Tensor, *, bval: float) -> None:
    """Write a response (K,) as MRtrix reads it.

    Raises
    ------
    FileError
        When the file cannot be written.
    """
    row = " ".join(f"{value:.15g}" for value in response.detach().tolist())
    try:
        Path(path).write_text(f"# Shells: {bval:.0f}\n{row}\n", encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from error


def rotational_harmonics(response: Tensor, degree: int) -> Tensor:
    """Return r_l / √((2l + 1)/4π), l = 0, 2, … `degree`: what the degrees of an FOD are multiplied by.

    The divisor is Y_l0 of a fibre along z alone. Degrees that `response` (K,) does not hold give zero
    (Tournier et al., NeuroImage 23, 1176 (2004), eq. 4).
    """
    n = degree // 2 + 1
    padded = torch.cat([response[:n], response.new_zeros(max(n - len(response), 0))])
    delta = [math.sqrt((2 * l + 1) / (4 * math.pi)) for l in range(0, degree + 1, 2)]
    return padded / response.new_tensor(delta)


def per_coefficient(per_degree: Tensor) -> Tensor:
    """Repeat a value for each even degree 2l + 1 times, once for each coefficient."""
    counts = 4 * torch.arange(len(per_degree), device=per_degree.device) + 1
    return per_degree.repeat_interleave(counts)
