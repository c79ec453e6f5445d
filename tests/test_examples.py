"""Each example runs, and its number stays what it is."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

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
