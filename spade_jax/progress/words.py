"""Words: the line of a training step, and durations."""

from collections.abc import Mapping


def progress_line(
    *,
    step: int,
    num_steps: int,
    steps_per_epoch: int,
    batch_size: int,
    steps_per_second: float | None,
    losses: Mapping[str, float],
    utilisation: float | None = None,
    memory: int | None = None,
    data_seconds: float | None = None,
) -> str:
    """One line: where training is, how fast, and every loss.

    Args:
      step: iterations done.
      num_steps: iterations in all.
      steps_per_epoch: iterations in an epoch.
      batch_size: pictures an iteration.
      steps_per_second: of late; None where it is not known yet.
      losses: by name.
      utilisation: share of the devices' peak arithmetic that the model takes.
      memory: bytes in use at most, of the fullest device.
      data_seconds: that a step waited for data.
    """
    parts = [f"step {step}/{num_steps}", f"epoch {step / steps_per_epoch:.2f}"]
    if steps_per_second:
        parts.append(f"{steps_per_second * batch_size:.1f} images/s")
    if utilisation is not None:
        parts.append(f"MFU {utilisation:.1%}")
    if memory is not None:
        parts.append(f"{memory / 2**30:.2f} GiB")
    if data_seconds is not None:
        parts.append(f"{data_seconds:.3f} s/step for data")
    parts.append(" ".join(f"{name} {value:.3f}" for name, value in losses.items()))
    if steps_per_second:
        parts.append(f"{clock((num_steps - step) / steps_per_second)} left")
    return " | ".join(parts)


def clock(seconds: float) -> str:
    """Formats a duration as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
