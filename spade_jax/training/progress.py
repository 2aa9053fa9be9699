"""Progress: losses and speed of the newest iterations, told now and then."""

import time
from collections.abc import Callable, Mapping, Sequence

import jax

from spade_jax.progress import progress_line, tell
from spade_jax.training.finite import mean_losses
from spade_jax.workdir.report import Report
from spade_jax.workdir.saving import Checkpoints


class Progress:
    """Losses of the iterations since they were last told, and the newest numbers.

    Args:
      first_step: iterations done before.
      num_steps, steps_per_epoch: iterations of the run, and of an epoch.
      batch_size: pictures an iteration.
      learning_rate: the generator's by iteration.

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
    ):
        self._first_step, self._num_steps = first_step, num_steps
        self._steps_per_epoch, self._batch_size = steps_per_epoch, batch_size
        self._learning_rate = learning_rate
        self._pending: list[tuple[int, Mapping[str, jax.Array]]] = []
        self.metrics: dict[str, float] = {}
        self._window_step, self._window_start = first_step, time.monotonic()

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
            self._window_step, self._window_start = step, time.monotonic()

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
        now = time.monotonic()
        steps_per_second = (step - self._window_step) / (now - self._window_start)
        self._window_step, self._window_start = step, now
        scalars = {f"loss/{name}": value for name, value in means.items()} | {
            "learning_rate/generator": float(self._learning_rate(step - 1)),
            "images_per_second": steps_per_second * self._batch_size,
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
            )
            tell(line, step=step, num_steps=self._num_steps, **scalars)
