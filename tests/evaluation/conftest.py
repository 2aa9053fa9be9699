"""What the tests of evaluation share: a folder of pictures, and a work dir."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from spade_jax import assemble
from spade_jax.devices import mesh
from spade_jax.metrics import own_segmenter
from spade_jax.recipe import describe
from spade_jax.workdir.saving import Checkpoints

SIZE, COUNT = 32, 5
NAMES = ("sky", "sea", "sand")


def _make_pictures(root, split, count):
    random = np.random.default_rng(0)
    for folder in ("img", "label"):
        (root / f"{split}_{folder}").mkdir(parents=True)
    for i in range(count):
        label = random.integers(0, 3, (8, 8)).repeat(4, 0).repeat(4, 1)
        label[0] = 255
        image = random.integers(0, 256, (SIZE, SIZE, 3))
        for folder, array in (("label", label), ("img", image)):
            path = root / f"{split}_{folder}" / f"{i}.png"
            Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of pictures: of each split five, and splits of one and of none."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("val", COUNT), ("train", COUNT), ("one", 1), ("empty", 0)):
        _make_pictures(root, split, count)
    return root


@pytest.fixture(scope="module")
def recipe(make_default_config, root):
    """A tiny model of those pictures."""
    config = make_default_config()
    config.update_from_flattened_dict(
        {
            "batch_size": 2,
            "num_steps": 7,
            "data.root": str(root),
            "data.num_classes": 3,
            "data.unknown_label": 255,
            "data.classes": NAMES,
            "data.crop_size": SIZE,
            # Quick to compile, and without spectral norm, whose vectors mean nothing
            # with random weights.
            "generator.name": "pix2pixhd",
            "generator.norm": "syncbatch",
            "generator.width": 2,
            "generator.downsamplings": 1,
            "generator.blocks": 1,
            "encoder.norm": "instance",
            "discriminator.norm": "instance",
            "discriminator.width": 2,
            "discriminator.num_layers": 2,
            "discriminator.num_scales": 1,
            "loss.perceptual": 0.0,
        }
    )
    return describe(config)


@pytest.fixture(scope="module")
def segmenter(fill):
    """A segmenter of those pictures, with random weights."""
    description = own_segmenter.Description(
        dataset="folder",
        names=NAMES,
        palette=(),
        truth=(0, 1, 2, -1),
        unknown_label=255,
        size=(SIZE, SIZE),
        widths=(2,),
        norm="syncbatch",
        steps=1,
        scores={},
        recipe={},
    )
    blank = jnp.zeros((1, SIZE, SIZE, 3))
    shapes = jax.eval_shape(
        lambda: description.module().init(jax.random.key(0), blank, train=False)
    )
    return own_segmenter.make(description, fill(shapes))


@pytest.fixture(scope="module")
def run(tmp_path_factory, recipe, segmenter, fill):
    """A work dir: random weights as the checkpoint of step 7, and a segmenter."""
    workdir = tmp_path_factory.mktemp("run")
    abstract = assemble.abstract_state(recipe)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract)
    variables = fill(abstract.generator.variables)
    params = variables.pop("params")
    state = state.replace(
        step=np.int32(7),
        generator=state.generator.replace(params=params, stats=variables),
    )
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(jax.tree.map(jnp.asarray, state), recipe=recipe)
        checkpoints.wait()
    own_segmenter.save(workdir / own_segmenter.FILE, segmenter)
    return workdir


@pytest.fixture(scope="module")
def one_device():
    """A mesh of one device."""
    return mesh.make_mesh(jax.devices()[:1])
