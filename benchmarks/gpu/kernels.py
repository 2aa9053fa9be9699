"""Which kernels a program spends its time in, from a trace of it."""

import collections
import pathlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import torch

from benchmarks.gpu.measure import Program

# Kinds of kernels by parts of their names, the first that fits; libraries' convolutions
# are matrix products by name, too.
_KINDS = {
    "convolutions and products": r"conv|gemm|xmma|cutlass|cudnn|matmul|\bdot|nvjet",
    "copies and transposes": r"copy|transpose|memcpy|memset|concatenate|pad",
    "reductions": r"reduc|norm|welford|argmax",
    "gathers and scatters": r"gather|scatter|dynamic_slice|dynamic_update|sort",
    "elementwise": r"fusion|elementwise|loop|triton|broadcast|vectorized|foreach",
}


# Kernels that are told by themselves.
_TOP = 10


class Event(NamedTuple):
    """One run of a kernel.

    Attributes:
      name: of the kernel.
      operation: of the program that started it, or "".
      nanoseconds: it took.
    """

    name: str
    operation: str
    nanoseconds: float


def of_jax(program: Program, *, calls: int) -> dict[str, Any]:
    """Traces calls of a program of JAX; gives what `summary` does."""
    inputs = program.inputs()
    program.wait(program.run(inputs))
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as directory:
        jax.profiler.start_trace(directory, profiler_options=options)
        try:
            for _ in range(calls):
                result = program.run(inputs)
            program.wait(result)
        finally:
            jax.profiler.stop_trace()
        (file,) = pathlib.Path(directory).rglob("*.xplane.pb")
        events = list(events_of(jax.profiler.ProfileData.from_file(str(file))))
    return summary(events, calls=calls, top=_TOP, paths=paths(program.text))


def of_pytorch(program: Program, *, calls: int) -> dict[str, Any]:
    """Traces calls of a program of PyTorch; gives what `summary` does."""
    inputs = program.inputs()
    program.wait(program.run(inputs))
    activities = torch.profiler.supported_activities()
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(calls):
            result = program.run(inputs)
        program.wait(result)
    return summary(pytorch_events_of(profile.events()), calls=calls, top=_TOP)


def pytorch_events_of(events: Iterable[Any]) -> list[Event]:
    """The kernels among the events of `torch.profiler`."""
    return [
        Event(event.name, "", 1e3 * event.time_range.elapsed_us())
        for event in events
        # Ranges that PyTorch names tell of the same time once more.
        if str(event.device_type).endswith("CUDA") and not event.is_user_annotation
    ]


def events_of(trace: Any) -> Iterator[Event]:
    """The kernels in a `jax.profiler.ProfileData`; on CPUs their operations."""
    planes = list(trace.planes)
    on_gpu = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    for plane in on_gpu or planes:
        for line in plane.lines:
            # Other lines of a GPU tell the same once more, by steps and modules.
            if on_gpu and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                operation = dict(event.stats).get("hlo_op", "")
                if on_gpu or operation:
                    yield Event(event.name, str(operation), event.duration_ns)


def paths(text: str) -> dict[str, str]:
    """By an operation's name where in the modules it is, from a compiled program."""
    return dict(re.findall(r'%?([\w.\-]+) = [^\n]*op_name="([^"]*)"', text))


def summary(
    events: Iterable[Event],
    *,
    calls: int,
    top: int,
    paths: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The kernels that take longest.

    Args:
      events: of several calls.
      calls: how many.
      top: kernels to name, and operations.
      paths: see there.

    Returns:
      Milliseconds a call: in `busy_ms` all, in `kinds` by kind of kernel, and in
      `kernels` and `operations` lists of the longest with their share and their number
      a call.
    """
    kinds: collections.Counter[str] = collections.Counter()
    kernels: collections.Counter[str] = collections.Counter()
    operations: collections.Counter[tuple[str, str]] = collections.Counter()
    times: collections.Counter[Any] = collections.Counter()
    for name, operation, nanoseconds in events:
        ms = nanoseconds / 1e6 / calls
        kinds[kind(name)] += ms
        kernels[name] += ms
        times[name] += 1
        if operation:
            operations[operation, name] += ms
            times[operation, name] += 1
    busy = sum(kernels.values())

    def row(key, ms, **named):
        share = ms / busy if busy else 0.0
        return {**named, "ms": ms, "share": share, "calls": times[key] / calls}

    return {
        "busy_ms": busy,
        "kinds": dict(kinds.most_common()),
        "kernels": [
            row(name, ms, kernel=name[:160]) for name, ms in kernels.most_common(top)
        ],
        "operations": [
            row(
                key, ms, operation=key[0], kernel=key[1][:160],
                path=(paths or {}).get(key[0], ""),
            )
            for key, ms in operations.most_common(2 * top)
        ],
    }  # fmt: skip


def kind(name: str) -> str:
    """What a kernel does, by its name."""
    for found, pattern in _KINDS.items():
        if re.search(pattern, name, re.IGNORECASE):
            return found
    return "others"
