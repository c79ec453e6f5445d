"""The published problem size, solved as published and by Torrey, in one run.

A prism of radius 3 µm and height 9 µm with 323 vertices; 1 890 measurements (δ 5 ms; Δ 10, 25, 50 ms; 30
directions; b 0, 500 … 10 000 s/mm²); modes up to a length scale of 1 µm; signals and their gradient in all
vertices.

As published (ReMiDi, arXiv 2502.01988), written plainly: dense mass, stiffness and moments; the generalised
eigenproblem through `torch.linalg.cholesky` and `eigh` under autograd; one `torch.matrix_exp` a pulse in a
loop over measurements; backward to the vertices. Its derivative divides by gaps between eigenvalues, so the
prism is roughened by 0.03 µm to make them simple; both sides get that mesh.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor

import torrey
from common import Report, best_of, timed
from torrey.acquisition import electrostatic_directions
from torrey.mesh import cylinder
from torrey.signal import MatrixFormalism

D = 2.0
LENGTH_SCALE = 1.0
LONGEST = 180.0
"""Seconds above which the published approach is timed on a part of the measurements."""


def prism() -> torrey.TetMesh:
    mesh = cylinder(3.0, 9.0, n_rings=2, n_layers=16)
    noise = torch.randn(mesh.vertices.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return mesh.with_vertices(mesh.vertices + 0.03 * noise)


def protocol() -> torrey.Acquisition:
    bvals = torch.arange(0.0, 10_001.0, 500.0)
    return torrey.Acquisition.shells_of(
        bvals, electrostatic_directions(30), small_delta=5.0, big_delta=[10.0, 25.0, 50.0]
    )


def dense_matrices(vertices: Tensor, tets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """P1 mass, stiffness and first moments as dense matrices, by autograd-friendly indexing."""
    x = vertices[tets]
    edges = x[:, 1:] - x[:, :1]
    volume = torch.linalg.det(edges) / 6
    gradients = torch.linalg.inv(edges)
    gradients = torch.cat([-gradients.sum(2, keepdim=True), gradients], dim=2)
    V = len(vertices)
    rows = (tets[:, :, None] * V + tets[:, None, :]).flatten()

    def scatter(local: Tensor) -> Tensor:
        return torch.zeros(V * V, dtype=torch.float64).index_add(0, rows, local.flatten()).view(V, V)

    eye = torch.eye(4, dtype=torch.float64)
    mass = scatter(volume[:, None, None] / 20 * (1 + eye))
    stiffness = scatter(D * volume[:, None, None] * (gradients.mT @ gradients))
    # ∫λ_c φ_i φ_j = v/120 (1 + δ_ij + δ_ic + δ_jc + 2 δ_ijc)
    equal = eye[:, :, None] + eye[:, None, :] + eye[None]
    table = (1 + equal + 2 * (equal == 3)) / 120
    local = torch.einsum("t,tcu,cij->utij", volume, x, table)
    return mass, stiffness, torch.stack([scatter(m) for m in local])


def published_model(vertices: Tensor, tets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mass, stiffness, moments = dense_matrices(vertices, tets)
    L = torch.linalg.cholesky(mass)
    inverse = torch.linalg.inv(L)
    values, vectors = torch.linalg.eigh(inverse @ stiffness @ inverse.mT)
    keep = values.detach() <= D * (math.pi / LENGTH_SCALE) ** 2
    modes = inverse.mT @ vectors[:, keep]
    return values[keep], modes.mT @ moments @ modes, modes.mT @ mass.sum(1)


def published_signals(model: tuple[Tensor, Tensor, Tensor], acquisition: torrey.Acquisition) -> Tensor:
    rates, moments, start = model
    signals = []
    for q, delta, separation in zip(
        acquisition.wave_vectors, acquisition.small_delta, acquisition.big_delta, strict=True
    ):
        generator = torch.diag(rates).to(torch.complex128) + 1j * torch.einsum("c,cij->ij", q, moments)
        pulse = torch.matrix_exp(-delta * generator)
        state = torch.exp(-(separation - delta) * rates) * (pulse @ start.to(pulse.dtype))
        back = torch.matrix_exp(-delta * generator.conj())
        signals.append((start * (back @ state)).sum().real)
    return torch.stack(signals)


def published(
    mesh: torrey.TetMesh, acquisition: torrey.Acquisition, weights: Tensor
) -> tuple[Tensor, Tensor]:
    vertices = mesh.vertices.clone().requires_grad_()
    centred = vertices - mesh.vertices.mean(0)
    signal = published_signals(published_model(centred, mesh.tets), acquisition)
    (weights * signal).sum().backward()
    return signal.detach(), vertices.grad


def ours(
    mesh: torrey.TetMesh, acquisition: torrey.Acquisition, weights: Tensor, *, exact: bool
) -> tuple[Tensor, Tensor]:
    vertices = mesh.vertices.clone().requires_grad_()
    solver = MatrixFormalism(length_scale=LENGTH_SCALE, exact_gradient=exact)
    signal = torrey.simulate(
        mesh.with_vertices(vertices), torrey.Tissue(diffusivity=D), acquisition, solver=solver
    ).real
    (weights * signal).sum().backward()
    return signal.detach(), vertices.grad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--part", type=int, default=0, help="time the published approach on so many measurements"
    )
    part = parser.parse_args().part
    report = Report("paper_size")
    mesh, acquisition = prism(), protocol()
    N = acquisition.n_measurements
    weights = torch.rand(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    n_modes = len(published_model(mesh.vertices, mesh.tets)[0])
    report(f"{mesh.n_vertices} vertices, {mesh.n_tets} tets, {n_modes} modes, {N} measurements")

    ours(mesh, acquisition, weights, exact=False)  # libraries load
    (signal, gradient), fixed_time = best_of(5, lambda: ours(mesh, acquisition, weights, exact=False))
    (_, exact_gradient), exact_time = best_of(5, lambda: ours(mesh, acquisition, weights, exact=True))

    sample = torch.linspace(0, N - 1, 30).long()
    _, trial = timed(lambda: published(mesh, acquisition.subset(sample), weights[sample]))
    expected = trial * N / 30
    if part == 0 and expected > LONGEST:
        part = int(N * LONGEST / expected)
    rows = torch.linspace(0, N - 1, part).long() if part else torch.arange(N)
    (reference, reference_gradient), published_time = timed(
        lambda: published(mesh, acquisition.subset(rows), weights[rows])
    )
    if part:
        _, model_time = timed(lambda: published(mesh, acquisition.subset(rows[:1]), weights[:1]))
        report(f"published approach: {part} measurements took {published_time:.1f} s; extrapolated to {N}")
        published_time = model_time + (published_time - model_time) * N / part
    report(f"published, signals and gradient                {published_time:9.2f} s")
    for name, seconds in (("fixed-basis", fixed_time), ("exact", exact_time)):
        ours_line = f"torrey, signals and {name} gradient"
        report(f"{ours_line:46s} {seconds:9.3f} s   {published_time / seconds:6.0f} ×")
    volume = float(mesh.volume)
    difference = float((signal[rows] - reference).abs().max()) / volume
    report(f"{'largest difference of signals over S(0)':46s} {difference:9.1e}")
    if part:
        (_, gradient), (_, exact_gradient) = (
            ours(mesh, acquisition.subset(rows), weights[rows], exact=exact) for exact in (False, True)
        )
    for name, ours_gradient in (("fixed-basis", gradient), ("exact", exact_gradient)):
        difference = float((ours_gradient - reference_gradient).norm() / reference_gradient.norm())
        cosine = float(
            torch.nn.functional.cosine_similarity(ours_gradient.ravel(), reference_gradient.ravel(), dim=0)
        )
        report(f"{name + ' gradient: relative difference, cosine':46s} {difference:9.1e}   {cosine:.6f}")
    report.write()


if __name__ == "__main__":
    main()
