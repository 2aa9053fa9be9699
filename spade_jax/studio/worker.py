"""The worker: one thread that computes, in turn for all who ask.

JAX computes on all devices at once, so that two threads would only stand in each
other's way; and the event loop must never wait.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Job(Generic[T]):
    def __init__(self, compute: Callable[[], T]):
        self.compute, self.future = compute, Future[T]()

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.compute()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Worker:
    """Computes jobs one after another, on a thread of its own.

    Each client has one job that waits, and clients take turns: who has just been served
    comes last.
    """

    def __init__(self):
        self._waiting: OrderedDict[Hashable, _Job[Any]] = OrderedDict()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="studio", daemon=True)
        self._thread.start()

    def submit(self, client: Hashable, compute: Callable[[], T]) -> Future[T]:
        """Asks for a result.

        Args:
          client: who asks. A job of its own that still waits is cancelled, and the new
            one takes its place in the row.
          compute: called on the thread.

        Raises:
          RuntimeError: the worker is closed.
        """
        job = _Job(compute)
        with self._changed:
            if self._is_closed:
                raise RuntimeError("The worker is closed.")
            overtaken = self._waiting.get(client)
            self._waiting[client] = job
            self._changed.notify()
        if overtaken is not None:
            overtaken.future.cancel()
        return job.future

    def close(self, *, timeout: float | None = None) -> bool:
        """Cancels what waits, and waits for what is computed.

        Args:
          timeout: seconds to wait at most.

        Returns:
          Whether nothing is computed any more.
        """
        with self._changed:
            self._is_closed = True
            waiting = list(self._waiting.values())
            self._waiting.clear()
            self._changed.notify()
        for job in waiting:
            job.future.cancel()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                _, job = self._waiting.popitem(last=False)
            job.run()
