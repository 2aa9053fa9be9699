"""One process of several that save together, and what becomes of a failure.

    python save_worker.py WORKDIR FAILING COORDINATOR NUM_PROCESSES PROCESS_ID

saves one checkpoint, and then a second, for which process FAILING may write no files of
that length. It ends as training would.
"""

import resource
import signal
import sys

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import NamedSharding, PartitionSpec

from spade_jax.devices import distributed, mesh
from spade_jax.recipe import describe, library
from spade_jax.workdir.checkpoint import CheckpointError
from spade_jax.workdir.saving import Checkpoints

SIZE = 100_000  # numbers


@struct.dataclass
class State:
    """What is saved, of every process its share."""

    step: jax.Array
    shared: jax.Array


def main(
    workdir: str, failing: str, coordinator: str, count: str, process: str
) -> None:
    """Saves twice."""
    distributed.initialize(
        coordinator=coordinator, num_processes=int(count), process_id=int(process)
    )
    over = mesh.make_mesh()
    placed = State(
        mesh.replicated(over), NamedSharding(over, PartitionSpec(mesh.DATA_AXIS))
    )
    recipe = describe(library.default_config())

    def state(step: int) -> State:
        def make() -> State:
            return State(jnp.int32(step), jax.random.normal(jax.random.key(step), SIZE))

        return jax.jit(make, out_shardings=placed)()

    try:
        with Checkpoints(workdir, check_others=distributed.check_others) as checkpoints:
            checkpoints.save(state(1), recipe=recipe)
            checkpoints.wait()
            if process == failing:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            checkpoints.save(state(2), recipe=recipe)
            checkpoints.wait()
    except CheckpointError as error:
        distributed.leave(str(error))
    except distributed.ProcessError as error:
        distributed.leave(str(error), is_cause=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
