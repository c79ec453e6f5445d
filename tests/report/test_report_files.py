import dataclasses
import json
import math

import meshio
import numpy as np
import pytest
import torch

from torrey.acquisition import read_tsv
from torrey.errors import FileError
from torrey.report.files import RUN_FILES, check_output_folder, write_run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_run_folder_holds_the_mesh_the_surface_and_the_signal(reconstruction, tmp_path):
    run = tmp_path / "deep" / "run"
    write_run(reconstruction, run)
    assert names(run) == sorted(RUN_FILES)
    assert names(run.parent) == ["run"]
    mesh, surface = meshio.read(run / "mesh.vtu"), meshio.read(run / "surface.ply")
    assert np.allclose(mesh.points, reconstruction.mesh.vertices)
    assert np.array_equal(mesh.cells_dict["tetra"], reconstruction.mesh.tets)
    assert len(surface.cells_dict["triangle"]) == len(reconstruction.mesh.boundary)
    table = read_tsv(run / "predicted.tsv")
    assert table.normalised is True
    assert torch.allclose(table.signal, reconstruction.predicted, rtol=1e-12)


def test_result_holds_the_numbers_of_the_run(reconstruction, tmp_path):
    write_run(reconstruction, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["misfit"] == 0.0043219
    # shearing the slices of the 3 × 3 × 15 box keeps its volume
    assert result["volume_um3"] == pytest.approx(135.0)
    assert result["latent"] == list(range(20))
    assert result["uncertainty"]["standard_deviations_um"][0] == pytest.approx(10**-2.5)
    assert np.shape(result["uncertainty"]["directions"]) == (20, 20)
    assert result["tissue"] == {"diffusivity_um2_per_ms": 2.0, "T2_ms": None, "spin_density": 1.0}
    assert result["settings"] == {"shape": {"name": "Tube", "n_knots": 8}, "seed": 3}
    assert result["versions"]["torch"] == "2.99.1"


def test_result_is_strict_json_where_a_direction_is_open(reconstruction, tmp_path):
    sigmas = reconstruction.posterior.standard_deviations.clone()
    sigmas[-1] = math.inf
    posterior = dataclasses.replace(reconstruction.posterior, standard_deviations=sigmas)
    write_run(dataclasses.replace(reconstruction, posterior=posterior), tmp_path / "run")

    def refuse(constant):
        raise AssertionError(constant)

    result = json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=refuse)
    assert result["uncertainty"]["standard_deviations_um"][-1] is None


def test_second_run_replaces_the_first_and_leaves_other_files(reconstruction, tmp_path):
    run = tmp_path / "run"
    write_run(reconstruction, run)
    (run / "notes.txt").write_text("mine")
    write_run(dataclasses.replace(reconstruction, misfit=0.5), run)
    assert names(run) == sorted([*RUN_FILES, "notes.txt"])
    assert json.loads((run / "result.json").read_text())["misfit"] == 0.5


def test_failure_half_way_leaves_nothing(reconstruction, tmp_path):
    settings = {"not serialisable": object()}
    with pytest.raises(TypeError):
        write_run(dataclasses.replace(reconstruction, settings=settings), tmp_path / "run")
    assert names(tmp_path) == []


def test_folder_that_is_a_file_or_under_one_is_refused(reconstruction, tmp_path):
    blocker = tmp_path / "blocker"
    blocker.write_text("")
    for folder in (blocker, blocker / "run"):
        with pytest.raises(FileError, match="is a file; expected a folder"):
            write_run(reconstruction, folder)
    assert names(tmp_path) == ["blocker"]


def test_read_only_file_system_is_refused():
    # /proc takes no new files, whoever asks
    with pytest.raises(FileError, match="/proc/run: cannot be written"):
        check_output_folder("/proc/run")


def test_checking_leaves_nothing(tmp_path):
    check_output_folder(tmp_path / "a" / "b")
    assert names(tmp_path) == []
