"""Several processes that train as one program: how they meet, and how they end.

Every process runs the same command on its share of the devices. They meet at process
0, the coordinator. What all of them have to know before the devices can talk, such as
that one of them lacks its data, goes through the coordinator's store, so that nobody
waits in a collective operation for a process that is gone.
"""

import contextlib
import ipaddress
import itertools
import logging
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

import jax

# The coordinator's store has no public name in JAX. Orbax uses this one too.
from jax._src.distributed import global_state as _coordination

from spade_jax.files.places import AnyPath, place

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

# Building a dataset may take hours. Should process 0 die meanwhile, the wait ends then.
_LONG = 7 * 24 * 3600
# For so long network file systems may hold that a new file does not exist.
_PROPAGATION = 60
# How long a process that ends waits for the others to say that they end, too.
_FAREWELL = 5
# Seconds after which a process tells that it waits.
_PATIENCE = 10
# Seconds from a process' last word to its end.
_PARTING = 2

# What jax.distributed.initialize looks for to know a step of a Slurm job.
_SLURM = (
    "SLURM_JOB_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
)
# What the libraries write that carry a computation between processes, and the
# coordinator's, when the other side does not answer.
_OF_CONTACT = (
    *("Gloo", "NCCL", "Connection", "connection", "Socket closed", "UNAVAILABLE"),
    *("DEADLINE_EXCEEDED", "heartbeat", "ABORTED", "CANCELLED"),
)
_calls = itertools.count()


class ProcessError(RuntimeError):
    """Another process of this run failed."""


def initialize(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes, if there are any. To be called before JAX is used.

    Without arguments it does so where the environment tells of several processes: in a
    step of a Slurm job, and on TPU hosts that name each other in TPU_WORKER_HOSTNAMES.

    Args:
      coordinator: HOST:PORT of process 0, or "auto" to find it and the two other
        numbers as `jax.distributed.initialize` does, on TPU VMs from their metadata.
      num_processes: of the run. With 1 there is nothing to join.
      process_id: 0 .. num_processes - 1.

    Raises:
      ValueError: the arguments do not fit together.
      ProcessError: the others were not to be found.
    """
    numbers = {"num_processes": num_processes, "process_id": process_id}
    given: dict[str, Any] = {
        name: value
        for name, value in ({"coordinator": coordinator} | numbers).items()
        if value is not None
    }
    if coordinator == "auto":
        if len(given) > 1:
            raise ValueError(
                "--coordinator=auto finds the other numbers itself: leave out"
                f" {' and '.join(f'--{name}' for name in given if name in numbers)}."
            )
        _join("as this machine's metadata say")
    elif given:
        _check(given)
        if given["num_processes"] > 1:
            _join(
                f"at --coordinator={coordinator}",
                coordinator_address=coordinator,
                num_processes=num_processes,
                process_id=process_id,
                # In a Slurm step JAX would still take one device a process.
                cluster_detection_method="deactivate",
                **_bound(given["coordinator"] if process_id == 0 else ""),
            )
    elif _processes_of_environment() > 1:
        _join("as the environment says")


def process_number() -> int:
    """This process' number among those that joined; 0 where there is one.

    Other than `jax.process_index` it does not begin to use the devices.
    """
    return _coordination.process_id


def together(work: Callable[[], _Result]) -> _Result:
    """Does the same work in every process; if one fails, all do.

    Process 0 goes first, so that a dataset is built once and not once a process; then
    the others work at the same time. To be called by all processes in the same order.

    Returns:
      What `work` returned here.

    Raises:
      Exception: what `work` raised here.
      ProcessError: it raised in another process.
      RuntimeError: devices of processes that did not join are in use.
    """
    if jax.process_count() == 1:
        return work()
    _check_joined()
    name = f"spade_jax/together/{next(_calls)}"
    me, everyone = jax.process_index(), range(jax.process_count())
    if me != 0:
        _tell_if_long(name, me)
        _raise_failure(name, [0])
    try:
        result = work()
    except Exception as error:
        _publish(f"{name}/{me}", _describe(error))
        raise
    _publish(f"{name}/{me}", "")
    _raise_failure(name, everyone)
    return result


def check_shared(directory: str | os.PathLike[str]) -> None:
    """Refuses a directory that is not the same one for all processes.

    To be called by all of them. Of several processes the first creates it.

    Raises:
      ValueError: this process does not see what process 0 has written there.
      ProcessError: another one does not.
    """
    if jax.process_count() == 1:
        return
    # A name that nobody else gives, as it is removed.
    mark = place(directory) / ".spade_jax_processes"

    def look():
        if jax.process_index() == 0:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        elif not _appears(mark):
            raise ValueError(
                f"{mark.parent} is not the same directory for all processes: process"
                f" {jax.process_index()} sees nothing of what process 0 wrote there."
                " Give --workdir a directory that all hosts share."
            )

    try:
        together(look)
    finally:
        if jax.process_index() == 0:
            mark.unlink(missing_ok=True)


def check_same(field: str, value: str) -> None:
    """Refuses what processes find differently, each on its host.

    To be called by all of them.

    Args:
      field: of the config, that decides it.
      value: what it comes to for this process.

    Raises:
      ValueError: the value is not that of process 0.
      ProcessError: another process' is not.
    """
    if jax.process_count() == 1:
        return
    me, key = jax.process_index(), f"spade_jax/same/{next(_calls)}"

    def compare():
        if me == 0:
            _publish(key, value)
            return
        first = _store().blocking_key_value_get(key, 1000 * _LONG)
        if value != first:
            raise ValueError(
                f"config.{field} comes to {value!r} for process {me}, but to {first!r}"
                " for process 0. Give all hosts the same files and packages, or set it"
                " to what all of them have."
            )

    together(compare)


def lost_contact(error: BaseException) -> bool:
    """Whether an error is that another process does not answer, or no longer.

    Its computations end so in all processes when one was killed, crashed, or is cut
    off; and what follows from that, such as that no checkpoint could be saved. A device
    that is out of memory is no such error.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, jax.errors.JaxRuntimeError):
            return any(sign in str(cause) for sign in _OF_CONTACT)
        cause = cause.__cause__
    return False


