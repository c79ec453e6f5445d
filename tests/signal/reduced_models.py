"""Random reduced models, and their signals by matrix exponentials of the whole sequence."""

import torch

from torrey.fem.reduced import ReducedModel


def random_model(n=12, *, seed=0, repeats=True):
    """Return symmetric matrices as of a shape 4 µm wide; `repeats` makes rates and axes degenerate."""
    g = torch.Generator().manual_seed(seed)
    rates = torch.cat([torch.zeros(1), 4 * torch.rand(n - 1, generator=g).sort().values]).double()
    J = torch.randn(3, n, n, generator=g, dtype=torch.float64) * 2 / n**0.5
    J = (J + J.mT) / 2
    if repeats:
        rates[3], rates[5:8] = rates[2], rates[5]
        J[0] = torch.diag(torch.tensor([1.0, -1.0]).double().repeat(n // 2))  # two positions only
        J[1] = 0
    start = torch.zeros(n).double()
    start[:3] = torch.tensor([5.0, 0.5, -0.3])
    return ReducedModel(torch.diag(rates), J, start)


def exponential_signal(model, wave_vectors, small_delta, big_delta):
    """νᵀ exp(−δ(Λ − iqA)) exp(−(Δ − δ)Λ) exp(−δ(Λ + iqA)) ν, differentiable."""
    rates, J, start = (t.to(torch.complex128) for t in model)
    signals = []
    for q, delta, separation in zip(wave_vectors, small_delta, big_delta, strict=True):
        qA = 1j * torch.einsum("c,cij->ij", q.to(J.dtype), J)
        first = torch.linalg.matrix_exp(-delta * (rates + qA)) @ start
        rest = torch.linalg.matrix_exp(-(separation - delta) * rates) @ first
        signals.append(start @ (torch.linalg.matrix_exp(-delta * (rates - qA)) @ rest))
    return torch.stack(signals)


def mixed_protocol(*, strongest=0.8):
    """Return q (N, 3), δ, Δ (N,): b = 0, axes, opposites, shared and lone directions, three δ, many Δ."""
    g = torch.Generator().manual_seed(5)
    u = torch.nn.functional.normalize(torch.randn(5, 3, generator=g, dtype=torch.float64), dim=1)
    eye = torch.eye(3).double()
    rows = [
        0 * eye[0],
        eye[0],
        eye[1],
        eye[2],
        -eye[2],
        *u,
        -u[0],
        0.4 * u[0],
        0.1 * u[1],
        0 * eye[1],
        -0.7 * eye[0],
    ]
    q = strongest * torch.stack(rows)
    delta = torch.tensor([5.0, 2.5, 5.0, 5.0, 5.0, 2.5, 2.5, 5.0, 5.0, 1.0, 2.5, 2.5, 2.5, 7.0, 2.5]).double()
    separation = torch.tensor([10.0, 10, 25, 50, 50, 10, 4, 5, 25, 1, 10, 30, 4, 20, 2.5]).double()
    return q, delta, separation
