"""Averaged weights have batch statistics of their own."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from spade_jax import assemble
from spade_jax.devices import mesh
from spade_jax.learning.batch import layout_of
from spade_jax.learning.state import Networks
from spade_jax.models import averaged
from spade_jax.nets.norm import BatchNorm
from spade_jax.recipe import describe

CLASSES = 3


class Generator(nn.Module):
    """A colour for each class, normalised over the batch."""

    axis_name: str | None = None
    dtype = "float32"

    @nn.compact
    def __call__(self, layout, *, train):
        x = nn.Dense(3, name="of_layout")(jax.nn.one_hot(layout.label, CLASSES))
        return BatchNorm(self.axis_name, name="norm")(x, train=train)


def test_recomputed_statistics_are_means_over_batches(fill):
    label = np.random.default_rng(0).integers(0, CLASSES, (16, 4, 4)).astype(np.int32)
    batches = [{"label": label[i : i + 8]} for i in (0, 8)]
    variables = fill(
        jax.eval_shape(
            lambda: Generator().init(
                jax.random.key(0), layout_of(batches[0]), train=False
            )
        )
    )
    variables["batch_stats"]["norm"]["count"] += 7
    networks = Networks(
        generator=Generator(mesh.DATA_AXIS),
        discriminator=None,
        encoder=None,
        latent_size=None,
    )
    found = averaged.recomputed_statistics(
        networks, variables, None, batches, mesh.make_mesh(), seed=0
    )
    dense = variables["params"]["of_layout"]
    x = dense["kernel"][label] + dense["bias"]
    halves = x.reshape(2, -1, 3)
    np.testing.assert_allclose(
        found["batch_stats"]["norm"]["mean"], halves.mean((0, 1)), rtol=1e-4
    )
    np.testing.assert_allclose(
        found["batch_stats"]["norm"]["var"],
        halves.var(axis=1, ddof=1).mean(0),
        rtol=1e-4,
    )
    assert found["params"] is variables["params"]
    assert found["batch_stats"]["norm"]["count"] == 7


@pytest.fixture
def recipe(default_config):
    default_config.update_from_flattened_dict(
        {
            "batch_size": 2,
            "data.source": "scenes",
            "data.num_classes": 13,
            "data.scenes.size": 32,
            "data.scenes.num_train": 5,
            "data.scenes.num_val": 2,
            "data.load_size": 32,
            "data.crop_size": 32,
            "generator.name": "pix2pixhd",
            "generator.norm": "syncbatch",
            "generator.width": 2,
            "generator.downsamplings": 1,
            "generator.blocks": 1,
        }
    )
    return describe(default_config)


def test_statistics_are_of_the_training_split(recipe, fill):
    variables = fill(assemble.abstract_state(recipe).generator.variables)
    one_device = mesh.make_mesh(jax.devices()[:1])

    def renewed(variables):
        return averaged.renewed_statistics(
            recipe, variables, None, devices=one_device, num_batches=2
        )

    found = renewed(variables)
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    before, after, last = (
        jax.tree.leaves(tree["batch_stats"])
        for tree in (variables, found, renewed(found))
    )
    assert sum((x != y).any() for x, y in zip(before, after, strict=True)) > 4
    for x, y in zip(after, last, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