def check_others() -> None:
    """Tells this process, while it waits for the others, that one of them has ended.

    Raises:
      ProcessError: with its message.
      JaxRuntimeError: process 0 is gone.
    """
    if not jax.distributed.is_initialized():
        return
    for key, told in _store().key_value_dir_get("spade_jax/ended/"):
        raise ProcessError(f"process {key.rpartition('/')[2]}: {told[1:]}")


def part() -> None:
    """Waits for the other processes, which end as well, before this one does."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def leave(message: str, *, is_cause: bool = True, status: int = 1) -> NoReturn:
    """Ends this process with a message and an exit status.

    Of several processes one speaks: process 0 gives the message of the one at fault,
    among those that end; another only where process 0 does not end, too, or is gone. A
    process that ends alone does so at once: the usual way out of Python would wait for
    the others, and they in a collective operation for it.

    Args:
      message: for the user.
      is_cause: whether the error began here, rather than as the consequence of another
        process' end.
      status: of several processes; of one alone it is 1.
    """
    if not jax.distributed.is_initialized():
        sys.exit(message)
    me, everyone = _coordination.process_id, range(_coordination.num_processes)
    found: dict[int, str] = {}
    # Process 0 may be gone already, and the store with it.
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _publish(f"spade_jax/ended/{me}", f"{int(not is_cause)}{message}")
        found = _fetch_soon("spade_jax/ended", everyone)
    if me == 0:
        # The first of those at fault.
        process, told = min(found.items(), key=lambda item: item[1][0])
        where = f" (process {process})" if process else ""
        print(f"{told[1:]}{where}", file=sys.stderr)
        # The store ends with this process, so it goes last.
        _fetch_soon("spade_jax/left", [other for other in found if other != me])
        # And those that wait for the store's answer to that would be aborted.
        time.sleep(_PARTING)
    elif 0 not in found:
        print(message, file=sys.stderr)
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _publish(f"spade_jax/left/{me}", "")
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _check(given: dict[str, Any]) -> None:
    names = ("coordinator", "num_processes", "process_id")
    missing = [f"--{name}" for name in names if name not in given]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing:"
            " --coordinator=HOST:PORT (of process 0), --num_processes=N and"
            " --process_id=0..N-1 belong together. On a TPU VM --coordinator=auto is"
            " enough; in a Slurm step none is needed."
        )
    if not _is_address(given["coordinator"]):
        raise ValueError(
            f"--coordinator={given['coordinator']!r} is no address: write HOST:PORT of"
            " process 0, for example 10.0.0.1:8476, or 'auto'."
        )
    count, index = given["num_processes"], given["process_id"]
    if not 0 <= index < count:
        raise ValueError(
            f"--process_id={index} is not one of --num_processes={count} processes,"
            " which are counted from 0."
        )


def _is_address(text: str) -> bool:
    """Whether it is HOST:PORT, with a port that others can be told."""
    host, _, port = text.rpartition(":")
    try:
        host.encode("idna")  # as sockets do
    except UnicodeError:
        return False
    digits = port.isascii() and port.isdecimal() and len(port) < 6
    return bool(host) and digits and 0 < int(port) < 2**16


def _bound(address: str) -> dict[str, str]:
    """Lets process 0 listen at HOST:PORT alone, if that is an address of this machine.

    JAX would listen on all its networks. A name that means this machine to itself only
    (127.0.1.1, as Debian has it) is not where others would look for it.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = {
            str(info[4][0]): info[0]
            for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        }
    except OSError:
        return {}
    is_literal = host in found
    for ip, family in found.items():
        is_loopback = ipaddress.ip_address(ip.partition("%")[0]).is_loopback
        if is_loopback and not is_literal and host != "localhost":
            continue
        with contextlib.suppress(OSError), socket.socket(family) as trial:
            trial.bind((ip, 0))
            shown = f"[{ip}]" if family == socket.AF_INET6 else ip
            return {"coordinator_bind_address": f"{shown}:{port}"}
    return {}


