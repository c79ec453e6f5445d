"""Nothing is detached: each input of `propagate` gets its derivative, by every algorithm and method."""

import pytest
import torch
from fibre_phantom import fibre_signals, protocol, response
from fields_of_known_flow import affine_of

from torrey.tractography import (
    DiffusionField,
    Euler,
    RungeKutta,
    SDStream,
    SHField,
    TensorDet,
    propagate,
)
from torrey.tractography.orientation import deconvolve

SIZE = 5
TABLE = protocol(30)
AFFINE = affine_of(2.0)
SHARP, MRTRIX = SDStream(sharpen=True), SDStream()


def fibres():
    """Unit vectors (5, 5, 5, 3) that turn by 20° a voxel, away from every axis of the image."""
    x, y, z = torch.meshgrid(*[torch.arange(SIZE, dtype=torch.float64)] * 3, indexing="ij")
    turned = torch.stack([torch.ones_like(x), 0.35 * y - 0.1 * z, 0.3 + 0.25 * x], -1)
    return turned / turned.norm(dim=-1, keepdim=True)


SIGNALS = fibre_signals(TABLE, fibres().reshape(-1, 1, 3)).reshape(SIZE, SIZE, SIZE, -1)
TENSORS = 1.4e-3 * fibres()[..., :, None] * fibres()[..., None, :] + 0.3e-3 * torch.eye(3).double()


def of_harmonics(coefficients):
    return SHField(coefficients, AFFINE)


def of_signals(signals):
    return SHField(deconvolve(signals, TABLE, response(3), degree=4), AFFINE)


def of_response(kernel):
    return SHField(deconvolve(SIGNALS, TABLE, kernel, degree=4), AFFINE)


def of_images(images):
    return DiffusionField(images, AFFINE, TABLE.bvals, TABLE.directions)


def of_tensors(tensors):
    g = TABLE.directions
    exponents = TABLE.bvals * torch.einsum("ni,...ij,nj->...n", g, tensors, g)
    return of_images(1000 * torch.exp(-exponents))


FIELDS = {
    "harmonics": (of_harmonics, of_signals(SIGNALS).coefficients),
    "signals, deconvolved": (of_signals, SIGNALS),
    "response": (of_response, response(3)),
    "diffusion images": (of_images, SIGNALS),
    "tensors": (of_tensors, TENSORS),
}
WALKS = [
    *((name, algorithm) for name in list(FIELDS)[:3] for algorithm in (SHARP, MRTRIX)),
    *((name, TensorDet()) for name in list(FIELDS)[3:]),
]


@pytest.mark.parametrize("method", [Euler(), RungeKutta()])
@pytest.mark.parametrize(("name", "algorithm"), WALKS)
def test_every_input_gets_its_derivative(name, algorithm, method):
    field_of, image = FIELDS[name]
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "image": image.detach(),
        "seeds": torch.tensor([[4.1, 4.3, 3.8], [3.3, 4.9, 4.4]]).double(),
        "step": torch.tensor(0.3).double(),
        "directions": torch.tensor([[1.0, 0.7, 0.5], [0.9, 0.4, 0.6]]).double(),
    }

    def points(values, followed=algorithm):
        return propagate(
            field_of(values["image"]),
            values["seeds"],
            step=values["step"],
            directions=values["directions"],
            algorithm=followed,
            method=method,
            max_length=2.5,
            min_length=0.0,
            angle=30,
        ).points

    leaves = {key: value.clone().requires_grad_() for key, value in inputs.items()}
    value = points(leaves)
    weights = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    found = torch.autograd.grad((weights * value).sum(), list(leaves.values()), allow_unused=True)
    gradients = dict(zip(leaves, found, strict=True))
    # only the choice of a peak or of a side hangs on the directions: without a derivative, and none is lost
    assert gradients.pop("directions") is None
    gradients["directions"] = torch.zeros_like(inputs["directions"])

    for key, gradient in gradients.items():
        assert bool(gradient.isfinite().all())
        assert key == "directions" or bool((gradient != 0).any())
        tangent = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        tangent *= inputs[key].abs().max()
        # MRtrix's ascent stops at random within 1e-4 rad of the peak whose derivative is taken
        followed = SHARP if algorithm == MRTRIX else algorithm
        ends = [
            (weights * points({**inputs, key: inputs[key] + size * tangent}, followed)).sum()
            for size in (1e-6, -1e-6)
        ]
        expected = float(ends[0] - ends[1]) / 2e-6
        along = float((gradient * tangent).sum())
        # differences: rounding of 1e-9 in sums of some 10 to 100; MRtrix's: 1e-4 rad, along 2.5 mm
        assert along == pytest.approx(expected, rel=2e-3 if algorithm == MRTRIX else 1e-5, abs=1e-6), key
