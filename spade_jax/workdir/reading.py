"""Reading with Orbax, whose event loop does not bear to be interrupted.

A KeyboardInterrupt within it, as of somebody who stops a cell of a notebook, leaves
tasks that nobody ends, and each of them complains later by a traceback.
"""

import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Read = TypeVar("_Read")


def undisturbed(read: Callable[[], _Read]) -> _Read:
    """Calls what reads, and gives what it gives.

    It runs in a thread of its own, which no interruption reaches: that is raised here
    as soon as the reading has ended.

    Args:
      read: reads with Orbax, in the context of the caller.

    Raises:
      Exception: whatever `read` raises.
    """
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(context.run, read).result()
