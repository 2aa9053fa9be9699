"""Compiling a recipe's train step for TPUs that are not here."""

import importlib.metadata
import importlib.util
import os
import re
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding

from spade_jax import assemble, nets
from spade_jax.devices import mesh, tpu_flags
from spade_jax.devices.batches import batch_sharding
from spade_jax.devices.mesh import Devices
from spade_jax.devices.parallel import parallel_train_step
from spade_jax.learning.perceptual import PerceptualNetwork
from spade_jax.nets.vgg import Variant
from spade_jax.plan.chips import MEGACORE, Topology
from spade_jax.progress import phase
from spade_jax.recipe import Loss, Recipe

# libtpu asks Google Cloud's metadata server what this machine is, complains if nothing
# answers, and serves one process at a time, unless it is told.
_NO_TPU_HERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


class DoesNotFitError(RuntimeError):
    """The compiler found no way to run the step in a device's memory.

    Attributes:
      needed: bytes, or None where the compiler does not tell.
      available: bytes, or None.
    """

    def __init__(self, message: str):
        super().__init__(message)
        # "Used 20.1G of 15.75G hbm." or, of the temporaries alone, "the total memory
        # required for HLO temporaries (48.00G) exceeds available HBM (15.75G)".
        found = re.search(r"Used (\S+) of (\S+) hbm", message) or re.search(
            r"temporaries \((\S+)\) exceeds available HBM \((\S+)\)", message
        )
        self.needed, self.available = map(_bytes, found.groups() if found else "  ")


class Memory(NamedTuple):
    """Bytes that a step takes on each device.

    Attributes:
      arguments: the state, the device's share of the batch and the perceptual network.
      temporaries: what the step needs while it runs, the activations above all.
      outputs: the new state, and the losses.
      reused: the part of the outputs that takes the place of donated arguments.
      program: the compiled code, which lies there too.
    """

    arguments: int
    temporaries: int
    outputs: int
    reused: int
    program: int

    @property
    def total(self) -> int:
        """All of it."""
        return (
            self.arguments
            + self.temporaries
            + self.outputs
            - self.reused
            + self.program
        )


class Compiled(NamedTuple):
    """What the compiler says of a step; everything is for one device.

    Attributes:
      memory: that it takes.
      flops: floating-point operations, elementwise ones included.
      bytes_accessed: of all operands and results, those that stay on the chip too.
        Loops count as one round, here and in `flops`.
      text: the program, optimised; see `spade_jax.plan.hlo`.
      seconds: that compiling took.
    """

    memory: Memory
    flops: float
    bytes_accessed: float
    text: str
    seconds: float


