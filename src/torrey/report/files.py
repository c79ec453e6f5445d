"""The folder that a reconstruction leaves behind, written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ..acquisition import write_tsv
from ..errors import FileError
from ..inverse.result import Reconstruction
from ..mesh import write_mesh
from . import summary
from .html import write_report

RUN_FILES = ("mesh.vtu", "surface.ply", "predicted.tsv", "result.json", "report.html")


def write_run(reconstruction: Reconstruction, folder: str | Path) -> None:
    """Write `RUN_FILES` into `folder`, which is made where missing; other files in it are left alone.

    All is written into a temporary folder first and moved when complete.

    Raises
    ------
    FileError
        When the folder cannot be written.
    """
    folder = Path(folder)
    check_output_folder(folder)
    with _beside(folder) as part:
        write_mesh(reconstruction.mesh, part / "mesh.vtu")
        write_mesh(reconstruction.mesh, part / "surface.ply")
        write_tsv(
            part / "predicted.tsv",
            reconstruction.acquisition,
            reconstruction.predicted,
            normalised=reconstruction.normalised,
        )
        text = json.dumps(result_json(reconstruction), indent=2, allow_nan=False, ensure_ascii=False)
        (part / "result.json").write_text(text + "\n", encoding="utf-8")
        write_report(reconstruction, part / "report.html")


def check_output_folder(folder: str | Path, *, name: str | Path | None = None) -> None:
    """Refuse a `folder` that cannot be written, before work is spent; nothing is left on the disk.

    Errors call it `name` where that is given, as for a file to be written in it.

    Raises
    ------
    FileError
        When it, or the nearest folder above that exists, is a file or cannot be written.
    """
    folder = Path(folder)
    name = folder if name is None else name
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise FileError(f"{name}: cannot be written: {existing} is a file; expected a folder")
        # permission bits do not tell all (read-only mounts, root), an attempt does
        probe = existing / f".torrey-{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise FileError(f"{name}: cannot be written: {error.strerror}") from error


def check_output_file(path: Path, *, kinds: Sequence[str], inputs: Sequence[Path | None]) -> None:
    """Refuse a file that cannot be written, has none of the extensions `kinds`, or is one of `inputs`.

    Raises
    ------
    FileError
        Before work is spent; nothing is left on the disk.
    """
    if not path.name.lower().endswith(tuple(kinds)):
        raise FileError(f"{path}: unknown kind of output file; expected {' '.join(kinds)}")
    if path.is_dir():
        raise FileError(f"{path}: is a folder; expected the name of a file to write")
    if path.absolute() in [item.absolute() for item in inputs if item is not None]:
        raise FileError(f"{path}: is an input, which would be overwritten; expected another name")
    if not path.absolute().parent.is_dir():
        raise FileError(f"{path}: cannot be written: there is no folder {path.parent}")
    check_output_folder(path.absolute().parent, name=path)


def result_json(reconstruction: Reconstruction) -> dict[str, Any]:
    """Return the numbers of a run, JSON-serialisable; a number that is not finite is null."""
    posterior, mesh = reconstruction.posterior, reconstruction.mesh
    return {
        "misfit": _number(reconstruction.misfit),
        "start_misfits": [_number(value) for value in reconstruction.start_misfits],
        "stop_reason": reconstruction.stop_reason,
        "seconds": _number(reconstruction.seconds),
        "latent": _numbers(reconstruction.latent),
        "volume_um3": _number(float(mesh.volume.detach())),
        "surface_area_um2": _number(float(mesh.surface_area.detach())),
        "longest_extent_um": summary.longest_extent(reconstruction),
        "n_vertices": mesh.n_vertices,
        "n_tets": mesh.n_tets,
        "n_measurements": reconstruction.acquisition.n_measurements,
        "uncertainty": {
            "sigma": _number(posterior.sigma),
            "noise_sigma": _number(posterior.noise_sigma),
            "model_sigma": _number(posterior.model_sigma),
            "eigenvalues_per_um2": _numbers(posterior.eigenvalues),
            "standard_deviations_um": _numbers(posterior.standard_deviations),
            "directions": [_numbers(row) for row in posterior.directions],
        },
        "tissue": {
            "diffusivity_um2_per_ms": reconstruction.tissue.diffusivity.detach().tolist(),
            "T2_ms": _number(float(reconstruction.tissue.T2.detach())),
            "spin_density": _number(float(reconstruction.tissue.spin_density.detach())),
        },
        "settings": {key: value for key, value in reconstruction.settings.items() if key != "versions"},
        "versions": summary.versions(reconstruction),
    }


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """Yield an empty folder on the same disk, and move what it holds to `folder` if all went well."""
    inside = folder.is_dir()
    part = (folder if inside else folder.parent) / f".{folder.name}.{os.getpid()}.part"
    try:
        part.mkdir(parents=True)
        yield part
        if inside:
            for path in sorted(part.iterdir()):
                path.replace(folder / path.name)
        else:
            part.rename(folder)
    except OSError as error:
        raise FileError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(values: Tensor) -> list[float | None]:
    return [_number(value) for value in values.detach().reshape(-1).tolist()]
