"""What the input pipeline takes of datasets of any size, by simulation.

    python benchmarks/scale.py --out=scale.json

Its source makes examples of 8x8 pixels out of their numbers, so that nothing but the
pipeline is measured, and tells which it was asked for. For each number of examples:

    first_batch, resumed  seconds to the first batch of a run, and to that of one which
                          goes on in the middle of an epoch
    read                  examples that had been read by then, by the latter
    worker_mib            memory of the largest of two worker processes, that which it
                          shares with others split between them (PSS)
    correlation           of place and number in the order of an epoch (Spearman's rank
                          correlation, of its beginning): 0 of a good order, +-0.02 by
                          chance
    epochs                the largest of the orders of any two of five epochs: 0.03 by
                          chance
    chi_square            of how often 64 equal ranges of numbers were there, over its
                          degrees of freedom: 1 +- 0.18 by chance, 0 where order counts
    repeated              numbers that came twice within one epoch: 0

Times are the least of five. The source has no list of files: folders of pictures are
listed once, and datasets that were built have an index.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine
from spade_jax import data

SIZES = (118_287, 1_000_000, 100_000_000)
BATCH = 32
PLACES = 8192  # of an epoch, that are looked at
RANGES = 64
ROUNDS = 5
EPOCHS = 5
WORKERS = 2


class Synthetic:
    """Examples made of their numbers.

    Args:
      count: how many.

    Attributes:
      asked: numbers that it was asked for, in this process.
    """

    def __init__(self, count: int):
        self._count = count
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> data.Example:
        self.asked.append(int(number))
        return data.Example(
            image=np.full((8, 8, 3), number % 256, np.uint8),
            label=np.full((8, 8), number % 3, np.int32),
            instance=None,
            name=str(number),
        )


def as_it_is(example: data.Example, _) -> data.Example:
    return example


@contextlib.contextmanager
def batches(source: Synthetic, **options: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """Shuffled batches of a source, with names."""
    iterator = data.batches(
        source,
        batch_size=BATCH,
        seed=0,
        shuffle=True,
        transform=as_it_is,
        names=True,
        **options,
    )
    with contextlib.closing(iterator):
        yield iterator


def first_batch(source: Synthetic, **options: Any) -> tuple[float, int]:
    """Seconds to the first batch, and examples that were read by then."""
    source.asked.clear()
    start = time.perf_counter()
    with batches(source, **options) as iterator:
        next(iterator)
        return time.perf_counter() - start, len(source.asked)


def order(source: Synthetic, places: int, *, epoch: int) -> np.ndarray:
    """Numbers of the examples at the first places of an epoch: int64 [places]."""
    start_batch, behind = divmod(epoch * len(source), BATCH)
    with batches(source, start_batch=start_batch) as iterator:
        found = [next(iterator)["name"] for _ in range(-(-(behind + places) // BATCH))]
    return np.concatenate(found).astype(np.int64)[behind : behind + places]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two rows of different numbers."""
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def chi_square(numbers: np.ndarray, count: int) -> float:
    """How even numbers of 0 to count - 1 lie, over the degrees of freedom."""
    found = np.bincount(numbers * RANGES // count, minlength=RANGES)
    expected = len(numbers) / RANGES
    return float(((found - expected) ** 2 / expected).sum() / (RANGES - 1))


def worker_memory(source: Synthetic) -> float:
    """MiB of the largest worker process, after some batches."""
    with batches(source, workers=WORKERS) as iterator:
        for _ in range(10):
            next(iterator)
        return max(map(_mib, _children()), default=0.0)


def _children() -> list[int]:
    """Ids of the processes that this one has started, and they in turn."""
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            rest = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(rest[1])
    found, more = [], [os.getpid()]
    while more:
        more = [child for child, parent in parents.items() if parent in more]
        found += more
    return found


def _mib(process: int) -> float:
    with contextlib.suppress(OSError):
        text = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
        if found := re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE):
            return int(found[1]) / 1024
    return 0.0


def measure(count: int, *, rounds: int = ROUNDS) -> dict:
    """A row of the table; see the module."""
    source = Synthetic(count)
    middle = count // 2 // BATCH
    fresh = [first_batch(source) for _ in range(rounds)]
    resumed = [first_batch(source, start_batch=middle) for _ in range(rounds)]
    places = min(PLACES, count)
    orders = [order(source, places, epoch=epoch) for epoch in range(EPOCHS)]
    pairs = itertools.combinations(orders, 2)
    return {
        "examples": count,
        "first_batch": min(seconds for seconds, _ in fresh),
        "resumed": min(seconds for seconds, _ in resumed),
        "read": max(read for _, read in resumed),
        "worker_mib": worker_memory(source),
        "correlation": correlation(np.arange(places), orders[0]),
        "epochs": max(abs(correlation(a, b)) for a, b in pairs),
        "chi_square": chi_square(orders[0], count),
        "repeated": places - len(np.unique(orders[0])),
    }


def table(rows: Sequence[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "| examples | first batch | in mid-epoch | read by then | a worker | place and"
        " number | two epochs | chi-square | repeated |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['examples']:,} | {r['first_batch']:.3f} s | {r['resumed']:.3f} s"
        f" | {r['read']} | {r['worker_mib']:.0f} MiB | {r['correlation']:+.3f}"
        f" | {r['epochs']:.3f} | {r['chi_square']:.2f} | {r['repeated']} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--out", help="JSON file to write the rows to")
    options = parser.parse_args()
    # What the first pipeline of a process imports is no matter of size.
    first_batch(Synthetic(BATCH))
    rows = []
    for count in options.sizes:
        rows.append(measure(count))
        print(json.dumps(rows[-1]), flush=True)
    print(f"\n{table(rows)}")
    if options.out:
        report = {
            "batch_size": BATCH,
            "places": PLACES,
            "workers": WORKERS,
            **machine(["grain", "numpy"]),
            "load": os.getloadavg()[0],
            "rows": rows,
        }
        pathlib.Path(options.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
