"""`torrey dataset`: shapes to train and test on; a thin layer over `torrey.shape.make_dataset`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..terminal import Output, counting

if TYPE_CHECKING:
    from torch import Tensor

    from ..acquisition import Acquisition
    from ..mesh import TetMesh
    from ..shape.families import ShapeSample

_DIFFUSIVITY = 2.0
"""Of the paper, µm²/ms."""


def dataset(
    family: Literal["bend", "bead", "fan", "mixed"],
    /,
    *,
    output: Output,
    split: Literal["train", "validation", "test", "all"] = "all",
    first: int | None = None,
    seed: int = 0,
    signals: bool = False,
    workers: int = 1,
) -> None:
    """Make shapes of a family, with their signals if wanted; what is there already is kept.

    Parameters
    ----------
    family
        Bent and twisted, beaded or fanned prisms, or all three.
    output
        Folder; a run that was interrupted goes on where it ended.
    split
        Which shapes to make.
    first
        Only so many of each split.
    seed
        Seed of everything random.
    signals
        Simulate the 1 890 signals of the ReMiDi paper for each shape.
    workers
        Processes to work in, of one thread each.
    """
    from ..report.files import check_output_folder

    check_output_folder(output)
    if first is not None and first < 1:
        raise InputError(f"first: expected at least 1, got {first}")
    from ..experiments.executors import LocalProcesses
    from ..shape.dataset import make_dataset
    from ..shape.families import SPLITS, family_named

    chosen = family_named(family)
    names = SPLITS if split == "all" else (split,)
    indices = [index for name in names for index in chosen.split(name)[:first]]
    try:
        with counting(f"making {len(indices)} shapes") as progress, LocalProcesses(workers) as executor:
            made = make_dataset(
                output,
                chosen,
                indices=indices,
                seed=seed,
                signals=remidi_signals if signals else None,
                settings=_settings() if signals else None,
                executor=executor,
                progress=progress,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the same command goes on with what is in {output}") from None
    size = sum(path.stat().st_size for path in output.iterdir()) / 1e6
    replaced = f", {made.n_redrawn} draws with inverted tets replaced" if made.n_redrawn else ""
    print(f"{output}: {len(made)} shapes of {family}{replaced}, {size:.3g} MB")


def remidi_signals(sample: ShapeSample) -> Tensor:
    """Return the signals (1 890,) of a shape in its pose by the protocol of the ReMiDi paper, µm³."""
    from ..experiments.problem import PUBLISHED_SOLVER
    from ..signal import Tissue, simulate

    mesh = _template().with_vertices(sample.vertices)
    tissue = Tissue(diffusivity=_DIFFUSIVITY)
    return simulate(mesh, tissue, _protocol(), solver=PUBLISHED_SOLVER).real


def _settings() -> dict[str, Any]:
    from ..experiments.problem import PUBLISHED_SOLVER

    protocol = _protocol()
    return {
        "protocol": "ReMiDi, arXiv 2502.01988",
        "n_measurements": protocol.n_measurements,
        "small_delta_ms": protocol.small_delta.unique().tolist(),
        "big_delta_ms": protocol.big_delta.unique().tolist(),
        "bvals_s_per_mm2": protocol.bvals.round(decimals=6).unique().tolist(),
        "n_directions": 30,
        "order": "directions vary fastest, then b-values, then separations",
        "diffusivity_um2_per_ms": _DIFFUSIVITY,
        "solver": "matrix formalism",
        "length_scale_um": PUBLISHED_SOLVER.length_scale,
        "unit": "um3",
    }


@cache
def _protocol() -> Acquisition:
    from ..acquisition import remidi_protocol

    return remidi_protocol()


@cache
def _template() -> TetMesh:
    from ..mesh import prism

    return prism()
