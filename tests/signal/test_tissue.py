import math

import pytest
import torch

from torrey.errors import FileError, InputError
from torrey.signal.tissue import Tissue
from torrey.signal.tissue_file import read_tissue

MATRIX = [[2.0, 0.1, 0.0], [0.1, 1.5, 0.0], [0.0, 0.0, 1.0]]


def test_values_are_float64_to_the_last_digit():
    tissue = Tissue(diffusivity=2.1, T2=79.3, spin_density=0.7)
    for value, expected in ((tissue.diffusivity, 2.1), (tissue.T2, 79.3), (tissue.spin_density, 0.7)):
        assert value.dtype == torch.float64
        assert float(value) == expected


def test_defaults_are_water_without_relaxation():
    assert (float(Tissue().diffusivity), float(Tissue().T2), float(Tissue().spin_density)) == (
        2.0,
        math.inf,
        1.0,
    )


def test_diffusion_tensor_of_a_number_and_of_a_matrix():
    torch.testing.assert_close(Tissue(diffusivity=1.5).diffusion_tensor, 1.5 * torch.eye(3).double())
    torch.testing.assert_close(Tissue(diffusivity=MATRIX).diffusion_tensor, torch.tensor(MATRIX).double())


@pytest.mark.parametrize("name", ["diffusivity", "T2", "spin_density"])
def test_derivatives_flow(name):
    value = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    getattr(Tissue(**{name: value}), name).square().backward()
    assert float(value.grad) == 6.0


BAD = {
    "D zero": ({"diffusivity": 0.0}, r"diffusivity: expected positive \(µm²/ms\)"),
    "D negative": ({"diffusivity": -2.0}, "diffusivity: expected positive"),
    "D NaN": ({"diffusivity": math.nan}, "diffusivity: expected finite"),
    "D in m²/s": ({"diffusivity": 2e-9}, "diffusivity: 2e-09 is outside .* expected µm²/ms"),
    "D in mm²/s": ({"diffusivity": 2e-4}, "diffusivity: 0.0002 is outside"),
    "D in µm²/s": ({"diffusivity": 2000.0}, "diffusivity: 2000 is outside"),
    "D of words": ({"diffusivity": "fast"}, "diffusivity: expected real numbers, got 'fast'"),
    "D of truth": ({"diffusivity": True}, "diffusivity: expected real numbers"),
    "D of nothing": ({"diffusivity": None}, "diffusivity: expected real numbers"),
    "D complex": ({"diffusivity": 1j}, "diffusivity: expected real numbers"),
    "D of four axes": ({"diffusivity": [[[[1.0]]]]}, r"got shape \(1, 1, 1, 1\)"),
    "D ragged": ({"diffusivity": [[1.0], [1.0, 2.0]]}, "diffusivity: expected numbers"),
    "D asymmetric": (
        {"diffusivity": [[2.0, 0.5, 0], [0, 2, 0], [0, 0, 2]]},
        "expected a symmetric 3×3 matrix",
    ),
    "D indefinite": (
        {"diffusivity": [[1.0, 3, 0], [3, 1, 0], [0, 0, 1]]},
        "expected a positive definite matrix",
    ),
    "T2 zero": ({"T2": 0}, r"T2: expected positive \(ms\), got 0"),
    "T2 negative": ({"T2": -80.0}, "T2: expected positive"),
    "T2 NaN": ({"T2": math.nan}, "T2: expected positive"),
    "T2 in µs": ({"T2": 80_000}, "T2: 80000 is outside .* expected ms"),
    "T2 in s": ({"T2": 0.08}, "T2: 0.08 is outside .* expected ms"),
    "T2 of a matrix": ({"T2": [[80.0, 60.0]]}, r"T2: expected one number \(ms\) or .* got shape \(1, 2\)"),
    "second T2 negative": ({"T2": [80.0, -60.0]}, r"T2: expected positive \(ms\), got -60"),
    "second D in m²/s": ({"diffusivity": [2.0, 2e-9]}, "diffusivity: 2e-09 is outside .* expected µm²/ms"),
    "counts that differ": (
        {"T2": [80.0, 60.0], "spin_density": [1.0, 1.0, 0.5]},
        "the same number of compartments, got T2 2, spin_density 3",
    ),
    "permeability negative": (
        {"permeability": {(0, 1): -0.1}},
        r"permeability of 0 and 1: expected zero or positive \(µm/ms\), got -0.1",
    ),
    "permeability in m/s": ({"permeability": {(1, 0): 2e-5}}, "permeability of 0 and 1: 2e-05 is outside"),
    "permeability of one": ({"permeability": {0: 0.1}}, "expected pairs of compartments"),
    "permeability with itself": ({"permeability": {(1, 1): 0.1}}, "expected two different compartments"),
    "permeability twice": ({"permeability": {(0, 1): 0.1, (1, 0): 0.2}}, "a pair is given twice"),
    "relaxivity of a name": ({"surface_relaxivity": {"wall": 0.1}}, "expected compartment numbers"),
    "relaxivity negative": ({"surface_relaxivity": {1: -1.0}}, "surface_relaxivity of 1: expected zero or"),
    "relaxivity of two": ({"surface_relaxivity": {1: [0.1, 0.2]}}, r"expected one number \(µm/ms\), got"),
    "T2 of words": ({"T2": "80"}, "T2: expected real numbers, got '80'"),
    "density zero": ({"spin_density": 0.0}, "spin_density: expected positive"),
    "density infinite": ({"spin_density": math.inf}, "spin_density: expected positive and finite"),
    "second density zero": ({"spin_density": [1.0, 0.0]}, "spin_density: expected positive"),
}


