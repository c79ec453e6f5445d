"""Spherical harmonics against SciPy's, orthonormality, and derivatives at the poles."""

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from torrey.errors import InputError
from torrey.tractography import degree_of, harmonics, n_coefficients


def random_directions(n, seed=0):
    vectors = torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_equal_to_scipys_complex_harmonics():
    directions = random_directions(40)
    polar, azimuth = directions[:, 2].arccos(), directions[:, 1].atan2(directions[:, 0])
    values = harmonics(directions, 8)
    for degree in range(0, 9, 2):
        for order in range(-degree, degree + 1):
            theirs = sph_harm_y(degree, abs(order), polar.numpy(), azimuth.numpy())  # holds the phase (−1)^m
            real = theirs.real if order >= 0 else theirs.imag
            expected = real * (math.sqrt(2) if order else 1.0)
            ours = values[:, degree * (degree + 1) // 2 + order]
            np.testing.assert_allclose(ours, expected, atol=1e-13)


def test_a_pole_has_derivatives():
    pole = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: harmonics(d, 8), pole)


@pytest.mark.parametrize("degree", [0, 2, 4, 8, 12])
def test_counts(degree):
    assert degree_of(n_coefficients(degree)) == degree


@pytest.mark.parametrize("count", [0, 2, 3, 10, 44])
def test_a_count_of_no_even_degree_is_told(count):
    with pytest.raises(InputError, match=f"{count} spherical-harmonic coefficients"):
        degree_of(count)
