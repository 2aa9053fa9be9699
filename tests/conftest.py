# ruff: noqa: E402
"""What the tests share: eight virtual devices, quick compilation, tiny networks.

Everything below `os.environ` has to happen before anything imports JAX.
"""

import atexit
import importlib.metadata
import os
import pathlib
import shutil
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
_JAXLIB = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2]))

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        # The tests spend their time compiling, not computing: without LLVM's
        # optimisations a train step compiles four times as fast. The HLO, and so the
        # numerics, are the same.
        "--xla_backend_optimization_level=0",
        # Parts of a program can be compiled beside one another, which costs more in
        # all, and the cores are busy with other tests.
        "--xla_cpu_parallel_codegen_split_count=1",
        # Quicker still, but jaxlib 0.12 crashes with it.
        "--xla_cpu_use_fusion_emitters=false" if _JAXLIB < (0, 11) else "",
    ]
)
# Kept between runs, and shared with the processes that tests start, down to single
# operations: reading one takes a sixth of the time of compiling it.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(REPOSITORY / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Data sets that are built where nobody says where, not in a person's home directory:
# each run builds them anew, as on a machine that has none.
os.environ["TFDS_DATA_DIR"] = tempfile.mkdtemp(prefix="spade_jax-tests-")
atexit.register(shutil.rmtree, os.environ["TFDS_DATA_DIR"], ignore_errors=True)
# `configs` lies beside the package, not in it.
sys.path.insert(0, str(REPOSITORY))

import contextlib
import functools
import gc
import importlib
import json
import resource

import hypothesis.strategies as st
import jax
import ml_collections
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from spade_jax import assemble
from spade_jax.nets import shapes
from spade_jax.nets.stages import STAGES, Stage
from spade_jax.recipe import describe
from spade_jax.workdir.saving import Checkpoints

# Tracing makes many objects and hardly any garbage: collections that look at all that
# was ever imported are a twentieth of the time.
gc.freeze()
gc.set_threshold(50_000, 20, 50)

TWO_STAGES = (Stage("head", 16, 1), Stage("up_0", 8, 2))

# What takes longest begins first, so that the last of two workers is not left with it.
SLOWEST = (
    "training/train_test.py",
    "multiprocess_test.py",
    "commands/predict_test.py",
    "parity/generator_test.py",
    "parity/training_test.py",
    "kill_test.py",
    "convert/main_test.py",
    "learning/train_step_test.py",
    "parity/family_test.py",
    "convert/family_test.py",
    "parity/end_to_end_test.py",
    "publish_test.py",
    "learning/train_step_devices_test.py",
    "docs_test.py",
    "studio/browser_test.py",
    "launch_test.py",
    "models/predictor_test.py",
    "parity/metric_networks/upernet_test.py",
    "commands/any_data_test.py",
    "nets/modulation_test.py",
    "plan/work_test.py",
    "export/onnx_test.py",
    "evaluation/evaluate_test.py",
)


