"""`torrey track`: orientations and seeds → streamlines; a thin layer over `torrey.tractography`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from ..errors import FileError, InputError
from ..terminal import Output, counting, working
from .gradients import read_gradients

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..tractography import DiffusionField, Grid, PeakField, SHField, Streamlines
    from ..tractography.orientation import GradientTable

    Field = SHField | DiffusionField | PeakField

Images = Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative="", show_default=False)]
PerVoxel = Annotated[tuple[Literal["grid", "random"], int], Parameter(negative="")]
Seed = Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**63))]
Direction = Annotated[str, Parameter(allow_leading_hyphen=True)]
Algorithm = Literal["sd_stream", "tensor_det", "ifod1", "maximum_direction", "eudx"]

NAMES = {
    "sd_stream": "SDStream",
    "tensor_det": "TensorDet",
    "ifod1": "iFOD1",
    "maximum_direction": "MaximumDirection",
    "eudx": "EuDX",
}
"""What a .tck header calls the algorithms."""

OF_DIPY = ("maximum_direction", "eudx")

OF_SIGNALS = ("tensor_det", "eudx")
"""Those that follow the tensors of a diffusion image."""


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
    power: float | None = None,
    min_length: float | None = None,
    max_length: float | None = None,
    unidirectional: bool = False,
    random_seed: Seed = 0,
    bvals: Path | None = None,
    bvecs: Path | None = None,
    grad: Path | None = None,
    report: Path | None = None,
) -> None:
    """Grow streamlines from seeds, as MRtrix's tckgen does (or DIPY, for maximum_direction and eudx).

    Parameters
    ----------
    image
        Fibre orientation distributions, as `torrey fod` and `dwi2fod` write them; for tensor_det and eudx
        the diffusion image.
    output
        .tck, .trk or .trx to write.
    seeds
        Points in mm, in a text or .npy file, or a NIfTI mask of voxels to put them in.
    algorithm
        What to follow: the peak of a distribution (MRtrix's SD_STREAM), the tensor (its Tensor_Det),
        directions drawn from a distribution (its iFOD1), the largest of many amplitudes (DIPY's deterministic
        tracking), or the axes of the tensors around (its EuDX). The last two need --mask.
    seeds_per_voxel
        How a mask is filled: `grid N` (N³ points) or `random N`; `grid 1`, the centres, by default.
    seed_direction
        X,Y,Z to start along; random by default, the largest amplitude for maximum_direction, the axis of the
        tensor for eudx.
    mask
        NIfTI that streamlines do not leave.
    include
        NIfTI masks; streamlines that do not enter all of them are dropped.
    exclude
        NIfTI masks; streamlines that enter one of them are dropped.
    method
        Integration; euler for ifod1.
    step
        mm; by default 0.1 voxels for euler, 0.25 for rk4, 0.2 mm for maximum_direction, 0.5 mm for eudx.
    angle
        Largest angle between steps, degrees; 60 by default, 20 for maximum_direction, 15 for ifod1.
    cutoff
        Where streamlines end: amplitude for sd_stream and ifod1, anisotropy for tensor_det and eudx,
        amplitude over the largest at the place for maximum_direction; 0.1 by default, 0.0239 for eudx.
    power
        Of the amplitude, in proportion to which ifod1 draws; 1 by default.
    min_length
        mm; shorter ones are dropped; 5 voxels by default, 2 mm for maximum_direction and eudx.
    max_length
        mm, where streamlines stop; 100 voxels by default, 500 mm for maximum_direction and eudx, which drop
        longer.
    unidirectional
        Grow to one side of the seeds only.
    random_seed
        Of random seeds and directions.
    bvals
        FSL's b-values, s/mm², for tensor_det and eudx.
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
    if algorithm in OF_DIPY and (include or exclude or unidirectional):
        raise InputError(f"{algorithm} has no --include, --exclude and --unidirectional")
    if algorithm == "ifod1" and method != "euler":
        raise InputError(f"method is {method}; ifod1 takes a step along each direction it draws: euler")
    if algorithm != "ifod1" and power is not None:
        raise InputError(f"power is {power:g}; {algorithm} draws nothing, expected it for ifod1 alone")
    import torch

    from .. import tractography

    field = _field(image, algorithm, bvals=bvals, bvecs=bvecs, grad=grad)
    generator = torch.Generator().manual_seed(random_seed)
    points = _seed_points(seeds, seeds_per_voxel, field.grid, generator)
    integration = tractography.Euler() if method == "euler" else tractography.RungeKutta()
    if step is None:
        usual = {"maximum_direction": tractography.MaximumDirection.default_step}
        usual["eudx"] = tractography.EuDX.default_step
        step = usual.get(algorithm, integration.usual_step * field.grid.voxel_size)
    how: dict[str, Any] = {
        "step": step,
        "directions": None if seed_direction is None else _direction(seed_direction),
        **_given(angle=angle, cutoff=cutoff, min_length=min_length, max_length=max_length),
    }
    if algorithm in OF_DIPY:
        lines = _track_as_dipy(algorithm, field, points, mask, method=integration, **how)
    else:
        follow: Callable[..., Streamlines]
        if algorithm == "ifod1":
            drawing = tractography.IFOD1(**_given(power=power))
            follow = partial(tractography.sample_streamlines, algorithm=drawing, random_seed=random_seed)
        else:
            follow = partial(tractography.propagate, method=integration, generator=generator)
        follow = partial(follow, unidirectional=unidirectional, **how)
        lines = _track_as_mrtrix(follow, field, points, mask, include=include, exclude=exclude)
    # named as by tckgen; what is left to its default is not named
    fields = {"method": NAMES[algorithm], "source": image, "step_size": f"{step:g}"}
    fields |= {"rk4": int(method == "rk4"), "unidirectional": int(unidirectional)}
    fields |= _given(max_angle=angle, threshold=cutoff, min_dist=min_length, max_dist=max_length)
    fields |= _given(fod_power=power)
    fields |= _given(init_direction=seed_direction)
    tractography.write_tractogram(output, lines, grid=field.grid, fields=fields)
    if report is not None:
        from ..report.tractogram_page import write_tractogram_page

        write_tractogram_page(report, lines, settings={"seeds": seeds, **fields})
    fruitful = 0 if lines.seed_indices is None else len(lines.seed_indices.unique())
    print(f"{output}: streamlines from {fruitful} of {len(points)} seeds")


def _track_as_mrtrix(
    follow: Callable[..., Streamlines],
    field: Field,
    seeds: Tensor,
    mask: Path | None,
    *,
    include: tuple[Path, ...],
    exclude: tuple[Path, ...],
) -> Streamlines:
    from ..tractography.orientation import read_region

    region = None if mask is None else read_region(mask)
    if region is not None and not bool(region.contains(seeds).any()):
        raise FileError(f"{mask}: no seed lies in it; expected a mask of the same part of space")
    entered, avoided = ([read_region(path) for path in paths] for paths in (include, exclude))
    with counting(f"tracking from {len(seeds)} seeds") as progress:
        return follow(field, seeds, mask=region, include=entered, exclude=avoided, progress=progress)


def _track_as_dipy(
    algorithm: Algorithm,
    field: Field,
    seeds: Tensor,
    mask: Path | None,
    *,
    directions: Tensor | None,
    angle: float | None = None,
    cutoff: float | None = None,
    **how: Any,
) -> Streamlines:
    from ..tractography import BinaryStopping, EuDX, MaximumDirection, track_dipy
    from ..tractography.orientation import read_mask

    if mask is None:
        raise InputError(f"mask is missing; {algorithm} needs --mask, where streamlines end")
    stopping = BinaryStopping(read_mask(mask, field.grid))
    kind = EuDX if algorithm == "eudx" else MaximumDirection
    rule = kind(**_given(angle=angle, threshold=cutoff))
    towards = None if directions is None else (directions / directions.norm()).expand(len(seeds), 3)
    with working(f"tracking from {len(seeds)} seeds"):
        return track_dipy(field, seeds, towards, algorithm=rule, stopping=stopping, **how)


def _field(
    image: Path, algorithm: Algorithm, *, bvals: Path | None, bvecs: Path | None, grad: Path | None
) -> Field:
    from ..text_files import naming
    from ..tractography import DiffusionField, SHField
    from ..tractography.orientation import read_harmonics, read_image

    if algorithm not in OF_SIGNALS:
        if (bvals, bvecs, grad) != (None, None, None):
            raise InputError(f"gradients are given; {algorithm} follows distributions, which have none")
        coefficients, grid = read_harmonics(image)
        with naming(image):
            return SHField(coefficients, grid.affine)
    signals, grid = read_image(image, n_dimensions=4)
    table = read_gradients(bvals, bvecs, grad, grid)
    with naming(image):
        table.require_volumes(signals.shape[3])
        if algorithm == "eudx":
            return _tensor_axes(signals, table, grid)
        return DiffusionField(signals, grid.affine, table.bvals, table.directions)


def _tensor_axes(signals: Tensor, table: GradientTable, grid: Grid) -> PeakField:
    """Return the principal axis of the tensor of each voxel, as strong as it is anisotropic."""
    from ..tractography import PeakField
    from ..tractography.orientation import fit_tensor

    has_tensor = signals.isfinite().all(-1) & (signals.amax(-1) > 0)
    tensors = fit_tensor(signals[has_tensor], table)
    peaks = signals.new_zeros(*grid.shape, 1, 3, dtype=tensors.diffusivity.dtype)
    values = peaks.new_zeros(*grid.shape, 1)
    peaks[has_tensor] = tensors.principal_direction[:, None]
    values[has_tensor] = tensors.fractional_anisotropy[:, None]
    return PeakField(peaks, values, grid.affine)


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
