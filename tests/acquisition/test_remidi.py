"""The published protocol against the settings that the paper states."""

import math

import torch

from torrey.acquisition import electrostatic_directions, remidi_protocol


def test_the_protocol_has_the_settings_of_the_paper():
    protocol = remidi_protocol()
    assert protocol.n_measurements == 1890
    delta, separation, b = protocol.small_delta, protocol.big_delta, protocol.bvals
    assert (delta == 5).all()
    assert separation.tolist() == [10.0] * 630 + [25.0] * 630 + [50.0] * 630
    torch.testing.assert_close(b[:630:30], torch.arange(0.0, 10_001.0, 500.0, dtype=torch.float64))
    # Stejskal and Tanner: b = (γGδ)²(Δ − δ/3), here with γ in rad/(s T), G in T/m, times in s
    G, d, D = protocol.gradients.norm(dim=1) * 1e-3, delta * 1e-3, separation * 1e-3
    expected = (2.6752218744e8 * G * d) ** 2 * (D - d / 3) * 1e-6
    torch.testing.assert_close(b, expected, rtol=1e-9, atol=1e-9)
    directions = electrostatic_directions(30)
    torch.testing.assert_close(protocol.bvecs[1860:], directions)
    # no two of 30 directions are nearer than a third of what an even share of the sphere would give
    cosines = (directions @ directions.T).abs() - torch.eye(30)
    assert float(cosines.max()) < math.cos(math.sqrt(2 * math.pi / 30) * 0.67)


def test_directions_and_separations_can_be_chosen():
    protocol = remidi_protocol(n_directions=15, big_delta=[100.0])
    assert protocol.n_measurements == 21 * 15
    assert protocol.big_delta.unique().tolist() == [100.0]
