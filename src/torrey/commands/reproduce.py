"""`torrey reproduce`: an experiment from its recipe; a thin layer over `torrey.experiments`."""

from __future__ import annotations

import shutil
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from ..errors import InputError, TaskError
from ..terminal import Output

Experiment = Literal["table1", "bend", "bead", "fan", "directions", "times", "convergence"]


def reproduce(
    experiment: Experiment,
    /,
    *,
    output: Output,
    scale: Literal["minutes", "hour", "full"] = "minutes",
    setting: Literal["paper", "honest", "both"] = "both",
    workers: int | None = None,
    scheduler: str | None = None,
    recipe: Path | None = None,
) -> None:
    """Repeat an experiment of the ReMiDi paper (arXiv 2502.01988): many fits, a table and figures.

    A run that was interrupted or killed goes on where it was when the same command is given again.

    Parameters
    ----------
    experiment
        Table 1, d′ against bend, bead count, fan angle, number of directions or diffusion times, or the
        convergence.
    output
        Folder to write: table.tsv, table.md, summary.tsv, results.tsv, figures as .svg, report.html,
        recipe.toml, and the store of all fits, from which a run goes on.
    scale
        How much is computed: minutes, an hour, or as much as in the paper and more.
    setting
        As in the paper (same mesh and simulator, no noise, pose known), honest (finer reference, SNR 50,
        pose unknown), or both.
    workers
        Processes on this machine, one for each core by default; Slurm jobs at a time, 32 by default.
    scheduler
        Address of a Dask scheduler, such as tcp://10.0.0.1:8786, or slurm; this machine by default.
    recipe
        TOML file to use in place of the shipped one.
    """
    from ..experiments.recipe import read_recipe, shipped_recipe
    from ..experiments.results import write_results
    from ..experiments.run import run_tasks
    from ..experiments.status import showing
    from ..experiments.store import TaskStore
    from ..experiments.task import task_key
    from ..experiments.tasks import fit_shape
    from ..report.files import check_output_folder

    with shipped_recipe(experiment) if recipe is None else nullcontext(recipe) as path:
        chosen = read_recipe(path)
        specs = chosen.specs(scale, ("paper", "honest") if setting == "both" else (setting,))
        check_output_folder(output)
        identity = {"experiment": experiment, "scale": scale, **chosen.as_json()}
        with TaskStore(output / "store", identity) as store:
            if path.absolute() != (output / "recipe.toml").absolute():
                shutil.copyfile(path, output / "recipe.toml")
            with _executor(workers, scheduler, output) as executor, showing(experiment) as progress:
                try:
                    records = run_tasks(fit_shape, specs, store, executor, progress=progress)
                except KeyboardInterrupt as stop:
                    done = sum(store.has(task_key(spec)) for spec in specs)
                    message = f"{output} holds {done} of {len(specs)} fits; the same command goes on"
                    raise KeyboardInterrupt(message) from stop
            # with those of the other setting, where an earlier run made them
            keys = [task_key(spec) for spec in chosen.specs(scale, list(chosen.setting))]
            known = [record for key in keys if (record := store.record(key)) is not None]
            write_results(output, chosen, known, store)
    failed = [record for record in records if record.error is not None]
    if failed:
        raise TaskError(
            f"{len(failed)} of {len(specs)} fits failed, the first: {failed[0].error}; "
            f"see {output / 'results.tsv'}, and the same command tries them again"
        )
    print(f"{output / 'report.html'}: {len(records)} fits")


def _executor(workers: int | None, scheduler: str | None, output: Path) -> Executor:
    from ..experiments.executors import LocalProcesses, SubmititJobs, dask_executor

    if workers is not None and workers < 1:
        raise InputError(f"workers: expected at least 1, got {workers}")
    if scheduler is None:
        return LocalProcesses(workers)
    if scheduler == "slurm":
        logs = output / "jobs"
        return SubmititJobs(logs) if workers is None else SubmititJobs(logs, n_jobs=workers)
    if workers is not None:
        raise InputError("workers: those of a Dask scheduler are its own; expected no --workers")
    return dask_executor(scheduler)
