"""The compiled engine beside PyTorch's: the same streamlines and the same derivatives."""

import pytest
import torch
from fields_of_known_flow import ptt_fod

from torrey.tractography import Euler, Grid, Region, RungeKutta, SDStream, SHField, propagate
from torrey.tractography.propagation.engines import Compiled, Eager, Run, engine_for
from torrey.tractography.propagation.limits import Limits


@pytest.fixture(scope="module")
def bundle():
    coefficients, affine = ptt_fod()
    generator = torch.Generator().manual_seed(0)
    voxels = torch.tensor([16.0, 8, 8]) * torch.rand(60, 3, generator=generator, dtype=torch.float64) - 0.4
    seeds = Grid((16, 8, 8), affine).to_world(voxels.clamp_max(torch.tensor([15.4, 7.4, 7.4])).double())
    mask = torch.ones(16, 8, 8)
    mask[:, :, 0] = 0
    aside = torch.zeros(16, 8, 8)
    aside[:, 7] = 1
    regions = {"mask": Region(mask, affine), "exclude": [Region(aside, affine)]}
    return coefficients, affine, seeds, regions


def both(monkeypatch, run):
    """Return what `run` gives with each engine."""
    found = []
    for engine in (Compiled(), Eager()):
        monkeypatch.setattr(module_of_propagate(), "engine_for", lambda run, engine=engine: engine)
        found.append(run())
    return found


def module_of_propagate():
    import sys

    return sys.modules["torrey.tractography.propagation.propagate"]


class Midpoint(Euler):
    """A method that the kernels do not know."""


def test_what_is_compiled(bundle):
    coefficients, affine, _, _ = bundle
    rule = SDStream().rule(SHField(coefficients, affine))
    limits = Limits(0.1, 0.5, 100, 1, None, (), ())
    chosen = {
        type(method): type(engine_for(Run(rule, method, 0.1, limits, unidirectional=False)))
        for method in (Euler(), RungeKutta(), Midpoint())
    }
    assert chosen == {Euler: Compiled, RungeKutta: Compiled, Midpoint: Eager}


@pytest.mark.parametrize("method", [Euler(), RungeKutta()])
@pytest.mark.parametrize("sharpen", [False, True])
@pytest.mark.parametrize("unidirectional", [False, True])
def test_the_same_streamlines(monkeypatch, bundle, method, sharpen, unidirectional):
    coefficients, affine, seeds, regions = bundle

    def run():
        return propagate(
            SHField(coefficients, affine),
            seeds,
            method=method,
            algorithm=SDStream(sharpen=sharpen),
            directions=torch.tensor([1.0, 0.3, -0.2]),
            unidirectional=unidirectional,
            **regions,
        )

    ours, theirs = both(monkeypatch, run)
    assert torch.equal(ours.seed_indices, theirs.seed_indices)
    assert torch.equal(ours.offsets, theirs.offsets)
    assert torch.equal(ours.seed_places, theirs.seed_places)
    assert 3 < len(ours) < len(seeds)
    # float64: steps of an ascent that are not converged carry rounding on, by a factor of ten or so a mm
    torch.testing.assert_close(ours.points, theirs.points, atol=1e-9, rtol=0)


@pytest.mark.parametrize("method", [Euler(), RungeKutta()])
def test_the_same_derivatives(monkeypatch, bundle, method):
    coefficients, affine, seeds, _ = bundle

    def run():
        leaves = coefficients.clone(), seeds.clone(), torch.tensor(0.4, dtype=torch.float64)
        image, places, step = (leaf.requires_grad_() for leaf in leaves)
        tracks = propagate(
            SHField(image, affine),
            places,
            step=step,
            method=method,
            algorithm=SDStream(sharpen=True),
            directions=torch.tensor([1.0, 0.3, -0.2]),
        )
        weights = torch.sin(torch.arange(tracks.points.numel()).double()).view(-1, 3)
        return torch.autograd.grad((weights * tracks.points).sum(), (image, places, step))

    for ours, theirs in zip(*both(monkeypatch, run), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6 * float(theirs.abs().max()), rtol=1e-6)
