import json

import pytest
import torch
from bent_prisms import TEMPLATE
from safetensors.torch import save_file

from torrey.errors import FileError, InputError
from torrey.mesh import prism
from torrey.shape.weights import Weights, read_weights, template_hash, write_weights


def written(path, **changes):
    header = {"kind": "pca", "format": 1, "template": template_hash(TEMPLATE), "about": {"family": "bend"}}
    save_file({"mean": torch.ones(3)}, path, metadata={"torrey": json.dumps(header | changes)})
    return path


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "w.safetensors"
    tensors = {"mean": torch.arange(6.0).view(2, 3), "transposed": torch.arange(6.0).view(2, 3).T}
    write_weights(path, Weights("pca", template_hash(TEMPLATE), tensors, {"family": "bend & twist · µm"}))
    back = read_weights(path, kind="pca", template=TEMPLATE)
    assert back.about == {"family": "bend & twist · µm"}
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in tensors.items())
    (transposed,) = back.arrays("transposed")
    assert transposed.dtype == torch.float64
    with pytest.raises(InputError, match="modes is lacking, expected mean, modes"):
        back.arrays("mean", "modes")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "autoencoder"}, "weights have kind autoencoder, expected pca"),
        ({"format": 2}, "weights have format 2, expected 1"),
        ({"template": "0123"}, "weights have template 0123, expected"),
    ],
)
def test_weights_of_something_else_are_refused_in_one_line(tmp_path, changes, said):
    path = written(tmp_path / "w.safetensors", **changes)
    with pytest.raises(InputError, match=said) as caught:
        read_weights(path, kind="pca", template=TEMPLATE)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_weights_are_refused(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        read_weights(tmp_path / "none.safetensors", kind="pca", template=TEMPLATE)
    (tmp_path / "text.safetensors").write_text("a text")
    with pytest.raises(FileError, match="is no safetensors file"):
        read_weights(tmp_path / "text.safetensors", kind="pca", template=TEMPLATE)
    save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(FileError, match="has no header of Torrey's"):
        read_weights(tmp_path / "other.safetensors", kind="pca", template=TEMPLATE)
    whole = written(tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-4])
    with pytest.raises(FileError, match="is no safetensors file"):
        read_weights(tmp_path / "cut.safetensors", kind="pca", template=TEMPLATE)


def test_templates_are_told_apart_by_tets_and_by_size_but_not_by_rounding():
    same = TEMPLATE.with_vertices(TEMPLATE.vertices * (1 + 1e-14))
    assert template_hash(same) == template_hash(TEMPLATE)
    others = [prism(n_layers=5), prism(3.01, n_layers=4), prism(), TEMPLATE]
    assert len({template_hash(each) for each in others}) == 4