def pytest_collection_modifyitems(items):
    """Runs the files of `SLOWEST` before the others, in its order."""
    tests = pathlib.Path(__file__).parent
    order = {tests / name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def other_blocks():
    """`other_blocks(name, stages)`: a context in which a decoder has other stages.

    Configs name one of the official decoders, of which the smallest is quicker to
    compile then.
    """

    @contextlib.contextmanager
    def patched(name, blocks):
        # Modules are remembered by what they were made with, which is the name.
        shapes.traced.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(STAGES, name, blocks)
            yield
        shapes.traced.cache_clear()

    return patched


@pytest.fixture(scope="session")
def two_blocks(other_blocks):
    """A context within which a config's SPADE has two blocks."""
    return functools.partial(other_blocks, "normal", TWO_STAGES)


@pytest.fixture(scope="session")
def two_stages():
    """The stages of a decoder of two blocks, for a generator's `upsampling`."""
    return TWO_STAGES


# Goldens and samples beside the repository, and the few numbers that come with it.
SHARED = REPOSITORY.parent / "shared"
NUMBERS = REPOSITORY / "tests" / "parity" / "numbers"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The directory of goldens and samples beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    return SHARED


@pytest.fixture(scope="session")
def goldens(shared) -> pathlib.Path:
    """The directory of numbers recorded from the official implementation."""
    return shared / "goldens"


@pytest.fixture(scope="session")
def golden_file():
    """`golden_file(name)`: where one of their files is, or the part of it kept here."""

    def find(name):
        for directory in (SHARED / "goldens", NUMBERS):
            if (directory / name).is_file():
                return directory / name
        return pytest.skip(f"neither {SHARED} nor {NUMBERS} has {name}")

    return find


@pytest.fixture(scope="session")
def golden(golden_file):
    """`golden(name)`: the arrays and the `meta` of one of their files."""

    def load(name):
        with np.load(golden_file(f"{name}.npz")) as file:
            arrays = {key: file[key] for key in file.files}
        return arrays, json.loads(str(arrays.pop("meta")))

    return load


@pytest.fixture(scope="session")
def make_default_config():
    """`get_config` of `configs/default.py`."""
    return importlib.import_module("configs.default").get_config


@pytest.fixture
def default_config(make_default_config) -> ml_collections.ConfigDict:
    """`configs/default.py`, a copy of one's own."""
    return make_default_config()


@pytest.fixture(scope="session")
def fill():
    """`fill(abstract, seed)`: random variables of the shapes of a module's.

    Drawn by NumPy, because compiling a module's own initialisation takes longer than
    most tests. Unlike that one (gain 0.02) it keeps signals at their size, so that
    every term of a computation shows in its result. `abstract` is a nested dict, as
    `jax.eval_shape` of `module.init` gives.
    """

    def draw(name, shape, random):
        normal = random.standard_normal(shape)
        match name:
            case "kernel" | "position_kernel":
                return normal / np.sqrt(np.prod(shape[:-1]))
            case "bias" | "mean":
                return 0.1 * normal
            case "scale" | "class_scale" | "var":
                return np.exp(0.1 * normal)
            case "u" | "v":
                return normal / np.linalg.norm(normal)
            case "count":
                return np.zeros(shape)
        raise ValueError(f"no rule for {name}")

    def make(abstract, seed=0):
        random = np.random.default_rng(seed)
        flat = {
            path: draw(path[-1], leaf.shape, random).astype(leaf.dtype)
            for path, leaf in flatten_dict(abstract).items()
        }
        return unflatten_dict(flat)

    return make


@pytest.fixture(scope="session")
def tiny_recipe(make_default_config):
    """`tiny_recipe(**fields)`: of a model of 3 classes and 32x32 pixels.

    A field of the config is what is given by its name with dots.
    """

    def make(**fields):
        config = make_default_config()
        config.update_from_flattened_dict(
            {
                "batch_size": 2,
                "data.num_classes": 3,
                "data.unknown_label": 255,
                "data.classes": ("sky", "sea", "<sand>"),
                "data.crop_size": 32,
                # Without spectral norm, whose vectors mean nothing with random weights.
                "generator.norm": "spadesyncbatch3x3",
                "generator.width": 2,
                "generator.hidden": 4,
                "encoder.norm": "instance",
                "discriminator.norm": "instance",
                "discriminator.width": 2,
                "discriminator.num_layers": 2,
                "discriminator.num_scales": 1,
                "loss.perceptual": 0.0,
                **fields,
            }
        )
        return describe(config)

    return make


@pytest.fixture(scope="session")
def save_model(tiny_recipe, fill):
    """`save_model(workdir, **fields)`: random weights as a checkpoint of step 7.

    Of a `tiny_recipe`. The averaged weights, if any, are zero.
    """

    def save(workdir, **fields):
        recipe = tiny_recipe(**fields)
        abstract = assemble.abstract_state(recipe)
        state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract)
        for seed, name in enumerate(("generator", "discriminator", "encoder")):
            net = getattr(abstract, name)
            if net is not None:
                variables = fill(net.variables, seed)
                params = variables.pop("params")
                net = getattr(state, name).replace(params=params, stats=variables)
                state = state.replace(**{name: net})
        state = jax.tree.map(jax.numpy.asarray, state.replace(step=np.int32(7)))
        with Checkpoints(workdir) as checkpoints:
            checkpoints.save(state, recipe=recipe)
            checkpoints.wait()

    return save


