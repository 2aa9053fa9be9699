"""A plan as data, and as text for people."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax

from spade_jax import assemble
from spade_jax.plan import ahead, counted, hlo, kept, table_loops
from spade_jax.plan.chips import GIB, Chip, Topology, roofline
from spade_jax.plan.collectives import collectives
from spade_jax.plan.traffic import traffic
from spade_jax.recipe import Data, Recipe

# Training pictures of the published datasets, by config.data.source; the recipes say
# where the numbers are from.
NUM_EXAMPLES = {
    "ade20k": 20_210,
    "camvid": 367,
    "cityscapes": 2_975,
    "coco_stuff": 118_287,
    "facades": 505,
    "landscapes": 40_000,
}


def make_plan(
    recipe: Recipe,
    topology: Topology,
    *,
    num_examples: int | None = None,
    distinct: Mapping[int, float] = counted.DISTINCT,
    cache: pathlib.Path,
) -> dict[str, Any]:
    """Compiles a recipe's train step for a topology and says what it takes.

    Args:
      recipe: what to train.
      topology: see `spade_jax.plan.chips.parse_topology`.
      num_examples: training pictures; None for the published number.
      distinct: see `spade_jax.plan.counted.count`; it matters to factored steps only.
      cache: directory in which what the compiler says is kept.

    Returns:
      What can be written as JSON. Bytes and FLOPs are those of one device; numbers that
      are not known are None.

      topology, num_devices
      device: peak_flops, bandwidth, memory
      versions: of jax and libtpu
      step: batch_size, a_device (pictures for a device, or for `spatial` of them),
        height, width, dtype, remat, factored, spatial, accumulate
      multiply_accumulates: for one picture; see `spade_jax.plan.counted.Counted`
      fits: whether the step runs in a device's memory
      memory: see `spade_jax.plan.ahead.Memory`, and their total
      remedies: only if it does not fit: what to change, as (flag, effect)
      shortage: only if the compiler gave up; memory and what follows are missing then:
        needed and available, as far as it tells, and its message
      flops: counted; compiled; ratio, the second over the first
      traffic: bytes to and from memory (see `spade_jax.plan.traffic`); loops, the part
        of it in loops of a length that the layouts decide; unknown, how many of these
        count as one round
      bytes_accessed: the compiler's own count, of what stays on the chip too
      compile_seconds
      collectives: see `spade_jax.plan.collectives.Collective`
      time: arithmetic and traffic, in seconds a step at the device's peak; step, the
        longer one; bound, its name; images_per_second
      recipe: num_examples, steps, days

    Raises:
      ValueError: fields of the recipe, or the topology, are wrong.
    """
    devices = ahead.devices(topology)
    lowered = ahead.lower(recipe, devices)
    device = topology.device(len(devices))
    compute, batch_size = recipe.compute, recipe.schedule.batch_size
    height, width = recipe.architecture.size
    factored = assemble.factored(recipe.architecture, compute, platform="tpu").is_so
    count = counted.count(recipe, distinct=distinct if factored else None)
    plan = {
        "topology": topology.name,
        "num_devices": len(devices),
        "device": {
            "peak_flops": device.flops,
            "bandwidth": device.bandwidth,
            "memory": device.memory,
        },
        "versions": {
            "jax": jax.__version__,
            "libtpu": ahead.libtpu_version(),
        },
        "step": {
            "batch_size": batch_size,
            "a_device": batch_size * compute.spatial // len(devices),
            "height": height,
            "width": width,
            "dtype": compute.dtype,
            "remat": compute.remat,
            "factored": factored,
            "spatial": compute.spatial,
            "accumulate": compute.accumulate,
        },
        "multiply_accumulates": count._asdict(),
        "flops": {"counted": 2 * count.train_step * batch_size // len(devices)},
    }
    try:
        compiled = kept.compile_once(lowered, chip=topology.chip, directory=cache)
    except ahead.DoesNotFitError as error:
        return plan | {
            "fits": False,
            "shortage": {
                "needed": error.needed,
                "available": error.available,
                "message": str(error),
            },
            "remedies": remedies(recipe, topology, num_devices=len(devices)),
        }
    parts = len(devices) // compute.spatial * compute.accumulate
    rounds = functools.partial(
        table_loops.rounds,
        sizes=table_loops.block_sizes(recipe),
        pictures=batch_size // parts,
        distinct=distinct,
    )
    plan |= _compiled(compiled, plan, recipe, device, num_examples, rounds)
    if not plan["fits"]:
        plan["remedies"] = remedies(recipe, topology, num_devices=len(devices))
    return plan


def remedies(
    recipe: Recipe, topology: Topology, *, num_devices: int
) -> list[tuple[str, str]]:
    """What makes a step that does not fit smaller, gentlest first: (flag, effect)."""
    found, compute = [], recipe.compute
    if compute.dtype != "bfloat16":
        found.append(("--config.dtype=bfloat16", "halves the activations"))
    if not compute.remat and assemble.is_modulated(recipe.architecture):
        found.append(
            (
                "--config.remat=True",
                "computes the generator's blocks again instead of keeping what is in"
                " them",
            )
        )
    shape = (*topology.shape[:-1], 2 * topology.shape[-1])
    larger = f"--topology={topology.chip}:{'x'.join(map(str, shape))}"
    a_device = recipe.schedule.batch_size * compute.spatial // num_devices
    if a_device > 1:
        found.append((larger, "shares the batch by twice the chips"))
    else:
        found.append(
            (
                f"{larger} --config.spatial={2 * compute.spatial}",
                "shares each picture by twice the chips",
            )
        )
    if a_device > compute.accumulate:
        found.append(
            (
                f"--config.accumulate={2 * compute.accumulate}",
                "computes the batch in smaller parts; batch norm sees each by itself",
            )
        )
    return found


def _compiled(
    compiled, plan, recipe, device: Chip, num_examples, rounds
) -> dict[str, Any]:
    flops = plan["flops"]["counted"]
    program = hlo.parse(compiled.text)
    moved = _traffic(program, rounds)
    least = roofline(device, flops=flops, bytes_accessed=moved["bytes"])
    if num_examples is None:
        num_examples = _num_examples(recipe.data)
    steps = recipe.schedule.num_steps
    if num_examples is not None:
        steps = recipe.schedule.last_step(num_examples)
    return {
        # The compiler looks at temporaries; arguments come on top.
        "fits": compiled.memory.total <= device.memory,
        "memory": compiled.memory._asdict() | {"total": compiled.memory.total},
        "flops": {
            "counted": flops,
            "compiled": compiled.flops,
            "ratio": None if _has_loops(plan["step"]) else compiled.flops / flops,
        },
        "traffic": moved,
        "bytes_accessed": compiled.bytes_accessed,
        "compile_seconds": compiled.seconds,
        "collectives": [c._asdict() for c in collectives(program)],
        "time": least._asdict()
        | {
            "step": least.seconds,
            "bound": least.bound,
            "images_per_second": recipe.schedule.batch_size / least.seconds,
        },
        "recipe": {
            "num_examples": num_examples,
            "steps": steps,
            "days": None if steps is None else steps * least.seconds / 86400,
        },
    }


def _traffic(
    program: hlo.Program, rounds: Callable[[str], int | None]
) -> dict[str, int]:
    found = traffic(program)
    of_loops = [(loop, rounds(loop.source)) for loop in found.loops]
    in_loops = sum(loop.bytes * (n or 1) for loop, n in of_loops)
    return {
        "bytes": found.bytes + in_loops,
        "loops": in_loops,
        "unknown": sum(n is None for _, n in of_loops),
    }


def _has_loops(step: Mapping[str, Any]) -> bool:
    return step["factored"] or step["accumulate"] > 1


def _num_examples(of: Data) -> int | None:
    if of.source == "scenes":
        return of.scenes.num_train
    return NUM_EXAMPLES.get(of.source)


def describe(plan: Mapping[str, Any], *, title: str) -> str:
    """The plan as text."""
    step, device, flops = plan["step"], plan["device"], plan["flops"]
    lines = [
        f"{title} on {plan['topology']}: {plan['num_devices']} devices, each of"
        f" {_scaled(device['peak_flops'], 'FLOP/s')} (bf16),"
        f" {_scaled(device['bandwidth'], 'B/s')}, {_gib(device['memory'])}",
        f"A step: {step['batch_size']} pictures {step['width']} wide and"
        f" {step['height']} high, {_share(step)}; {step['dtype']},"
        f" remat {'on' if step['remat'] else 'off'},"
        f" {'factored' if step['factored'] else 'dense'}",
        "Counted for one picture, in multiply-accumulates: "
        + ", ".join(
            f"{name.replace('_', ' ')} {_scaled(value, '')}".rstrip()
            for name, value in plan["multiply_accumulates"].items()
            if value
        ),
    ]
    if not plan["fits"]:
        lines += ["", *_shortage(plan)]
    if "memory" not in plan:
        return "\n".join(lines)
    least, recipe = plan["time"], plan["recipe"]
    at_best = "more than" if plan["traffic"]["unknown"] else "at best"
    lines += [
        f"Compiled in {plan['compile_seconds']:.0f} s by libtpu"
        f" {plan['versions']['libtpu']} with jax {plan['versions']['jax']}",
        "",
        "Memory of a device",
        *_memory(plan),
        "",
        "Work of a device in a step",
        f"  arithmetic {_scaled(flops['counted'], 'FLOP'):>12}"
        f" {least['arithmetic'] * 1e3:9.2f} ms at peak; {_against_compiler(plan)}",
        f"  traffic    {_scaled(plan['traffic']['bytes'], 'B'):>12}"
        f" {least['traffic'] * 1e3:9.2f} ms at full bandwidth; {_of_traffic(plan)}",
        f"  {at_best} {least['step'] * 1e3:.2f} ms a step, bound by {least['bound']}:"
        f" {least['images_per_second']:.1f} images/s at most",
        "",
        *_recipe(recipe),
        "",
        *_collectives(plan["collectives"]),
    ]
    return "\n".join(lines)


def _share(step):
    share = f"{step['a_device']} a device"
    if step["spatial"] > 1:
        share = f"{step['a_device']} for {step['spatial']} devices"
    if step["accumulate"] > 1:
        share += f" in {step['accumulate']} parts"
    return share


def _shortage(plan):
    short = plan.get("shortage")
    needed, available = (
        (short["needed"], short["available"])
        if short
        else (plan["memory"]["total"], plan["device"]["memory"])
    )
    amounts = ""
    if needed is not None:
        amounts = f": it needs {_gib(needed)} of the {_gib(available)} there are"
    yield f"DOES NOT FIT a device{amounts}."
    if short and needed is None:
        yield f"The compiler: {short['message']}"
    yield "Any of these makes it smaller:"
    for flag, effect in plan["remedies"]:
        yield f"  {flag}: {effect}"


def _memory(plan):
    memory, device = plan["memory"], plan["device"]["memory"]
    notes = {
        "arguments": "state, batch, perceptual network",
        "temporaries": "activations and the like",
        "outputs": f"{_gib(memory['reused'])} of them in the arguments' place",
        "program": "",
    }
    for name, note in notes.items():
        yield f"  {name:<12}{_gib(memory[name]):>10}  {note}".rstrip()
    free = device - memory["total"]
    state = f"fits, {free / device:.0%} free" if plan["fits"] else "too much"
    yield f"  {'total':<12}{_gib(memory['total']):>10}  of {_gib(device)}: {state}"


def _against_compiler(plan):
    flops = plan["flops"]
    compiled = f"compiler {_scaled(flops['compiled'], 'FLOP')}"
    if flops["ratio"] is None:
        return f"{compiled}, with loops as one round"
    return f"{compiled}, {flops['ratio']:.2f} times that"


def _of_traffic(plan):
    moved = plan["traffic"]
    parts = [f"compiler {_scaled(plan['bytes_accessed'], 'B')}, on the chip included"]
    if moved["loops"]:
        parts.append(f"{_scaled(moved['loops'], 'B')} in loops over neighbourhoods")
    if moved["unknown"]:
        parts.append(f"{moved['unknown']} loop(s) of unknown length as one round")
    return "; ".join(parts)


def _recipe(recipe):
    if recipe["steps"] is None:
        yield "Give --num_examples for the days that the recipe takes."
        return
    pictures = recipe["num_examples"]
    of = "" if pictures is None else f" ({pictures:,} training pictures)"
    days = recipe["days"]
    time = f"{days:.2f} days" if days >= 1 else f"{24 * days:.2f} hours"
    yield f"The recipe: {recipe['steps']:,} steps{of}, {time} or more"


def _collectives(collectives):
    count = sum(c["count"] for c in collectives)
    size = sum(c["count"] * c["bytes"] for c in collectives)
    yield f"Collectives of a step: {count}, of {_scaled(size, 'B')}"
    yield from map(_collective, collectives)


def _collective(c):
    shape = "x".join(map(str, c["shape"] or ())) if c["arrays"] == 1 else ""
    what = f"{c['dtype']}[{shape}]" if c["arrays"] == 1 else f"{c['dtype']}, "
    if c["arrays"] != 1:
        what += f"{c['arrays']} arrays"
    return f"  {c['count']:>3} x {c['kind']} of {what}: {_scaled(c['bytes'], 'B')}"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"


def _scaled(value: float, unit: str) -> str:
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value / 1e3:.3g} k{unit}"
