"""How many shapes with their 1 890 signals a core makes in a second, with one worker and with two.

Shapes of the three families, as `torrey dataset mixed --signals` makes them: drawn, simulated by the protocol
of the ReMiDi paper (arXiv 2502.01988), compressed and written. The workers have started and imported what
they need before the clock does. Both runs must leave the same bytes.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import Executor
from pathlib import Path

from common import Report, timed
from torrey.commands.dataset import remidi_signals
from torrey.experiments.executors import LocalProcesses
from torrey.shape import make_dataset
from torrey.shape.families import Mixed


def shapes(n: int) -> list[int]:
    """Return the first of each family to train on, `n` in all."""
    mixed, starts = Mixed(), [0]
    for family in mixed.members[:-1]:
        starts.append(starts[-1] + len(family.split("train")))
    return [start + i for rank, start in enumerate(starts) for i in range((n + 2 - rank) // 3)]


def seconds(folder: Path, indices: list[int], n_workers: int) -> float:
    with LocalProcesses(n_workers) as executor:
        # a batch for each worker
        make(folder / "first", list(range(8 * n_workers)), executor)
        return timed(lambda: make(folder / "timed", indices, executor))[1]


def make(folder: Path, indices: list[int], executor: Executor) -> None:
    make_dataset(folder, Mixed(), indices=indices, signals=remidi_signals, executor=executor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=int, default=200, help="how many to make")
    indices = shapes(parser.parse_args().shapes)
    report = Report("dataset_throughput")
    report(f"{len(indices)} shapes of three families, 315 vertices, 1890 measurements")
    widths = 10, 12, 14, 18, 10, 14
    report.row("workers", "seconds", "shapes/s", "shapes/s/worker", "× one", "kB a shape", widths=widths)
    contents, alone = [], 0.0
    with tempfile.TemporaryDirectory() as temporary:
        for n_workers in (1, 2):
            folder = Path(temporary) / str(n_workers)
            taken = seconds(folder, indices, n_workers)
            alone = alone or taken
            rate = len(indices) / taken
            contents.append({path.name: path.read_bytes() for path in (folder / "timed").iterdir()})
            size = sum(map(len, contents[-1].values())) / len(indices) / 1e3
            cells = (
                f"{taken:.1f}",
                f"{rate:.2f}",
                f"{rate / n_workers:.2f}",
                f"{alone / taken:.2f}",
                f"{size:.1f}",
            )
            report.row(n_workers, *cells, widths=widths)
    same = contents[0] == contents[1]
    report(f"files of both runs are {'the same' if same else 'DIFFERENT'}, byte for byte")
    report.write()


if __name__ == "__main__":
    main()