@pytest.mark.parametrize(("values", "message"), BAD.values(), ids=BAD)
def test_bad_values_are_one_line_that_names_the_field(values, message):
    with pytest.raises(InputError, match=message) as caught:
        Tissue(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("D", ["1.7", str(MATRIX), "2"])
def test_reads_toml(tmp_path, D):
    (tmp_path / "t.toml").write_text(f"# cytoplasm\ndiffusivity = {D}\nT2 = 80\nspin_density = 0.7\n")
    tissue = read_tissue(tmp_path / "t.toml")
    torch.testing.assert_close(tissue.diffusivity, torch.tensor(eval(D), dtype=torch.float64))
    assert float(tissue.T2) == 80.0
    assert float(tissue.spin_density) == 0.7


def test_fields_left_out_are_the_defaults(tmp_path):
    (tmp_path / "t.toml").write_text("diffusivity = 1.0")
    assert math.isinf(read_tissue(tmp_path / "t.toml").T2)


def test_a_file_of_several_compartments(tmp_path):
    (tmp_path / "t.toml").write_text(
        f'diffusivity = [{MATRIX}, {MATRIX}]\nT2 = [40, 80]\n[permeability]\n"1-0" = 0.1\n'
        '[surface_relaxivity]\n"1" = 0.01\n'
    )
    tissue = read_tissue(tmp_path / "t.toml")
    assert tissue.n_compartments == 2
    torch.testing.assert_close(tissue.diffusion_tensor, torch.tensor([MATRIX, MATRIX]).double())
    assert tissue.T2.tolist() == [40, 80]
    assert {pair: float(kappa) for pair, kappa in tissue.permeability.items()} == {(0, 1): 0.1}
    assert {c: float(speed) for c, speed in tissue.surface_relaxivity.items()} == {1: 0.01}


BAD_FILES = {
    "missing": (None, "t.toml: no such file"),
    "empty": ("", "t.toml: is empty"),
    "binary": (b"\x00\xff\xfe", "t.toml: is binary"),
    "no TOML": ("diffusivity: 2", "t.toml: not a TOML file"),
    "unknown": (
        "diffusivitty = 2",
        "t.toml: unknown field diffusivitty; expected diffusivity, T2, spin_density",
    ),
    "permeability": ("permeability = 0.1", "t.toml: permeability: expected a table of pairs"),
    "permeability of what": (
        "[permeability]\ninner = 0.1",
        "t.toml: permeability: expected pairs .* got 'inner'",
    ),
    "permeability negative": (
        '[permeability]\n"0-1" = -1',
        "t.toml: permeability of 0 and 1: expected zero or",
    ),
    "relaxivity of what": ('[surface_relaxivity]\n"0-1" = 1', "surface_relaxivity: expected compartments"),
    "counts": (
        "T2 = [80, 60]\nspin_density = [1, 1, 1]",
        "t.toml: tissue: expected values for the same number",
    ),
    "2×2": ("diffusivity = [[1, 0], [0, 1]]", r"t.toml: diffusivity: .* got shape \(2, 2\)"),
    "unit": ("T2 = 80000", "t.toml: T2: 80000 is outside .* expected ms"),
    "words": ("diffusivity = 'fast'", "t.toml: diffusivity: expected real numbers, got 'fast'"),
    "truth": ("T2 = true", "t.toml: T2: expected real numbers, got True"),
    "date": ("T2 = 2020-01-01", "t.toml: T2: expected real numbers"),
    "NaN": ("diffusivity = nan", "t.toml: diffusivity: expected finite"),
    "table": ("[diffusivity]\nvalue = 2", "t.toml: diffusivity: expected real numbers"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_one_line_that_names_the_field(tmp_path, content, message):
    if isinstance(content, bytes):
        (tmp_path / "t.toml").write_bytes(content)
    elif content is not None:
        (tmp_path / "t.toml").write_text(content)
    with pytest.raises(FileError, match=message) as caught:
        read_tissue(tmp_path / "t.toml")
    assert "\n" not in str(caught.value)