def devices(topology: Topology) -> Devices:
    """Descriptions of a topology's devices, to compile for.

    Raises:
      ValueError: libtpu is missing, or knows no such topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            "Compiling for TPUs needs the package libtpu, also where there is no TPU:"
            " pip install 'spade-jax[tpu]'."
        )
    tpu_flags.configure()
    for name, value in _NO_TPU_HERE.items():
        os.environ.setdefault(name, value)
    options = {}
    if topology.chip in MEGACORE:
        options["chip_config_name"] = "megacore"
    if topology.num_chips == 1:
        options["chips_per_host_bounds"] = topology.shape + (1,) * (
            3 - len(topology.shape)
        )
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=topology.name, **options
        )
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(
            f"--topology={topology.name}: libtpu knows no such topology ({error})."
        ) from error
    return found.devices


def libtpu_version() -> str:
    """The version of the package that compiles."""
    return importlib.metadata.version("libtpu")


def lower(recipe: Recipe, devices: Devices) -> jax.stages.Lowered:
    """Traces the train step of a recipe for some devices; no array is made.

    Args:
      recipe: what to train. A perceptual network of 'auto' is VGG19, as in the paper;
        its weights are not needed.
      devices: to share the batch, of a topology or real ones.

    Raises:
      ValueError: fields of the recipe do not fit together.
    """
    compute = recipe.compute
    shared = mesh.make_mesh(devices, spatial=compute.spatial)
    mesh.check_batch(recipe.schedule.batch_size, shared, accumulate=compute.accumulate)
    networks = assemble.networks(recipe.architecture, compute, axis_name=mesh.DATA_AXIS)
    assemble.check_size(networks, recipe.architecture.size)
    optimizers = assemble.optimizers(
        recipe.optimizer, recipe.schedule, steps_per_epoch=1
    )
    perceptual = _perceptual(recipe.loss)
    replicated = mesh.replicated(shared)
    step = parallel_train_step(
        assemble.train_step(
            recipe, networks, optimizers, perceptual, axis_name=mesh.DATA_AXIS
        ),
        shared,
        dtype=recipe.compute.dtype,
    )
    return step.lower(
        _placed(assemble.abstract_state(recipe), replicated),
        abstract_batch(recipe, shared),
        None if perceptual is None else _placed(perceptual.params, replicated),
    )


def abstract_batch(recipe: Recipe, devices: Mesh) -> dict:
    """A batch as training makes it for a mesh, in shapes only.

    Args:
      recipe: of which the architecture, the batch size and the computation count.
      devices: see `mesh.make_mesh`.
    """
    architecture = recipe.architecture
    shape = (recipe.schedule.batch_size, *architecture.size)
    batch = {
        "image": jax.ShapeDtypeStruct((*shape, 3), jnp.float32),
        "label": np.zeros(shape, np.int32),
    }
    if architecture.edges:
        batch["edge"] = np.zeros(shape, bool)
    add_tables = assemble.tabulator(
        architecture,
        recipe.compute,
        shards=devices.shape[mesh.DATA_AXIS] * recipe.compute.accumulate,
        platform="tpu",
    )
    if add_tables is not None:
        batch = add_tables(batch)
    return {
        name: _placed(entry, batch_sharding(name, devices))
        for name, entry in batch.items()
    }


def compile_step(lowered: jax.stages.Lowered) -> Compiled:
    """Compiles a step, which can take many minutes; says so on stderr meanwhile.

    Raises:
      DoesNotFitError: it needs more memory than a device has.
    """
    start = time.monotonic()
    with phase("Compiling the train step", usually="many minutes at full size"):
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise DoesNotFitError(str(error)) from error
    seconds = time.monotonic() - start
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    text = compiled.as_text()
    if memory is None or cost is None or text is None:
        raise RuntimeError("This compiler does not tell what its programs take.")
    return Compiled(
        memory=Memory(
            arguments=memory.argument_size_in_bytes,
            temporaries=memory.temp_size_in_bytes,
            outputs=memory.output_size_in_bytes,
            reused=memory.alias_size_in_bytes,
            program=memory.generated_code_size_in_bytes,
        ),
        flops=cost["flops"],
        bytes_accessed=cost["bytes accessed"],
        text=text,
        seconds=seconds,
    )


def perceptual_variant(of: Loss) -> Variant | None:
    """Which network the perceptual loss is planned with, or None where it is off."""
    if not of.perceptual or of.perceptual_network == "none":
        return None
    return "vgg16" if of.perceptual_network == "vgg16" else "vgg19"


def _perceptual(of: Loss) -> PerceptualNetwork | None:
    variant = perceptual_variant(of)
    if variant is None:
        return None
    # Convolutions: their weights do not depend on the picture's size.
    image = jnp.zeros((1, 32, 32, 3))
    variables = nets.variable_shapes(nets.VGG(variant), image)
    return PerceptualNetwork(variant, variables["params"])


def _placed(tree, sharding: NamedSharding):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )


def _bytes(size: str) -> int | None:
    match = re.fullmatch(r"([\d.]+)([KMGT]?)", size)
    if match is None:
        return None
    return round(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))
