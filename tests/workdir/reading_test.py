import _thread
import contextvars
import signal

import pytest

from spade_jax.workdir.reading import undisturbed


def test_an_interruption_waits_for_the_end_of_the_reading():
    ended = []

    def read():
        _thread.interrupt_main()
        # As long as whoever waits may be woken by it.
        ended.append(sum(range(100_000)))

    # Of a command in the background of a shell it is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            undisturbed(read)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended


def test_errors_and_context_are_the_callers():
    variable = contextvars.ContextVar("variable")
    variable.set(7)
    assert undisturbed(variable.get) == 7

    def read():
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        undisturbed(read)
