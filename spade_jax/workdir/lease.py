"""The lease: the lock of a work dir in a bucket, where no file can be locked.

Process 0 of a run holds the object `.lock`, which is made only where there is none, and
writes it anew every 15 seconds. So it ends with the process, however that ends: one
that was not written for a minute, by the bucket's clock, is a dead run's, and so is at
once one whose process was of this machine and is gone. To take its place is written
over that generation of it only, so of several that come one gets it. A run whose lease
was taken, as it was out of reach for a minute, reads that at its next log or save.
"""

import contextlib
import logging
import os
import pathlib
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

from spade_jax.files import bucket
from spade_jax.files.bucket import BucketError, Object
from spade_jax.files.places import AnyPath
from spade_jax.progress import tell
from spade_jax.workdir import holder
from spade_jax.workdir.checkpoint import CheckpointError
from spade_jax.workdir.holder import Lock

_log = logging.getLogger(__name__)

EVERY = 15.0
"""Seconds between two signs of life."""
EXPIRES = 60.0
"""Seconds without one after which a run is taken for dead."""

_POLL = 1.0  # seconds


class Lease(Lock):
    """A lease as it is held; see `held`.

    Args:
      path: of the object.
      text: what this run wrote there.
      generation: of the object.
    """

    def __init__(self, path: AnyPath, text: str, generation: int):
        self._path, self._text, self._generation = path, text, generation

    def check(self) -> None:
        """See `Lock`."""
        try:
            found = bucket.read(self._path)
        except BucketError:
            return  # It may answer again.
        if found is None:
            raise CheckpointError(holder.gone(self._path.parent, self._path.name))
        if found[0] != self._text:
            raise CheckpointError(holder.taken(self._path.parent, found[0]))

    def renew(self) -> None:
        """Gives a sign of life, unless another has come.

        Raises:
          BucketError: the bucket does not answer.
        """
        if found := bucket.write(self._path, self._text, over=self._generation):
            self._generation = found.generation

    def end(self) -> None:
        """Lets go of the work dir, unless another has come."""
        with contextlib.suppress(BucketError):  # It expires.
            found = bucket.read(self._path)
            if found and found[0] == self._text:
                bucket.remove(self._path, generation=found[1].generation)


@contextlib.contextmanager
def held(
    path: AnyPath, *, command: str, every: float = EVERY, expires: float = EXPIRES
) -> Iterator[Lock]:
    """Holds a work dir in a bucket against other programs.

    Args:
      path: of the object.
      command: that writes there, for messages.
      every, expires: see `EVERY` and `EXPIRES`.

    Raises:
      CheckpointError: another program holds it, or has an object of that name there.
      BucketError: the bucket does not answer.
    """
    text = holder.describe(command, process=_process(os.getpid()))
    lease = Lease(path, text, _taken(path, text, expires=expires).generation)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(every):
            with contextlib.suppress(BucketError):  # The next one may come through.
                lease.renew()

    thread = threading.Thread(target=renew, daemon=True, name="lease")
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        lease.end()


def _taken(path: AnyPath, text: str, *, expires: float) -> Object:
    """Writes the object, as soon as nobody living holds it."""
    seen: int | None = None
    while True:
        found = bucket.read(path)
        before, known = found or ("", None)
        if found and not holder.is_of_a_run(before):
            raise CheckpointError(holder.foreign(path))
        if known is None or _is_dead(before) or _age(path, known) > expires:
            mine = bucket.write(path, text, over=known.generation if known else 0)
            if mine is not None:
                if known is not None:
                    _log.warning(
                        "%s was used by %s, which did not end as it should.",
                        path.parent,
                        holder.in_words(before),
                    )
                return mine
            continue  # Another one was quicker.
        if seen is None:
            seen = known.generation
            tell(
                f"{path.parent} is held by {holder.in_words(before)}: waiting for its"
                f" next sign of life, or for {expires:.0f} s without one."
            )
        elif seen != known.generation:
            raise CheckpointError(holder.in_use(path.parent, before))
        time.sleep(_POLL)


def _age(path: AnyPath, known: Object) -> float:
    """Seconds since an object was written, both by the bucket's clock."""
    probe = path.with_name(f".clock-{secrets.token_hex(8)}")
    now = bucket.write(probe, "")
    if now is None:
        return 0.0
    bucket.remove(probe, generation=now.generation)
    return (now.updated - known.updated).total_seconds()


def _is_dead(text: str) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    known = holder.told(text).get("process")
    pid = holder.told(text).get("pid")
    if not isinstance(known, dict) or not isinstance(pid, int):
        return False
    here = _process(os.getpid())
    same = here is not None and known.get("machine") == here["machine"]
    return same and _process(pid) != known


def _process(pid: int) -> dict[str, Any] | None:
    """What tells a process from all others, of this and of other machines.

    A machine is one since it was started, and a container of it one of its own.

    Returns:
      None where that is not known, or there is no such process.
    """
    with contextlib.suppress(OSError, IndexError):
        proc = pathlib.Path("/proc")
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(proc / "self/ns/pid")
        # Its name, in brackets, may have anything in it.
        stat = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        if stat[0] in "ZX":  # It has ended, and only its parent does not know.
            return None
        return {"machine": f"{boot} {namespace}", "started": stat[19]}
    return None
