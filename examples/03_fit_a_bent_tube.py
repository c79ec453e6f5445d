"""Find a bent tube from its signal: shape, pose and how sure one can be of them.

The signal comes from a mesh with other connectivity, in a random pose, with noise. Returns the distance (µm)
between the surfaces, up to translation and point reflection, which PGSE signals do not see.
"""

import torch

import torrey

SNR = 200


def main() -> float:
    generator = torch.Generator().manual_seed(3)
    truth = bent_tube(generator)
    tissue = torrey.Tissue(diffusivity=2.0)
    directions = torrey.acquisition.electrostatic_directions(15)
    acquisition = torrey.Acquisition.shells_of(
        [0.0, 1000.0, 4000.0, 8000.0], directions, small_delta=5.0, big_delta=[10.0, 40.0]
    )
    solver = torrey.MatrixFormalism(length_scale=1.2, order=2)
    clean = torrey.simulate(truth, tissue, acquisition, solver=solver).real
    sigma = float(truth.volume) / SNR
    signal = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)

    shape = torrey.shape.Tube(n_control=4, n_radius=4, n_rings=2, n_layers=12)
    result = torrey.reconstruct(signal, acquisition, tissue, shape=shape, sigma=1 / SNR, n_starts=1)

    distance = torrey.metrics.chamfer_up_to_inversion(result.mesh, truth, n_points=5000)
    sure = result.posterior.standard_deviations
    print(f"misfit {result.misfit:.4f} of S(0), noise {1 / SNR:.4f}; {result.seconds:.1f} s")
    print(f"volume {float(result.mesh.volume):.1f} µm³, truth {float(truth.volume):.1f} µm³")
    print(f"{int((sure < 0.1).sum())} of {len(sure)} directions of change are known to 0.1 µm")
    print(f"distance between the surfaces {distance:.3f} µm")
    return distance


def bent_tube(generator: torch.Generator) -> torrey.TetMesh:
    """Return a bow of radius 2 µm and length about 13 µm, turned at random."""
    tube = torrey.shape.Tube(n_control=4, n_radius=4, n_rings=3, n_layers=17)
    latent = tube.straight(length=12.0, radius=2.0)
    control, _ = tube.split(latent)
    control[1:3, 0] += 3.0  # µm, the two middle control points of the centreline
    mesh = tube.mesh(latent)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    turn[:, 0] *= torch.linalg.det(turn).sign()
    return mesh.with_vertices(mesh.vertices @ turn.T)


if __name__ == "__main__":
    main()
