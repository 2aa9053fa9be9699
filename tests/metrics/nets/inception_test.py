import math

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.metrics.nets import InceptionV3, inception


def test_features():
    image = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)
    init = InceptionV3().init_with_output
    features, variables = jax.eval_shape(init, jax.random.key(0), image)
    assert [x.shape for x in features] == [(2, 64), (2, 192), (2, 768), (2, 2048)]
    # Of Keras's InceptionV3(include_top=False), whose batch norm has no scale for its
    # 17,216 features.
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(variables))
    assert count == 21_802_784 + 17_216


def test_input():
    levels = np.linspace(0, 1, 2 * 3 * 299 * 299, dtype=np.float32)
    image = levels.reshape(2, 299, 299, 3)
    np.testing.assert_array_equal(inception.prepare(image), 2 * image - 1)
    assert inception.prepare(image[:, :64, :100]).shape == (2, 299, 299, 3)
