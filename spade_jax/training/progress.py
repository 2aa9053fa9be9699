"""Progress: losses and speed of the newest iterations, told now and then."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from spade_jax.devices.memory import most_used
from spade_jax.devices.mesh import Devices
from spade_jax.progress import progress_line, tell
from spade_jax.training.finite import mean_losses
from spade_jax.training.waiting import Waits, advice
from spade_jax.workdir.report import Report
from spade_jax.workdir.saving import Checkpoints

_log = logging.getLogger(__name__)

# Names in metrics.jsonl of what `progress_line` takes.
_METRICS = {
    "utilisation": "model_flops_utilisation",
    "memory": "memory_bytes",
    "data_seconds": "data_seconds",
}


class Progress:
    """Losses of the iterations since they were last told, and the newest numbers.

    Args:
      first_step: iterations done before.
      num_steps, steps_per_epoch: iterations of the run, and of an epoch.
      batch_size: pictures an iteration.
      learning_rate: the generator's by iteration.
      devices: that train.
      workers: `config.data.workers`.
      peak_steps_per_second: see `spade_jax.training.utilisation`; None: not known.

    Attributes:
      metrics: the newest of each number by name, which go with a checkpoint.
    """

    def __init__(
        self,
        *,
        first_step: int,
        num_steps: int,
        steps_per_epoch: int,
        batch_size: int,
        learning_rate: Callable[[int], jax.Array],
        devices: Devices,
        workers: int,
        peak_steps_per_second: float | None,
    ):
        self._first_step, self._num_steps = first_step, num_steps
        self._steps_per_epoch, self._batch_size = steps_per_epoch, batch_size
        self._learning_rate = learning_rate
        self._devices, self._workers = devices, workers
        self._peak_steps_per_second = peak_steps_per_second
        self._has_advised = False
        self._pending: list[tuple[int, Mapping[str, jax.Array]]] = []
        self.metrics: dict[str, float] = {}
        self._begin_window(first_step)

    def _begin_window(self, step: int) -> None:
        self._window_step, self._window_start = step, time.monotonic()
        self._data_seconds, self._starved = 0.0, 0

    def next_batch(self, batches: Iterator[dict[str, Any]]) -> dict[str, Any]:
        """The next batch, and how long it was waited for."""
        start = time.monotonic()
        batch = next(batches)
        self._data_seconds += time.monotonic() - start
        if self._pending and _are_computed(self._pending[-1][1]):
            self._starved += 1
        return batch

    def add(self, step: int, losses: Mapping[str, jax.Array]) -> None:
        """Takes the losses of an iteration, which need not be computed yet."""
        self._pending.append((step, losses))
        # One step waits behind the running one and no more: with its batch and the
        # prefetched ones, four batches are on the devices.
        if len(self._pending) > 1:
            jax.block_until_ready(self._pending[-2])
        if step == self._first_step + 1:
            # Its time is that of compiling, which says nothing of the others.
            jax.block_until_ready(losses)
            self._begin_window(step)

    def leave_out(self, seconds: float) -> None:
        """Does not count the time of something else as training's."""
        self._window_start += seconds

    def report(
        self,
        step: int,
        report: Report,
        checkpoints: Checkpoints,
        *,
        scores: Sequence[str],
    ) -> None:
        """Tells the means since the last time.

        Args:
          step: iterations done.
          report: where to, besides the log.
          checkpoints: that the numbers will go with.
          scores: names of the numbers that evaluations will add.

        Raises:
          DivergedError: a loss is not finite.
          CheckpointError: see `Checkpoints.check`.
        """
        means = mean_losses(self._pending, checkpoints)
        self._pending.clear()
        waits = Waits(
            steps=step - self._window_step,
            starved=self._starved,
            data_seconds=self._data_seconds,
            seconds=time.monotonic() - self._window_start,
        )
        self._begin_window(step)
        steps_per_second = waits.steps / waits.seconds
        speed = self._speed(waits, steps_per_second)
        scalars = {f"loss/{name}": value for name, value in means.items()} | {
            "learning_rate/generator": float(self._learning_rate(step - 1)),
            "images_per_second": steps_per_second * self._batch_size,
            **{_METRICS[name]: value for name, value in speed.items()},
        }
        report.scalars(step, scalars)
        self.metrics |= scalars
        # With config.discriminator_steps an iteration may lack the generator's.
        if "loss/gan" in self.metrics:
            checkpoints.check([*self.metrics, *scores])
        if jax.process_index() == 0:
            line = progress_line(
                step=step,
                num_steps=self._num_steps,
                steps_per_epoch=self._steps_per_epoch,
                batch_size=self._batch_size,
                steps_per_second=steps_per_second or None,
                losses=means,
                **speed,
            )
            tell(line, step=step, num_steps=self._num_steps, **scalars)
        told = advice(waits, workers=self._workers, cores=os.cpu_count() or 1)
        if told and not self._has_advised:
            # In every process: each reads its own share.
            self._has_advised = True
            _log.warning("%s", told)

    def _speed(self, waits: Waits, steps_per_second: float) -> dict[str, Any]:
        """What is known of `utilisation`, `memory` and `data_seconds`."""
        known: dict[str, Any] = {}
        if self._peak_steps_per_second and waits.steps:
            known["utilisation"] = steps_per_second / self._peak_steps_per_second
        if (used := most_used(self._devices)) is not None:
            known["memory"] = used
        if waits.steps:
            known["data_seconds"] = waits.data_seconds / waits.steps
        return known


def _are_computed(losses: Mapping[str, jax.Array]) -> bool:
    # Arrays have this method, which their stub does not know.
    return all(
        x.is_ready()  # pyright: ignore[reportAttributeAccessIssue]
        for x in losses.values()
    )
