"""The `torrey` command: reads files, calls the library, writes files; commands import what they need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App, CycloptsError

from .commands.connectome import connectome
from .commands.dataset import dataset
from .commands.fod import fod
from .commands.mesh import mesh_app
from .commands.reproduce import reproduce
from .commands.track import track
from .commands.train import train
from .errors import FileError, InputError, TorreyError
from .run_settings import RunSettings, build, load_settings
from .terminal import Output, ended_as_interrupted, fitting, one_line, warnings_as_lines, working

if TYPE_CHECKING:
    from torch import Tensor

    from .acquisition import SignalTable
    from .inverse.result import Reconstruction
    from .shape import AbstractShape
    from .signal import Tissue

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


def _version() -> str:
    from importlib.metadata import version

    return version("torrey")


app = App(
    name="torrey",
    help="Differentiable diffusion MRI, from microstructure to connectome.",
    version=_version,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

app.command(mesh_app)
app.command(connectome)
app.command(dataset)
app.command(fod)
app.command(track)
app.command(reproduce)
app.command(train)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (of the process by default) and return its exit code."""
    try:
        with warnings_as_lines(), ended_as_interrupted():
            app(sys.argv[1:] if argv is None else argv, exit_on_error=False, print_error=False)
    except (TorreyError, CycloptsError) as error:
        print(f"torrey: error: {one_line(error)}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt as interrupt:
        print(f"torrey: interrupted, {str(interrupt) or 'nothing written'}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


@app.command
def simulate(
    mesh: Path,
    /,
    *,
    acquisition: Path,
    output: Output,
    tissue: Path | None = None,
    modes: int | None = None,
    length_scale: float | None = None,
    tolerance: float | None = None,
    order: Literal[1, 2] = 1,
) -> None:
    """Simulate the signals of a mesh and write them as a TSV, in µm³.

    Parameters
    ----------
    mesh
        Tetrahedral mesh, µm: .vtu, .msh, TetGen .node/.ele, or another format of meshio.
    acquisition
        Protocol: .tsv, Camino .scheme, FSL .bval with .bvec and timings .toml beside, or Pulseq .seq.
    output
        TSV to write.
    tissue
        TOML with diffusivity (µm²/ms), T2 (ms) and spin_density; diffusivity 2 and no relaxation by default.
    modes
        Keep this many Laplace modes.
    length_scale
        Keep the modes down to this length, µm.
    tolerance
        Keep as many modes as make the truncation error over S(0) smaller; 1e-4 by default.
    order
        Order of the finite elements.
    """
    from .report.files import check_output_file

    check_output_file(output, kinds=(".tsv",), inputs=(mesh, acquisition, tissue))
    from .acquisition import read_acquisition, write_tsv
    from .mesh import read_mesh
    from .signal import MatrixFormalism
    from .signal import simulate as simulate_signal

    solver = MatrixFormalism(modes=modes, length_scale=length_scale, tolerance=tolerance, order=order)
    protocol, medium, shape = read_acquisition(acquisition), _tissue(tissue), read_mesh(mesh)
    what = f"simulating {protocol.n_measurements} measurements on {shape.n_vertices} vertices"
    with working(what):
        signal = simulate_signal(shape, medium, protocol, solver=solver).detach()
    write_tsv(output, protocol, _real_where_possible(signal), normalised=False)
    print(f"{output}: {protocol.n_measurements} signals of a volume of {float(shape.volume):.4g} µm³")


@app.command
def reconstruct(
    signals: Path,
    /,
    *,
    output: Output,
    tissue: Path | None = None,
    shape: str | None = None,
    family: str | None = None,
    template: Path | None = None,
    optimiser: str | None = None,
    starts: int | None = None,
    snr: float | None = None,
    sigma: float | None = None,
    seed: int | None = None,
    config: Path | None = None,
) -> None:
    """Find the shape that explains measured signals.

    Writes mesh.vtu, surface.ply, predicted.tsv, result.json and report.html.

    Parameters
    ----------
    signals
        TSV of protocol and signals.
    output
        Folder to write; made where missing.
    tissue
        TOML with diffusivity (µm²/ms), T2 (ms) and spin_density; diffusivity 2 and no relaxation by default.
    shape
        Shape model: tube (default), vertices, spectral, or a learned one: sweep, pca or autoencoder.
    family
        What a learned shape was learned from: bend, bead or fan, or mixed, the default, for sweep.
    template
        Mesh whose vertices are moved, for --shape vertices.
    optimiser
        lm (Levenberg–Marquardt, default) or adam.
    starts
        Number of starts.
    snr
        Signal-to-noise ratio at b = 0.
    sigma
        Standard deviation of the noise of one measurement over S(0), instead of --snr.
    seed
        Seed of everything random, 0 by default.
    config
        Run settings as TOML, with the names of these options; options given here win.
    """
    from .report.files import RUN_FILES, check_output_folder

    if signals.absolute() in [(output / name).absolute() for name in RUN_FILES]:
        raise FileError(f"{output}: holds the input {signals}, which would be overwritten")
    settings = load_settings(
        config,
        shape=shape,
        family=family,
        optimiser=optimiser,
        starts=starts,
        snr=snr,
        sigma=sigma,
        seed=seed,
    )
    if (settings.shape == "vertices") != (template is not None):
        raise InputError("template: --shape vertices needs --template MESH, and no other shape has one")
    check_output_folder(output)
    _reconstruct(*_measured(signals), _tissue(tissue), settings, template=template, output=output)


@app.command
def demo(*, output: Output = Path("torrey-demo")) -> None:
    """Reconstruct a bent cylinder from signals that another simulator made.

    Parameters
    ----------
    output
        Folder to write; made where missing.
    """
    from importlib.resources import as_file, files

    from .report.files import check_output_folder

    check_output_folder(output)
    with as_file(files("torrey") / "data" / "bent_cylinder.tsv") as path:
        measured = _measured(path)
    # σ: the size of what SpinDoctor's mesh of 342 nodes leaves in its signals (0.3 to 1 % of S(0)); it
    # and the number of starts were settled with the truth in view, so the demo shows
    # the chain and is no test of it
    tube = {"n_control": 5, "n_radius": 5, "n_layers": 16}
    settings = RunSettings(starts=3, sigma=3e-3, options={"tube": tube})
    _reconstruct(*measured, _tissue(None), settings, template=None, output=output)


def _measured(path: Path) -> tuple[SignalTable, Tensor]:
    from .acquisition import read_tsv

    table = read_tsv(path)
    if table.signal is None:
        raise FileError(f"{path}: holds a protocol and no signal; expected a column signal")
    return table, table.signal


def _reconstruct(
    table: SignalTable,
    signal: Tensor,
    tissue: Tissue,
    settings: RunSettings,
    *,
    template: Path | None,
    output: Path,
) -> None:
    import torch

    from . import inverse
    from .report.files import write_run

    options = settings.options
    shape = _shape(settings, template)
    method = inverse.LevenbergMarquardt if settings.optimiser == "lm" else inverse.Adam
    optimiser = build(method, options.get(settings.optimiser, {}), table=settings.optimiser)
    starts: dict[str, Any] = {} if settings.starts is None else {"n_starts": settings.starts}
    with fitting(settings.starts) as progress:
        result = inverse.reconstruct(
            signal,
            table.acquisition,
            tissue,
            shape=shape,
            optimiser=optimiser,
            sigma=settings.noise,
            normalised=bool(table.normalised),
            generator=torch.Generator().manual_seed(settings.seed),
            progress=progress,
            **starts,
        )
    write_run(result, output)
    print(f"{output / 'report.html'}: {_figures(result)}")


def _shape(settings: RunSettings, template: Path | None) -> AbstractShape:
    """Return the shape model of `settings`; canonical ones are turned by the fit."""
    from . import shape as shapes
    from .mesh import prism, read_mesh

    options = settings.options.get(settings.shape, {})
    if settings.shape == "tube":
        return build(shapes.Tube, options, table="tube")  # type: ignore[no-any-return]
    if template is not None:
        return build(shapes.Vertices, options, table="vertices", template=read_mesh(template))  # type: ignore[no-any-return]
    if settings.shape == "spectral":
        return shapes.Posed(build(shapes.Spectral, options, table="spectral", template=prism()))
    if options:
        raise InputError(f"[{settings.shape}]: holds {', '.join(options)}; a learned shape has no options")
    return shapes.Posed(shapes.pretrained(settings.shape, settings.family or "mixed"))  # type: ignore[call-overload]


def _figures(result: Reconstruction) -> str:
    sigmas = result.posterior.standard_deviations
    return (
        f"misfit {result.misfit:.2e} of S(0), volume {float(result.mesh.volume.detach()):.4g} µm³, "
        f"{int((sigmas < 0.1).sum())} of {len(sigmas)} directions known to 0.1 µm, {result.seconds:.1f} s"
    )


def _tissue(path: Path | None) -> Tissue:
    from .signal import Tissue, read_tissue

    return Tissue() if path is None else read_tissue(path)


def _real_where_possible(signal: Tensor) -> Tensor:
    return signal if bool((signal.imag != 0).any()) else signal.real


if __name__ == "__main__":
    sys.exit(main())
