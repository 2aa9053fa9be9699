"""Beside: a program that is compiled while others run."""

import concurrent.futures
from collections.abc import Callable
from typing import Any


class CompiledBeside:
    """A compiled function whose compilation is begun before it is needed.

    Args:
      function: a `jax.jit`ted one.
      *arguments: what it will be called with, or `jax.ShapeDtypeStruct`s of that, with
        shardings.
    """

    def __init__(self, function: Any, *arguments: Any):
        self._function, self._arguments = function, arguments
        self._compiled: concurrent.futures.Future[Callable[..., Any]] | None = None

    def begin(self) -> None:
        """Begins to compile in a thread; a second time does nothing."""
        if self._compiled is not None:
            return
        threads = concurrent.futures.ThreadPoolExecutor(1, "compile")
        self._compiled = threads.submit(
            lambda: self._function.lower(*self._arguments).compile()
        )
        # Does not wait for it.
        threads.shutdown(wait=False)

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function, as soon as it is compiled.

        Raises:
          Exception: what compiling it raised.
        """
        self.begin()
        assert self._compiled is not None
        return self._compiled.result()(*arguments)