@pytest.fixture(scope="session")
def mutated():
    """`mutated(data, content)`: bytes with a change that `data` of hypothesis draws.

    Of one kind: a byte becomes another, some bytes are cut out, or some are put in.
    """

    def change(data, content: bytes) -> bytes:
        place = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "end", "insert"])):
            case "flip":
                flipped = content[place] ^ data.draw(st.integers(1, 255))
                return content[:place] + bytes([flipped]) + content[place + 1 :]
            case "cut":
                return content[:place] + content[place + data.draw(_SOME) :]
            case "end":
                return content[:place]
        some = data.draw(st.binary(min_size=1, max_size=16))
        return content[:place] + some + content[place:]

    return change


_SOME = st.integers(1, 16)


@pytest.fixture(scope="session")
def make_batch():
    """`make_batch(B, H, W, classes)`: a random batch, layouts in 4x4 patches."""

    def make(batch_size, height, width, num_classes, *, edges=True, seed=0):
        random = np.random.default_rng(seed)
        patches = random.integers(0, num_classes, (batch_size, height // 4, width // 4))
        batch = {
            "image": np.tanh(random.standard_normal((batch_size, height, width, 3))),
            "label": patches.repeat(4, axis=1).repeat(4, axis=2).astype(np.int32),
        }
        batch["image"] = batch["image"].astype(np.float32)
        if edges:
            batch["edge"] = random.random((batch_size, height, width)) < 0.2
        return batch

    return make


def _slow_conv(x, kernel, *, strides=1, padding=0):
    """Cross-correlation with zeros around, pixel by pixel."""
    size, features = kernel.shape[0], kernel.shape[-1]
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    height = (x.shape[1] - size) // strides + 1
    width = (x.shape[2] - size) // strides + 1
    out = np.zeros((len(x), height, width, features))
    for i in range(height):
        for j in range(width):
            y0, x0 = i * strides, j * strides
            patch = x[:, y0 : y0 + size, x0 : x0 + size]
            out[:, i, j] = np.einsum("bhwi,hwif->bf", patch, kernel)
    return out


@pytest.fixture(scope="session")
def slow_conv():
    """`slow_conv(x, kernel, strides=1, padding=0)` by definition, of NumPy arrays."""
    return _slow_conv


def _relative_error(ours, theirs) -> float:
    """Largest difference in a tree, relative to the largest value in the tree."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    pairs = [
        (np.asarray(x, np.float64), np.asarray(y, np.float64))
        for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    ]
    assert all(x.shape == y.shape for x, y in pairs)
    assert all(np.isfinite(x).all() for pair in pairs for x in pair)
    difference = max(np.abs(x - y).max() for x, y in pairs)
    return float(difference / max(np.abs(y).max() for _, y in pairs))


@pytest.fixture(scope="session")
def relative_error():
    """`relative_error(ours, theirs)` of two trees of arrays."""
    return _relative_error


@pytest.fixture(scope="session")
def assert_same_tree():
    """`assert_same_tree(a, b)`: equal structure, dtypes and bits."""

    def check(a, b):
        assert jax.tree.structure(a) == jax.tree.structure(b)
        for (path, x), y in zip(
            jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True
        ):
            assert x.dtype == y.dtype, jax.tree_util.keystr(path)
            np.testing.assert_array_equal(x, y, jax.tree_util.keystr(path))

    return check


@pytest.fixture
def no_large_files():
    """`with no_large_files(bytes)`: as on a full disk, larger ones are not written."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextlib.contextmanager
    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)

    return limit
