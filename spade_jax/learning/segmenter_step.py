"""One step of the project's own segmenter, on real pictures, as a pure function.

Letters: B batch, H height, W width.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from spade_jax.learning.average import average
from spade_jax.learning.batch import Batch
from spade_jax.learning.forward import forward
from spade_jax.learning.state import NetState, Params, Stats

IGNORED = -1
"""The class of ids that are not learned."""


def make_segmenter_step(
    *,
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    truth: tuple[int, ...],
    axis_name: str | None = None,
) -> Callable[[NetState, Batch], tuple[NetState, dict[str, jax.Array]]]:
    """Builds the update by one batch.

    The loss is the cross-entropy's mean over the labelled pixels of the whole batch, so
    that it does not matter how many devices share it. How gradients are averaged is
    told in `spade_jax.learning.train_step`.

    Args:
      module: from pictures to `logits`; see `spade_jax.metrics.nets.unet`.
      optimizer: with its learning rate.
      truth: for each id its class, `IGNORED` where it has none.
      axis_name: over which devices share the batch; None for one device.

    Returns:
      `step(state, batch)`: the new state, and float32 scalars `cross_entropy` and
      `accuracy`. The batch has `image` `[B, H, W, 3]` in [-1, 1] and `label` int32
      `[B, H, W]`.
    """

    def loss(params: Params, stats: Stats, batch: Batch):
        seen, stats = forward(module, params, stats, batch["image"])
        target = jnp.array(truth)[batch["label"]]
        known = target != IGNORED
        # Of the devices' mean, so that the mean of their sums is the whole batch's.
        count = average(known.sum().astype(jnp.float32), axis_name)
        count = jnp.maximum(count, 1.0)

        def mean(values: jax.Array) -> jax.Array:
            return jnp.where(known, values, 0).sum() / count

        losses = optax.softmax_cross_entropy_with_integer_labels(
            seen.logits, jnp.maximum(target, 0)
        )
        terms = {
            "cross_entropy": mean(losses),
            "accuracy": mean((seen.logits.argmax(-1) == target).astype(jnp.float32)),
        }
        return terms["cross_entropy"], (terms, stats)

    def step(state: NetState, batch: Batch) -> tuple[NetState, dict[str, jax.Array]]:
        gradients, (terms, stats) = jax.grad(loss, has_aux=True)(
            state.params, state.stats, batch
        )
        gradients, terms = average((gradients, terms), axis_name)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return NetState(params=params, stats=stats, opt_state=opt_state), terms

    return step
