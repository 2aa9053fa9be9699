"""Forks of a process that has a model, in which JAX would hang."""

import os

# Those in which a model was read; their forks remember it, too.
_READ_IN: set[int] = set()


def note_reading() -> None:
    """Notes that a model is read in this process."""
    _READ_IN.add(os.getpid())


def refuse_to_read() -> None:
    """Refuses to read a model in a fork of a process that has read one.

    Raises:
      RuntimeError: this is one.
    """
    _refuse_others(_READ_IN)


def refuse_out_of(process: int) -> None:
    """Refuses to compute in another process than one's own.

    Args:
      process: `os.getpid()` in which the model was made.

    Raises:
      RuntimeError: this is another.
    """
    _refuse_others({process})


def _refuse_others(processes: set[int]) -> None:
    # JAX would hang, and what reads checkpoints ends the process, for which a pool
    # starts another, for ever.
    if others := processes - {os.getpid()}:
        raise RuntimeError(
            f"A model was loaded in process {min(others)}, and process {os.getpid()}"
            " is a fork of it, in which JAX hangs. Start processes with"
            ' multiprocessing.get_context("spawn"), which get a model as an argument,'
            " or load it in each."
        )
