"""A trace of a run whose work dir is in a bucket."""

import jax
import jax.numpy as jnp

from spade_jax.files.places import place
from spade_jax.training.trace import STEPS, Trace


def test_a_trace_is_carried_to_the_bucket(bucket):
    double = jax.jit(lambda x: 2 * x)
    with Trace(f"{bucket}/run", begin=2) as trace:
        for step in range(1, STEPS + 3):
            with trace.step(step):
                doubled = double(jnp.float32(step))
            trace.done(step, doubled)
    runs = list((place(f"{bucket}/run") / "plugins" / "profile").iterdir())
    assert len(runs) == 1
    names = [path.name for path in runs[0].iterdir()]
    assert any(name.endswith(".xplane.pb") for name in names)
