"""`torrey train`: learn a shape model from a family of shapes; a thin layer over `torrey.shape.training`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import InputError
from ..terminal import Output, counting, working

if TYPE_CHECKING:
    from ..shape import PCA, Autoencoder, Sweep
    from ..shape.families import AbstractFamily
    from ..shape.training import Curve, TrainingData


def train(
    kind: Literal["pca", "autoencoder", "sweep"],
    /,
    *,
    family: Literal["bend", "bead", "fan", "mixed"],
    output: Output,
    dataset: Path | None = None,
    shapes: int | None = None,
    seed: int = 0,
    epochs: int | None = None,
    modes: int | None = None,
    resume: bool = False,
) -> None:
    """Train a shape model and write its weights, and beside them the curve (.tsv) and the model card (.md).

    Parameters
    ----------
    kind
        pca, autoencoder or sweep.
    family
        Shapes to learn: bend, bead, fan, or all of them as mixed.
    output
        Weights to write, .safetensors.
    dataset
        Folder of a data set of the family; its shapes are made on the fly by default.
    shapes
        Train on this many shapes, spread evenly over those of the family; all by default, for a sweep 1200.
    seed
        Of first weights and of the order of shapes, for an autoencoder; of the choice of shapes, for a sweep.
        Same seed, same weights.
    epochs
        Most passes over the shapes, for an autoencoder; 30 by default.
    modes
        Modes to keep, for pca; by default the fewest that hold validation shapes to 0.002 µm, at most 32.
    resume
        Go on from the checkpoint that a stopped run left beside the output, for an autoencoder.
    """
    from ..report.files import check_output_file

    if kind == "pca" and (epochs is not None or resume or seed != 0):
        raise InputError("train: pca has no --epochs, --seed or --resume; it is found in one step")
    if kind == "autoencoder" and modes is not None:
        raise InputError("train: --modes is of pca; an autoencoder has a latent of 16")
    if kind == "sweep" and (dataset is not None or epochs is not None or modes is not None or resume):
        raise InputError(
            "train: sweep has --shapes and --seed only; it makes finer shapes than a data set has"
        )
    if dataset is not None and shapes is not None:
        raise InputError("train: --shapes says how many to make, expected none with --dataset")
    check_output_file(output, kinds=(".safetensors",), inputs=())
    from ..shape.families import family_named
    from ..shape.training import generated, model_card, stored, write_curve
    from ..text_files import write_text

    model: PCA | Autoencoder | Sweep
    if kind == "sweep":
        model, curve = _sweep(family_named(family), shapes, seed)
    else:
        if dataset is not None:
            data = stored(dataset, family_named(family))
        else:
            with counting(f"making shapes of {family}") as progress:
                data = generated(family_named(family), limit=shapes, progress=progress)
        model, curve = (
            _pca(data, modes) if kind == "pca" else _autoencoder(data, output, seed, epochs, resume)
        )
    model.save(output)
    write_curve(output.with_suffix(".tsv"), curve)
    write_text(output.with_suffix(".md"), model_card(kind, model.about))
    tests = ", ".join(
        f"{row['mean']:.2g} µm ({name})"
        for name, row in model.about["round_trip"].items()
        if name.startswith("test")
    )
    print(f"{output}: latent of {model.n_latent}, mean vertex error {tests}")


def _sweep(family: AbstractFamily, shapes: int | None, seed: int) -> tuple[Sweep, Curve]:
    from ..shape.sweep.training import N_SHAPES, train_sweep, with_facts

    with working(f"learning channels of {family.name}"):
        model = train_sweep(family, seed=seed, n_shapes=N_SHAPES if shapes is None else shapes)
    with working("measuring its errors"):
        model = with_facts(model, family)
    return model, model.about["curve"]


def _pca(data: TrainingData, modes: int | None) -> tuple[PCA, Curve]:
    from ..shape.training import MOST_MODES, TOLERANCE, fewest_modes, fit_pca, one_thread, with_facts

    # a number that is asked for is kept, whatever its error
    count, tolerance = (MOST_MODES, TOLERANCE) if modes is None else (modes, 0.0)
    with one_thread(), working(f"finding the modes of {len(data.train)} shapes"):
        widest = fit_pca(data.train, data.template, n_modes=count)
        model, curve = fewest_modes(widest, data.validation, tolerance=tolerance)
        return with_facts(model, data, training={"modes": model.n_latent}, curve=curve), curve


def _autoencoder(
    data: TrainingData, output: Path, seed: int, epochs: int | None, resume: bool
) -> tuple[Autoencoder, Curve]:
    from dataclasses import asdict, replace

    from ..shape.training import AutoencoderSettings, one_thread, train_autoencoder, with_facts

    settings = AutoencoderSettings(seed=seed)
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    checkpoint = output.with_suffix(".checkpoint")
    with counting(f"training the autoencoder on {data.family}, epoch") as progress:
        model, curve = train_autoencoder(
            data.train,
            data.validation,
            data.template,
            settings=settings,
            checkpoint=checkpoint,
            resume=resume,
            progress=progress,
        )
    with one_thread(), working("measuring its errors"):
        model = with_facts(model, data, training=asdict(settings), curve=curve)
    checkpoint.unlink()
    return model, curve
