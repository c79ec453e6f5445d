"""Values and derivatives in elevation and azimuth against harmonics, between the entries of a table too."""

import math

import pytest
import torch

from torrey.tractography import harmonics
from torrey.tractography.meridians import around, elevation_table
from torrey.tractography.polynomial import from_harmonics


def at(theta, phi):
    return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1)


@pytest.mark.parametrize("degree", [2, 4, 8])
def test_a_coarse_table_is_linear_between_exact_derivatives(degree):
    generator = torch.Generator().manual_seed(degree)
    n = (degree + 1) * (degree + 2) // 2
    coefficients = torch.randn(20, n, dtype=torch.float64, generator=generator)
    theta, phi = math.pi * torch.rand(2, 20, dtype=torch.float64, generator=generator)
    found = around(from_harmonics(coefficients, degree), at(theta, phi), degree, elevation_table(degree, 8))

    def exact(angle):
        def value(t, p):
            return (coefficients * harmonics(at(t, p), degree)).sum()

        value_there = (coefficients * harmonics(at(angle, phi), degree)).sum(1)
        slopes = torch.autograd.functional.jacobian(value, (angle, phi))
        curves = torch.autograd.functional.hessian(value, (angle, phi))
        tt, tp, pp = (curves[i][j].diagonal() for i, j in ((0, 0), (0, 1), (1, 1)))
        return torch.stack([value_there, slopes[0], tt, slopes[1], tp, pp], 1)

    spacing = math.pi / 7
    lower = (theta / spacing).floor() * spacing
    share = ((theta - lower) / spacing)[:, None]
    expected = (1 - share) * exact(lower) + share * exact(lower + spacing)
    # rounding, in sums of up to 45 terms with factors of up to 8² in the second derivatives
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
