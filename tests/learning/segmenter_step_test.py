import jax
import numpy as np
import optax
import pytest

from spade_jax.devices import batches, mesh
from spade_jax.devices.parallel import SHARED, WHOLE, parallel
from spade_jax.learning.segmenter_step import IGNORED, make_segmenter_step
from spade_jax.learning.state import NetState
from spade_jax.metrics import own_segmenter


def test_one_device_equals_eight(fill, relative_error):
    description = own_segmenter.Description._make(
        [None] * len(own_segmenter.Description._fields)
    )
    description = description._replace(
        truth=(0, IGNORED, 1), widths=(2, 3), norm="syncbatch"
    )
    random = np.random.default_rng(0)
    label = random.integers(0, 3, (8, 4, 4)).astype(np.int32)
    label[0], label[1, :3] = 1, 1  # One device has no pixel to learn from.
    batch = {"image": random.uniform(-1, 1, (8, 4, 4, 3)).astype(np.float32)}
    batch["label"] = label
    # Not Adam, whose first step makes signs of gradients.
    optimizer = optax.sgd(0.1)
    shapes = jax.eval_shape(
        lambda: description.module().init(
            jax.random.key(0), batch["image"], train=False
        )
    )
    variables = fill(shapes)
    params = variables.pop("params")

    def updated(count):
        devices = mesh.make_mesh(jax.devices()[:count])
        step = make_segmenter_step(
            module=description.module(axis_name=mesh.DATA_AXIS),
            optimizer=optimizer,
            truth=description.truth,
            axis_name=mesh.DATA_AXIS,
        )
        state = NetState(params, variables, optimizer.init(params))
        state = jax.device_put(state, mesh.replicated(devices))
        state, terms = parallel(
            step, devices, inputs=(WHOLE, SHARED), output=WHOLE, donate=(0,)
        )(state, batches.shard_batch(batch, devices))
        return jax.device_get((state.variables, terms))

    one, eight = updated(1), updated(8)
    assert relative_error(one[0], eight[0]) < 1e-5
    assert relative_error(one[1], eight[1]) < 1e-5
    assert relative_error(one[0]["params"], params) > 1e-3
    # Ignored pixels are none of those that count.
    known = label != 1
    right = one[1]["accuracy"] * known.sum()
    assert right == pytest.approx(round(float(right)), abs=1e-3)
