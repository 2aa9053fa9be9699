"""Stopping: a signal to any process ends all of them after the same iteration."""

import functools
import logging
import signal
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_log = logging.getLogger(__name__)


class StopRequest:
    """While it is entered, the first SIGINT, SIGTERM or SIGHUP only sets `requested`.

    So an iteration, or a save, is never cut in two. A second signal acts as usual. A
    SIGHUP that is ignored, as under nohup, still is.

    Attributes:
      requested: whether this process was asked to stop.
      heeded: whether `everywhere` has said so, in any process.
    """

    def __init__(self):
        self.requested = self.heeded = False
        self._ballot: jax.Array | None = None
        self._usual: dict[int, signal.Handlers | Callable | int | None] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._usual[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def everywhere(self) -> bool:
        """Whether any process was asked to stop; all get the same answer.

        To be called by all processes, once an iteration. With several of them the
        answer is that of one iteration ago, which is there by now: waiting for this
        one's would keep the devices from running ahead of the host.
        """
        if jax.process_count() == 1:
            self.heeded = self.requested
        else:
            previous, self._ballot = self._ballot, _any_process(self.requested)
            self.heeded = previous is not None and bool(previous)
        return self.heeded

    def _request(self, number: int, _) -> None:
        self.requested = True
        signal.signal(number, self._usual[number])
        _log.warning(
            "%s: saving after this iteration; a second one leaves at once.",
            signal.Signals(number).name,
        )


@functools.cache
def _across_devices() -> tuple[NamedSharding, Callable[[jax.Array], jax.Array]]:
    # All devices, though one a process would do: TPUs do not compute on any few.
    devices = Mesh(jax.devices(), "device")
    everywhere = NamedSharding(devices, PartitionSpec())
    one_each = NamedSharding(devices, PartitionSpec("device"))
    return one_each, jax.jit(jnp.any, out_shardings=everywhere)


def _any_process(value: bool) -> jax.Array:
    """Whether `value` is True in any process, for all of them to wait for later."""
    one_each, any_value = _across_devices()
    return any_value(
        jax.make_array_from_callback(
            (jax.device_count(),), one_each, lambda _: np.array([value])
        )
    )