def _join(where: str, **arguments) -> None:
    # It would take SIGTERM for itself, and a process that does not train yet would
    # outlive it. While training, StopRequest of spade_jax.training.stop does that.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**arguments)
    except Exception as error:
        raise ProcessError(
            f"Cannot join the other processes {where}: {error}\nIs the same command"
            " running on every host, each with its own --process_id, and can they reach"
            " process 0's port? A process on its own needs none of these flags."
        ) from error


def _processes_of_environment() -> int:
    if all(name in os.environ for name in _SLURM):
        # Of the step, not of the allocation: one process started in an allocation of
        # many is alone.
        return int(os.environ.get("SLURM_STEP_NUM_TASKS", os.environ["SLURM_NTASKS"]))
    for name in ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES"):
        if os.environ.get(name):
            return len(os.environ[name].split(","))
    return 1


def _check_joined() -> None:
    if not jax.distributed.is_initialized():
        raise RuntimeError(
            f"The devices here are shared by {jax.process_count()} processes that did"
            " not join: start the same command on every host with --coordinator=auto"
            " (launch/tpu_vm.sh does)."
        )


def _appears(path: AnyPath) -> bool:
    deadline = time.monotonic() + _PROPAGATION
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _tell_if_long(name: str, me: int) -> None:
    """Tells what this process waits for, if process 0 takes long to go first."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _store().blocking_key_value_get(f"{name}/0", 1000 * _PATIENCE)
        return
    # As a warning, since all but process 0 keep their peace otherwise.
    _log.warning(
        "Process %d waits for process 0, which goes first where data is opened: it"
        " may have to be drawn or built.",
        me,
    )


def _raise_failure(name: str, processes: range | list[int]) -> None:
    """Waits until processes have told how their work went, and raises if one failed."""
    for process in processes:
        failure = _store().blocking_key_value_get(f"{name}/{process}", 1000 * _LONG)
        if failure:
            raise ProcessError(f"process {process}: {failure}")


def _store() -> Any:
    """The coordinator's, which is there once this process has joined."""
    return _coordination.client


def _publish(key: str, value: str) -> None:
    _store().key_value_set(key, value, allow_overwrite=True)


def _fetch_soon(name: str, processes: Iterable[int]) -> dict[int, str]:
    """What processes have published under a name, of those that do so in time."""
    found, deadline = {}, time.monotonic() + _FAREWELL
    for process in processes:
        left = max(deadline - time.monotonic(), 0.1)
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            found[process] = _store().blocking_key_value_get(
                f"{name}/{process}", int(1000 * left)
            )
    return found
