import importlib.util
import math

import jax
import pytest

from spade_jax.devices import mesh
from spade_jax.devices.batches import batch_sharding
from spade_jax.kernels import choose
from spade_jax.nets import VGG
from spade_jax.plan import ahead, counted, hlo
from spade_jax.plan.chips import parse_topology
from spade_jax.plan.collectives import collectives
from spade_jax.plan.traffic import traffic
from spade_jax.progress import telling
from spade_jax.recipe import describe


class Lowered:
    """Stands for a step whose compilation fails."""

    def __init__(self, message):
        self._message = message

    def compile(self):
        raise jax.errors.JaxRuntimeError(self._message)


def shapes(tree):
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


@pytest.fixture
def baseline_config(tiny_config):
    """One that takes a third of the time to trace and to compile."""
    tiny_config.generator.update(
        name="pix2pixhd", latent="none", norm="spectralsyncbatch", width=16
    )
    tiny_config.generator.update(blocks=1, downsamplings=1)
    return tiny_config


def test_a_step_for_eight_devices(baseline_config, monkeypatch):
    # Loops, of which XLA counts one turn; there are none on what plans are for.
    monkeypatch.setattr(choose, "gradient_by_rows_pays", lambda *_: False)
    recipe = describe(baseline_config)
    lowered = ahead.lower(recipe, jax.devices())
    (state, batch, _), _ = lowered.args_info
    found = ahead.compile_step(lowered)

    params = (state.generator, state.discriminator)
    num_params = sum(
        math.prod(x.shape) for x in jax.tree.leaves([p.params for p in params])
    )
    program = hlo.parse(found.text)
    reductions = collectives(program)
    assert {c.kind for c in reductions} == {"all-reduce"}
    assert sum(c.bytes * c.count for c in reductions) > 4 * num_params
    assert reductions[0].dtype == "f32"

    # Parameters, Adam's two moments and the gradients between; the state is donated.
    assert found.memory.arguments > 3 * 4 * num_params
    assert found.memory.outputs > 3 * 4 * num_params
    assert found.memory.reused > 0.99 * found.memory.outputs - 4096
    assert found.memory.temporaries > 4 * num_params
    assert found.memory.total < 2 * found.memory.arguments + found.memory.temporaries
    assert found.bytes_accessed > found.memory.arguments
    # A CPU has no memory on the chip; the two counts agree but for their rules.
    assert 0.8 < traffic(program).bytes / found.bytes_accessed < 1.2
    assert 2 * 2 * counted.count(recipe).train_step < found.flops
    assert found.seconds > 0
    assert batch["image"].shape == (16, 32, 32, 3)


@pytest.mark.long
def test_averages_and_the_perceptual_network_are_lowered(baseline_config):
    baseline_config.ema_decay = 0.9
    baseline_config.loss.perceptual_network = "auto"
    lowered = ahead.lower(describe(baseline_config), jax.devices()[:2])
    (state, _, vgg), _ = lowered.args_info
    assert shapes(state.ema) == shapes(state.generator.params)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    expected = jax.eval_shape(VGG("vgg19").init, jax.random.key(0), image)
    assert shapes(vgg) == shapes(expected["params"])


def test_a_batch_has_tables_for_each_part_of_it(tiny_config):
    tiny_config.update(factored=True, accumulate=2)
    devices = mesh.make_mesh(jax.devices()[:2])
    found = shapes(ahead.abstract_batch(describe(tiny_config), devices))
    assert found["['image']"] == (16, 32, 32, 3)
    assert found["['label']"] == found["['edge']"] == (16, 32, 32)
    # Of four shards of four pictures.
    assert found["['tables']['8x8'].count"] == (4, 2)
    assert found["['tables']['8x8'].at"] == (4, 4 * 8 * 8)
    assert found["['tables']['8x8'].index"] == (16, 8, 8)


def test_devices_share_pictures(tiny_config):
    devices = mesh.make_mesh(jax.devices(), spatial=2)
    batch = ahead.abstract_batch(describe(tiny_config), devices)
    assert batch["label"].sharding == batch_sharding("label", devices)
    assert batch["label"].sharding.shard_shape((16, 32, 32)) == (4, 16, 32)


def test_a_batch_that_the_devices_cannot_share(tiny_config):
    tiny_config.batch_size = 12
    message = r"config\.batch_size=12 cannot be shared by 8 devices.* use 8 or 16"
    with pytest.raises(ValueError, match=message):
        ahead.lower(describe(tiny_config), jax.devices())


def test_a_size_that_the_generator_does_not_make(tiny_config):
    tiny_config.data.crop_size = 40
    message = (
        r"pictures 40 wide and 40 high, .* makes them 32 wide and 32 high\. Choose"
        r" config\.data\.crop_size .* multiples of 32"
    )
    with pytest.raises(ValueError, match=message):
        ahead.lower(describe(tiny_config), jax.devices())


@pytest.mark.parametrize(
    ("network", "weight", "variant"),
    [
        ("auto", 10.0, "vgg19"),
        ("vgg19", 10.0, "vgg19"),
        ("vgg16", 10.0, "vgg16"),
        ("none", 10.0, None),
        ("auto", 0.0, None),
    ],
)
def test_perceptual_network(default_config, network, weight, variant):
    default_config.loss.update(perceptual_network=network, perceptual=weight)
    assert ahead.perceptual_variant(describe(default_config).loss) == variant


def test_a_perceptual_network_that_there_is_not(default_config):
    default_config.loss.perceptual_network = "vgg11"
    message = r"config\.loss\.perceptual_network='vgg11' is not one of auto, vgg19"
    with pytest.raises(ValueError, match=message):
        describe(default_config)


@pytest.mark.parametrize(
    ("text", "needed", "available"),
    [
        ("Used 20.5G of 15.75G hbm. Exceeded hbm capacity", 20.5, 15.75),
        (
            "the total memory required for HLO temporaries (48.00G) exceeds available"
            " HBM (15.75G).",
            48.0,
            15.75,
        ),
        ("Used 512.0M of 1.00G hbm", 0.5, 1.0),
    ],
)
def test_the_compiler_tells_what_is_missing(text, needed, available):
    lowered = Lowered(f"RESOURCE_EXHAUSTED: Ran out of memory: {text}")
    with pytest.raises(ahead.DoesNotFitError, match="Ran out of memory") as error:
        ahead.compile_step(lowered)
    assert error.value.needed == needed * 2**30
    assert error.value.available == available * 2**30


def test_the_compiler_may_tell_nothing():
    with pytest.raises(ahead.DoesNotFitError) as error:
        ahead.compile_step(Lowered("RESOURCE_EXHAUSTED: no."))
    assert error.value.needed is error.value.available is None


def test_other_failures_of_the_compiler_stay_what_they_are():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: bug"):
        ahead.compile_step(Lowered("INTERNAL: bug"))


def test_without_libtpu_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'spade-jax\[tpu\]'"):
        ahead.devices(parse_topology("v5e:2x4"))


def test_long_compilations_give_signs_of_life(monkeypatch, caplog):
    monkeypatch.setattr(telling, "_PATIENCE", 0.001)
    caplog.set_level("INFO", "spade_jax")

    class Slow:
        def compile(self):
            while "Compiling the train step: 0 s so far." not in caplog.messages:
                pass
            raise jax.errors.JaxRuntimeError("INTERNAL: that is enough")

    with pytest.raises(jax.errors.JaxRuntimeError, match="enough"):
        ahead.compile_step(Slow())
