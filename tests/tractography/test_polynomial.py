"""Polynomials against harmonics, a closed form, and automatic derivatives."""

import math

import pytest
import torch

from torrey.tractography.harmonics import harmonics, n_coefficients
from torrey.tractography.polynomial import (
    exponents,
    first_derivatives,
    from_harmonics,
    monomials,
    second_derivatives,
)


def directions():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(50, 3, dtype=torch.float64, generator=generator)
    vectors[0], vectors[1] = torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 0, -1])
    return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("degree", [2, 4, 6, 8, 12])
def test_the_same_function_as_the_harmonics(degree):
    series = torch.eye(n_coefficients(degree), dtype=torch.float64)
    found = monomials(directions(), degree) @ from_harmonics(series, degree).T
    torch.testing.assert_close(found, harmonics(directions(), degree), atol=1e-12, rtol=0)


def test_the_constant_is_a_power_of_the_radius():
    constant = torch.zeros(15, dtype=torch.float64)
    constant[0] = 2 * math.sqrt(math.pi)
    # (x² + y² + z²)² has 1 at fourth powers and 2 at products of squares
    expected = [{4: 1.0, 2: 2.0}.get(max(m), 0.0) * all(k % 2 == 0 for k in m) for m in exponents(4)]
    torch.testing.assert_close(from_harmonics(constant, 4).tolist(), expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("degree", [2, 8])
def test_derivatives(degree):
    generator = torch.Generator().manual_seed(1)
    coefficients = torch.randn(n_coefficients(degree), dtype=torch.float64, generator=generator)
    x = directions()[2]

    def value(u):
        return monomials(u[None], degree)[0] @ coefficients

    gradient = first_derivatives(x[None], degree)[0] @ coefficients
    torch.testing.assert_close(gradient, torch.func.grad(value)(x), atol=1e-11, rtol=0)
    six = second_derivatives(coefficients[None], degree)[0] @ monomials(x[None], degree - 2)[0]
    hessian = torch.func.hessian(value)(x)
    rows, columns = torch.tensor([0, 1, 2, 0, 0, 1]), torch.tensor([0, 1, 2, 1, 2, 2])
    torch.testing.assert_close(six, hessian[rows, columns], atol=1e-10, rtol=0)
