"""The derivative of signals with respect to the vertices of a cylinder, checked by moving them.

Many Laplace eigenvalues of a cylinder are double, and there eigenvectors have no derivative. The signals have
one. Returns the difference from a central difference, relative to it.
"""

import torch

import torrey

STEP = 1e-4  # µm


def main() -> float:
    mesh = torrey.mesh.cylinder(2.0, 10.0, n_rings=3, n_layers=10)
    tissue = torrey.Tissue(diffusivity=2.0)
    directions = torrey.acquisition.electrostatic_directions(6)
    acquisition = torrey.Acquisition.shells_of([1000.0, 3000.0], directions, small_delta=5.0, big_delta=20.0)
    solver = torrey.MatrixFormalism(modes=40, exact_gradient=True)

    def total(vertices: torch.Tensor) -> torch.Tensor:
        return torrey.simulate(mesh.with_vertices(vertices), tissue, acquisition, solver=solver).real.sum()

    vertices = mesh.vertices.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(vertices), vertices)

    # a swelling on one side, which breaks the symmetry
    x, y, z = mesh.vertices.unbind(1)
    swelling = torch.exp(-((z / 3) ** 2) - y / 2)[:, None] * torch.stack([x, y, torch.zeros_like(z)], dim=1)
    slope = float((gradient * swelling).sum())
    with torch.no_grad():
        ahead, behind = (total(mesh.vertices + sign * STEP * swelling) for sign in (1, -1))
    difference = float(ahead - behind) / (2 * STEP)

    error = abs(slope / difference - 1)
    print(f"gradient of {mesh.n_vertices} vertices: along the swelling {slope:.8f} µm³")
    print(f"central difference of the signals:      {difference:.8f} µm³  (relative difference {error:.1e})")
    return error


if __name__ == "__main__":
    main()
