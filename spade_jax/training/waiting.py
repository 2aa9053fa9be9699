"""Waiting: do steps wait for data, does one wait for them too long; what to change."""

from typing import NamedTuple

from spade_jax.progress.words import clock

# Of fewer steps nothing is said.
_STEPS = 10
# Shares: of the steps before which the devices had nothing to do, and of the time.
_STARVED, _SECONDS = 0.5, 0.1
_DAY = 86_400


class Waits(NamedTuple):
    """What some steps in a row waited for.

    Attributes:
      steps: how many.
      starved: those whose batch came when the devices had nothing left to do.
      data_seconds: that all waited for their batches.
      seconds: that they took in all.
    """

    steps: int = 0
    starved: int = 0
    data_seconds: float = 0.0
    seconds: float = 0.0


def advice(waits: Waits, *, workers: int, cores: int) -> str | None:
    """What to change where data, not the devices, is what steps wait for, or None.

    A batch that is waited for while the devices still compute costs nothing.

    Args:
      waits: of some steps.
      workers: `config.data.workers`.
      cores: of this host.
    """
    if waits.steps < _STEPS or waits.starved <= _STARVED * waits.steps:
        return None
    share = waits.data_seconds / max(waits.seconds, 1e-9)
    if share <= _SECONDS:
        return None
    if workers < cores:
        more = min(cores, max(2, 2 * workers))
        remedy = (
            f"config.data.workers={more} reads with more processes (it is {workers})"
        )
    else:
        remedy = (
            f"config.data.workers={workers} has all {cores} cores of this host already:"
            " give it more cores, or pictures that are no larger than"
            " config.data.load_size"
        )
    return (
        f"Steps wait for data, not for the devices: {share:.0%} of the time, before"
        f" {waits.starved} of {waits.steps} steps. {remedy}."
    )


def too_long(seconds: float | None, *, platform: str, source: str) -> str | None:
    """What to change where a CPU would train for days, or None.

    Args:
      seconds: that it takes from now on; None: not known yet.
      platform: of the devices.
      source: `config.data.source`.
    """
    if seconds is None or seconds < _DAY or platform != "cpu":
        return None
    remedy = (
        "configs/folder_small.py is a recipe for CPUs, small and short"
        if source == "folder"
        else "config.num_steps, config.generator.width and config.data.crop_size make"
        " it less"
    )
    return (
        f"On CPUs this will take {clock(seconds)}: it is a recipe for GPUs and TPUs."
        f" {remedy}."
    )
