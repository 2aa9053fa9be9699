"""Programs and their times, of either framework."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

# Calls in a row for one time: so long that starting and waiting do not show in it.
_ROUND_SECONDS = 0.25
_MOST_CALLS = 100


class Program(NamedTuple):
    """Something that is computed again and again.

    Attributes:
      inputs: from layouts on the host to what `run` takes, on the device.
      run: starts to compute, and gives the result without waiting for it.
      wait: for a result.
      facts: what is known before it runs, by name.
      text: of the program as compiled, or "".
    """

    inputs: Callable[[], Any]
    run: Callable[[Any], Any]
    wait: Callable[[Any], Any]
    facts: dict[str, Any]
    text: str = ""


def measure(program: Program, *, seconds: float) -> dict[str, Any]:
    """Times a program.

    Args:
      program: what to time.
      seconds: to spend on each of the two ways, beyond the first three runs.

    Returns:
      `seconds` a call where calls follow one another with their inputs on the device
      (the median over `rounds` rounds of `calls`; `from` and `to` are the extremes),
      `from_host` where each is waited for and its layouts come from the host, tables
      included, `first_seconds` of the first call.
    """
    inputs = program.inputs()
    first, once, once_more = (_timed(program, inputs, 1) for _ in range(3))
    once = min(once, once_more)
    calls = max(1, min(_MOST_CALLS, int(_ROUND_SECONDS / once)))
    rounds = max(3, min(20, int(seconds / (calls * once))))
    found = [_timed(program, inputs, calls) / calls for _ in range(rounds)]
    alone = []
    for _ in range(max(3, min(20, int(seconds / once)))):
        start = time.perf_counter()
        program.wait(program.run(program.inputs()))
        alone.append(time.perf_counter() - start)
        if sum(alone) > seconds:
            break
    return {
        "seconds": statistics.median(found),
        "from": min(found),
        "to": max(found),
        "rounds": rounds,
        "calls": calls,
        "from_host": statistics.median(alone),
        "first_seconds": first,
    }


def _timed(program: Program, inputs: Any, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        result = program.run(inputs)
    program.wait(result)
    return time.perf_counter() - start
