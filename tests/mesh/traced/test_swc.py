from pathlib import Path

import pytest
import torch

from torrey.errors import FileError, InputError
from torrey.mesh import Morphology, read_swc

NEURON = Path(__file__).parents[1] / "data" / "neuron.swc"
GOOD = ("1 1 0 0 0 5 -1", "2 3 10 0 0 1 1", "3 3 20 0 0 0.5 2")


def written(path, *lines):
    path.write_text("\n".join(["# a comment", *lines, ""]), encoding="utf-8")
    return path


def test_a_tree_is_read_with_parents_as_rows_in_any_order(tmp_path):
    tree = read_swc(written(tmp_path / "t.swc", GOOD[2], "", GOOD[0] + " # soma", GOOD[1]))
    assert tree.ids.tolist() == [3, 1, 2]
    assert tree.types.tolist() == [3, 1, 3]
    assert tree.parents.tolist() == [2, -1, 1]
    assert tree.radii.tolist() == [0.5, 5, 1]
    assert tree.positions.tolist() == [[20, 0, 0], [0, 0, 0], [10, 0, 0]]
    assert tree.is_soma.tolist() == [False, True, False]
    assert float(tree.length) == 20


def test_the_neuron_that_ships_with_the_tests():
    tree = read_swc(NEURON)
    assert tree.n_nodes == 144
    assert float(tree.radii.min()) == 0.3
    # branch points: nodes off the soma with two children
    children = torch.bincount(tree.parents[tree.parents >= 0], minlength=144)
    assert int(((children == 2) & ~tree.is_soma).sum()) >= 5


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("1 1 0 0 0 5",), "line 2: 6 columns, expected 7"),
        ((GOOD[0], "2 3 10 zero 0 1 1"), "line 3: y is 'zero', expected a number"),
        ((GOOD[0], "2 3.5 10 0 0 1 1"), "line 3: type is 3.5, expected a whole number"),
        ((GOOD[0], "inf 3 10 0 0 1 1"), "line 3: id is inf, expected a whole number"),
        ((GOOD[0], "1 3 10 0 0 1 1"), "line 3: id 1 is also that of line 2"),
        ((GOOD[0], "2 3 10 0 0 1 7"), "line 3: parent 7 does not exist"),
        ((GOOD[0], "2 3 10 0 0 0 1"), "line 3: radius is 0, expected a positive"),
        ((GOOD[0], "2 3 10 0 0 -1 1"), "line 3: radius is -1, expected a positive"),
        ((GOOD[0], "2 3 10 0 0 nan 1"), "line 3: radius is nan, expected a positive"),
        ((GOOD[0], "2 3 10 inf 0 1 1"), "line 3: y is inf, expected a finite"),
        ((GOOD[0], "2 3 10 0 0 1 3", "3 3 20 0 0 1 2"), r"line 3: .* no cycle"),
        ((GOOD[0], "2 3 10 0 0 1 2"), r"line 3: .* no cycle"),
        (("1 1 0 0 0 5 2", "2 3 10 0 0 1 1"), "parent is -1 nowhere"),
        ((GOOD[0], "2 3 10 0 0 1 -1"), "line 3: parent is -1, the root of a second of 2 trees"),
        ((), "holds no nodes"),
    ],
)
def test_a_bad_file_is_one_line_that_says_where(lines, words, tmp_path):
    with pytest.raises(FileError, match=rf"t\.swc: {words}") as caught:
        read_swc(written(tmp_path / "t.swc", *lines))
    assert "\n" not in str(caught.value)


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "t.swc").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="binary"):
        read_swc(tmp_path / "t.swc")


def test_a_tree_made_in_python_is_checked_too():
    with pytest.raises(InputError, match="morphology: node 2: radius is 0, expected a positive"):
        Morphology(
            torch.tensor([1, 2]),
            torch.tensor([1, 3]),
            torch.zeros(2, 3, dtype=torch.float64),
            torch.tensor([1.0, 0.0], dtype=torch.float64),
            torch.tensor([-1, 0]),
        )
