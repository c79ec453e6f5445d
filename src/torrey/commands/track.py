"""`torrey track`: orientations and seeds → streamlines; a thin layer over `torrey.tractography`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from ..errors import FileError, InputError
from ..terminal import Output, counting, working
from .gradients import read_gradients

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..tractography import DiffusionField, Grid, SHField, Streamlines

Images = Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative="", show_default=False)]
PerVoxel = Annotated[tuple[Literal["grid", "random"], int], Parameter(negative="")]
Seed = Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**63))]
Direction = Annotated[str, Parameter(allow_leading_hyphen=True)]
Algorithm = Literal["sd_stream", "tensor_det", "maximum_direction"]

NAMES = {"sd_stream": "SDStream", "tensor_det": "TensorDet", "maximum_direction": "MaximumDirection"}
"""What a .tck header calls the algorithms."""


def track(
    image: Path,
    /,
    *,
    output: Output,
    seeds: Path,
    algorithm: Algorithm = "sd_stream",
    seeds_per_voxel: PerVoxel | None = None,
    seed_direction: Direction | None = None,
    mask: Path | None = None,
    include: Images = (),
    exclude: Images = (),
    method: Literal["euler", "rk4"] = "euler",
    step: float | None = None,
    angle: float | None = None,
    cutoff: float | None = None,
    min_length: float | None = None,
    max_length: float | None = None,
    unidirectional: bool = False,
    random_seed: Seed = 0,
    bvals: Path | None = None,
    bvecs: Path | None = None,
    grad: Path | None = None,
    report: Path | None = None,
) -> None:
    """Grow streamlines from seeds, as MRtrix's tckgen does (or DIPY, for maximum_direction).

    Parameters
    ----------
    image
        Fibre orientation distributions, as `torrey fod` and `dwi2fod` write them; for tensor_det the
        diffusion image.
    output
        .tck, .trk or .trx to write.
    seeds
        Points in mm, in a text or .npy file, or a NIfTI mask of voxels to put them in.
    algorithm
        What to follow: the peak of a distribution (MRtrix's SD_STREAM), the tensor (its Tensor_Det), or the
        largest of many amplitudes (DIPY's deterministic tracking, which needs --mask).
    seeds_per_voxel
        How a mask is filled: `grid N` (N³ points) or `random N`; `grid 1`, the centres, by default.
    seed_direction
        X,Y,Z to start along; random by default, and the largest amplitude for maximum_direction.
    mask
        NIfTI that streamlines do not leave.
    include
        NIfTI masks; streamlines that do not enter all of them are dropped.
    exclude
        NIfTI masks; streamlines that enter one of them are dropped.
    method
        Integration.
    step
        mm; by default 0.1 voxels for euler, 0.25 for rk4, 0.2 mm for maximum_direction.
    angle
        Largest angle between steps, degrees; 60 by default, 20 for maximum_direction.
    cutoff
        Where streamlines end: amplitude for sd_stream, anisotropy for tensor_det, amplitude over the largest
        at the place for maximum_direction; 0.1 by default.
    min_length
        mm; shorter ones are dropped; 5 voxels by default, 2 mm for maximum_direction.
    max_length
        mm, where streamlines stop; 100 voxels by default, 500 mm for maximum_direction, which drops longer.
    unidirectional
        Grow to one side of the seeds only.
    random_seed
        Of random seeds and directions.
    bvals
        FSL's b-values, s/mm², for tensor_det.
    bvecs
        FSL's directions, unit vectors.
    grad
        MRtrix's gradient file (x y z b a row), in place of --bvals and --bvecs.
    report
        .html to write: the streamlines to turn, one page without network.
    """
    from ..report.files import check_output_file

    inputs = (image, seeds, mask, *include, *exclude, bvals, bvecs, grad)
    check_output_file(output, kinds=(".tck", ".trk", ".trx"), inputs=inputs)
    if report is not None:
        check_output_file(report, kinds=(".html",), inputs=inputs)
    import torch

    from .. import tractography

    field = _field(image, algorithm, bvals=bvals, bvecs=bvecs, grad=grad)
    generator = torch.Generator().manual_seed(random_seed)
    points = _seed_points(seeds, seeds_per_voxel, field.grid, generator)
    integration = tractography.Euler() if method == "euler" else tractography.RungeKutta()
    if step is None:
        usual = integration.usual_step * field.grid.voxel_size
        step = tractography.MaximumDirection.default_step if algorithm == "maximum_direction" else usual
    how: dict[str, Any] = {
        "step": step,
        "method": integration,
        "directions": None if seed_direction is None else _direction(seed_direction),
        **_given(angle=angle, cutoff=cutoff, min_length=min_length, max_length=max_length),
    }
    if algorithm == "maximum_direction":
        if include or exclude or unidirectional:
            raise InputError("maximum_direction has no --include, --exclude and --unidirectional")
        lines = _track_as_dipy(field, points, mask, **how)
    else:
        lines = _track_as_mrtrix(
            field, points, mask, include, exclude, unidirectional=unidirectional, generator=generator, **how
        )
    # named as by tckgen; what is left to its default is not named
    fields = {"method": NAMES[algorithm], "source": image, "step_size": f"{step:g}"}
    fields |= {"rk4": int(method == "rk4"), "unidirectional": int(unidirectional)}
    fields |= _given(max_angle=angle, threshold=cutoff, min_dist=min_length, max_dist=max_length)
    fields |= _given(init_direction=seed_direction)
    tractography.write_tractogram(output, lines, grid=field.grid, fields=fields)
    if report is not None:
        from ..report.tractogram_page import write_tractogram_page

        write_tractogram_page(report, lines, settings={"seeds": seeds, **fields})
    fruitful = 0 if lines.seed_indices is None else len(lines.seed_indices.unique())
    print(f"{output}: streamlines from {fruitful} of {len(points)} seeds")


def _track_as_mrtrix(
    field: SHField | DiffusionField,
    seeds: Tensor,
    mask: Path | None,
    include: tuple[Path, ...],
    exclude: tuple[Path, ...],
    **how: Any,
) -> Streamlines:
    from ..tractography import propagate
    from ..tractography.orientation import read_region

    region = None if mask is None else read_region(mask)
    if region is not None and not bool(region.contains(seeds).any()):
        raise FileError(f"{mask}: no seed lies in it; expected a mask of the same part of space")
    entered, avoided = ([read_region(path) for path in paths] for paths in (include, exclude))
    with counting(f"tracking from {len(seeds)} seeds") as progress:
        return propagate(
            field, seeds, mask=region, include=entered, exclude=avoided, progress=progress, **how
        )


def _track_as_dipy(
    field: SHField | DiffusionField,
    seeds: Tensor,
    mask: Path | None,
    *,
    directions: Tensor | None,
    angle: float = 20.0,
    cutoff: float = 0.1,
    **how: Any,
) -> Streamlines:
    from ..tractography import BinaryStopping, MaximumDirection, track_dipy
    from ..tractography.orientation import read_mask

    if mask is None:
        raise InputError("mask is missing; maximum_direction needs --mask, where streamlines end")
    stopping = BinaryStopping(read_mask(mask, field.grid))
    rule = MaximumDirection(angle=angle, threshold=cutoff)
    towards = None if directions is None else (directions / directions.norm()).expand(len(seeds), 3)
    with working(f"tracking from {len(seeds)} seeds"):
        return track_dipy(field, seeds, towards, algorithm=rule, stopping=stopping, **how)


def _field(
    image: Path, algorithm: Algorithm, *, bvals: Path | None, bvecs: Path | None, grad: Path | None
) -> SHField | DiffusionField:
    from ..text_files import naming
    from ..tractography import DiffusionField, SHField
    from ..tractography.orientation import read_harmonics, read_image

    if algorithm != "tensor_det":
        if (bvals, bvecs, grad) != (None, None, None):
            raise InputError(f"gradients are given; {algorithm} follows distributions, which have none")
        coefficients, grid = read_harmonics(image)
        with naming(image):
            return SHField(coefficients, grid.affine)
    signals, grid = read_image(image, n_dimensions=4)
    table = read_gradients(bvals, bvecs, grad, grid)
    with naming(image):
        table.require_volumes(signals.shape[3])
        return DiffusionField(signals, grid.affine, table.bvals, table.directions)


def _seed_points(
    path: Path,
    per_voxel: PerVoxel | None,
    grid: Grid,
    generator: torch.Generator,
) -> Tensor:
    """Return the points (S, 3) of a file, or those that fill a mask; all are in the image on `grid`."""
    from ..text_files import naming
    from ..tractography import grid_seeds, random_seeds_per_voxel, read_seeds
    from ..tractography.orientation import read_region
    from ..tractography.seeds import require_inside

    if not path.name.lower().endswith((".nii", ".nii.gz")):
        if per_voxel is not None:
            raise InputError(f"seeds_per_voxel is given, but {path} holds points; expected a NIfTI mask")
        points = read_seeds(path)
    else:
        region = read_region(path)
        kind, n = ("grid", 1) if per_voxel is None else per_voxel
        if kind == "grid":
            points = grid_seeds(region.image, region.grid, n)
        else:
            points = random_seeds_per_voxel(region.image, region.grid, n, generator=generator)
    with naming(path):
        require_inside(points, grid)
    return points


def _direction(text: str) -> Tensor:
    import torch

    try:
        direction = torch.tensor([float(word) for word in text.split(",")], dtype=torch.float64)
    except ValueError:
        direction = torch.zeros(0)
    if len(direction) != 3 or not bool(direction.isfinite().all()) or not bool((direction != 0).any()):
        raise InputError(f"seed_direction is {text!r}; expected three numbers X,Y,Z, not all 0")
    return direction


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
