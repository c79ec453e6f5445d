"""`torrey fod`: fibre orientations of a diffusion image; a thin layer over `torrey.tractography`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..terminal import Output, counting
from .gradients import read_gradients


def fod(
    dwi: Path,
    /,
    *,
    output: Output,
    response: Path | None = None,
    response_algorithm: Literal["tournier", "fa"] | None = None,
    response_voxels: int | None = None,
    write_response: Path | None = None,
    bvals: Path | None = None,
    bvecs: Path | None = None,
    grad: Path | None = None,
    mask: Path | None = None,
    degree: int | None = None,
    shell: float | None = None,
    directions: Path | None = None,
) -> None:
    """Estimate fibre orientation distributions by constrained spherical deconvolution, as `dwi2fod csd` does.

    Parameters
    ----------
    dwi
        Diffusion image, NIfTI of 4 dimensions.
    output
        NIfTI to write: coefficients of even spherical harmonics in MRtrix's basis.
    response
        Response of one fibre population: a row of zonal harmonics, as `dwi2response` writes it. Estimated
        from the image by default, which takes a --mask.
    response_algorithm
        How to find the voxels of one fibre that the response is estimated from: those whose distribution is
        most like one peak, over again until they stay (tournier, the default), or those of highest fractional
        anisotropy (fa).
    response_voxels
        How many of them; 300 by default.
    write_response
        Text file to write the estimated response to.
    bvals
        FSL's b-values, s/mm².
    bvecs
        FSL's directions, unit vectors.
    grad
        MRtrix's gradient file (x y z b a row), in place of --bvals and --bvecs.
    mask
        NIfTI that is not zero in voxels to fit; all by default.
    degree
        Of the harmonics, even; that of the response, at most 8, by default.
    shell
        b-value to use, s/mm²; the largest by default.
    directions
        Where distributions are kept from being negative: rows of azimuth and elevation (rad); 300 by default.
    """
    from ..report.files import check_output_file

    if response is not None and (response_algorithm, response_voxels, write_response) != (None, None, None):
        raise InputError(
            "--response is given; expected no --response-algorithm, --response-voxels and --write-response"
        )
    if response is None and mask is None:
        raise InputError("expected --response, or a --mask to estimate one in")
    inputs = (dwi, response, bvals, bvecs, grad, mask, directions)
    check_output_file(output, kinds=(".nii", ".nii.gz"), inputs=inputs)
    if write_response is not None:
        check_output_file(write_response, kinds=(".txt",), inputs=(*inputs, output))
    from ..text_files import naming
    from ..tractography import orientation

    signals, grid = orientation.read_image(dwi, n_dimensions=4)
    table = read_gradients(bvals, bvecs, grad, grid)
    with naming(dwi):
        table.require_volumes(signals.shape[3])
    chosen = signals.isfinite().all(-1)
    if mask is not None:
        chosen &= orientation.read_mask(mask, grid)
    n_voxels = int(chosen.sum())
    if response is not None:
        kernel = orientation.read_response(response)
    else:
        kinds = {"tournier": orientation.SinglePeak, "fa": orientation.HighestAnisotropy}
        algorithm = kinds[response_algorithm or "tournier"](
            n_voxels=300 if response_voxels is None else response_voxels
        )
        kernel, _ = orientation.estimate_response(
            signals,
            table,
            mask=chosen & (signals.amax(-1) > 0),
            algorithm=algorithm,
            degree=10 if degree is None else degree,
            shell=shell,
        )
        row = " ".join(f"{value:.6g}" for value in kernel.tolist())
        print(f"response of {algorithm.n_voxels} voxels: {row}")
        if write_response is not None:
            bval = float(table.bvals[table.shell(shell)].mean())
            orientation.write_response(write_response, kernel, bval=bval)
    constraint = None if directions is None else orientation.read_directions(directions)
    with counting(f"deconvolving {n_voxels} voxels") as progress:
        coefficients = orientation.deconvolve(
            signals,
            table,
            kernel,
            degree=degree,
            shell=shell,
            mask=chosen,
            constraint_directions=constraint,
            progress=progress,
        )
    orientation.write_image(output, coefficients, grid)
    print(f"{output}: {coefficients.shape[3]} coefficients in each of {n_voxels} voxels")
