import types

import numpy as np

from spade_jax.evaluation import nearness
from spade_jax.recipe import with_fields


def test_perceptual_distance_is_measured_where_its_network_is(recipe, monkeypatch):
    assert set(nearness.measures(None)) == {"l1"}
    without = with_fields(recipe, loss__perceptual=1.0, loss__vgg_file="nowhere.npz")
    nothing, (warning,) = nearness.load(without.loss)
    assert nothing is None
    assert "config.loss.vgg_file='nowhere.npz' cannot be read" in warning
    assert "The perceptual distance is left out." in warning
    network = types.SimpleNamespace(
        apply=lambda variables, x: 5 * [x * variables["params"]]
    )
    features = types.SimpleNamespace(params=2.0)
    monkeypatch.setattr(nearness.perceptual, "module", lambda *args, **kw: network)
    random = np.random.default_rng(0)
    fake, real = random.uniform(-1, 1, (2, 3, 4, 4, 3)).astype(np.float32)
    found = nearness.measures(features)
    assert set(found) == {"l1", "perceptual"}
    ratio = found["perceptual"](fake, real) / found["l1"](fake, real)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
