"""The survey itself: reads all examples of all splits, and gathers all findings."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from spade_jax.data.colors import Color
from spade_jax.data.example import Transform
from spade_jax.data.ids import is_scaled
from spade_jax.data.survey import comparing
from spade_jax.data.survey.examine import Examined
from spade_jax.data.survey.finding import KINDS, Finding
from spade_jax.data.survey.splits import Split
from spade_jax.data.survey.statistics import Statistics, count

_T = TypeVar("_T")


@dataclasses.dataclass
class Survey:
    """What a survey has found.

    Attributes:
      splits: their statistics by name.
      findings: errors first, in the order of `KINDS`, then by split and file.
      foreign: numbers of pixels of the stored ids that are no class.
      colors: the same of the colours of label pictures, where ids were expected; among
        these are greys that were made of ids by scaling.
    """

    splits: dict[str, Statistics]
    findings: list[Finding]
    foreign: collections.Counter[int]
    colors: collections.Counter[Color]

    @property
    def ok(self) -> bool:
        """Whether training would take all of the data."""
        return not any(finding.severity == "error" for finding in self.findings)


def survey(
    splits: Sequence[Split],
    *,
    num_classes: int,
    unknown_label: int | None = None,
    transforms: Mapping[str, Sequence[Transform]],
    check_size: Callable[[tuple[int, int]], None] = lambda size: None,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    """Reads all examples of all splits.

    Args:
      splits: from `folder_split` or `source_split`; the first is trained on.
      num_classes, unknown_label: see `ids.class_ids`.
      transforms: of each split those that its examples go through. Whether one refuses
        a picture may depend on the picture's size alone; after it, all must be of one
        size.
      check_size: raises a ValueError if a network does not take pictures of a (height,
        width).
      threads: to read with; None: one a processor.
      progress: called with the examples read so far, and all.
    """
    tasks = [(split.name, task) for split in splits for task in split.examine]
    examined: dict[str, list[Examined]] = {split.name: [] for split in splits}
    # Threads, since decoding leaves Python free: measured, processes are no faster.
    with concurrent.futures.ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        results = pool.map(_call, (task for _, task in tasks))
        for done, ((name, _), result) in enumerate(zip(tasks, results, strict=True), 1):
            examined[name].append(result)
            progress(done, len(tasks))

    num_ids = num_classes + (unknown_label is not None)
    statistics = {
        name: count(results, num_ids=num_ids) for name, results in examined.items()
    }
    findings = [finding for split in splits for finding in split.findings]
    for name, results in examined.items():
        findings += [finding for result in results for finding in result.findings]
        for transform in transforms[name]:
            findings += comparing.refused(name, results, transform, check_size)
    findings += comparing.leaks(examined)
    first = splits[0].name
    findings += comparing.unseen(
        first, statistics[first], num_classes, unknown_label=unknown_label
    )
    order = {kind: place for place, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    everything = [result for results in examined.values() for result in results]
    foreign = _sum(result.foreign for result in everything)
    stored = foreign + _sum(result.ids for result in everything)
    colors = _sum(result.colors for result in everything)
    if colors:
        # A file of colours would be for all label pictures.
        colors.update(_sum(result.indexed for result in everything))
    if foreign and is_scaled(stored):
        colors.update({(grey, grey, grey): n for grey, n in stored.items()})
        foreign.clear()
    return Survey(splits=statistics, findings=findings, foreign=foreign, colors=colors)


def _call(task: Callable[[], _T]) -> _T:
    return task()


def _sum(counts: Iterable[Mapping[Any, int]]) -> collections.Counter:
    total: collections.Counter = collections.Counter()
    for one in counts:
        total.update(one)
    return total
