"""Each example runs, and its number stays what it is."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"

# largest allowed value of what main() returns
BOUNDS = {
    # the mesh has the volume of the cylinder but a polygon's walls: 1.3e-4 of S(0) measured at b = 4000 s/mm²
    "01_simulate_cylinder": 2e-4,
    # rounding of the difference of signals over a step of 1e-4 µm: some 1e-9 measured
    "02_gradient_of_a_signal": 1e-7,
    # noise of 1/200 leaves 0.05 µm; the straight cylinder of the same volume is 0.38 µm away
    "03_fit_a_bent_tube": 0.1,
    # noise of 1/100 and first-order elements: 0.06 measured
    "04_how_permeable_is_a_wall": 0.15,
    # first-order elements on polygons with edges of half a radius, modes to 1e-4: 5.2e-4 measured
    "05_axons_in_a_bundle": 1e-3,
    # all false edges go and true ones stay; undoing the tilt that made them is 0.26: 0.011 measured
    "06_fibercup_connectome": 0.05,
    # second order of a step of 1e-6 S(0) in streamlines that diverge: 4e-4 measured, 1e-6 at a tenth of it
    "07_edge_sensitivity": 5e-3,
    # deviations over 24 noisy images are known to a seventh each, their median to some 0.05; 240 give 0.01
    "08_uncertainty_tubes": 0.15,
}


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_pinned():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(BOUNDS)


@pytest.mark.parametrize("name", BOUNDS)
def test_example(name, capsys):
    value = load(name).main()
    assert 0 < value < BOUNDS[name]
    assert capsys.readouterr().out.strip()


def test_gradient_of_the_false_edges_is_that_of_differences():
    example = load("06_fibercup_connectome")
    phantom = example.two_bundles_that_touch()
    seeds = example.joining(phantom, example.track(phantom, phantom.fods, example.seeds_of(phantom)))
    fods = phantom.fods.clone().requires_grad_()
    mass = example.masses_of(phantom, fods, seeds)
    more = 1.05 * mass.detach()  # true edges have lost some, so that both parts of the loss count
    (gradient,) = torch.autograd.grad(example.loss(phantom, mass, more), fods)

    generator = torch.Generator().manual_seed(0)
    along = torch.randn(fods.shape, generator=generator, dtype=fods.dtype) * phantom.white_matter[..., None]
    along = 1e-5 * along / along.norm()
    high, low = (
        float(example.loss(phantom, example.masses_of(phantom, phantom.fods + move, seeds), more))
        for move in (along, -along)
    )
    # no streamline ends elsewhere under so small a change; gradients are those of the peaks, beside
    # which MRtrix's ascent, on its table of elevations, ends: 1.4e-5 measured
    assert float((gradient * along).sum()) == pytest.approx((high - low) / 2, rel=1e-4)
