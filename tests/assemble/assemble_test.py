import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax import assemble, nets
from spade_jax.assemble.objective import objective
from spade_jax.layout import Layout
from spade_jax.learning import perceptual
from spade_jax.recipe import describe


def networks(config, **options):
    recipe = describe(config)
    return assemble.networks(recipe.architecture, recipe.compute, **options)


def optimizers(config):
    recipe = describe(config)
    return assemble.optimizers(recipe.optimizer, recipe.schedule, steps_per_epoch=10)


def tabulator(config, **options):
    recipe = describe(config)
    return assemble.tabulator(recipe.architecture, recipe.compute, **options)


def test_unknown_label_is_one_class_more(default_config):
    default_config.data.num_classes = 12
    assert describe(default_config).data.num_ids == 12
    default_config.data.unknown_label = 0
    assert describe(default_config).data.num_ids == 13


def test_networks_are_those_of_the_fields(default_config):
    config = default_config
    config.data.num_classes = 7
    config.data.unknown_label = 255
    config.dtype = "bfloat16"
    config.remat = True
    config.generator.update(width=3, norm="spadebatch5x5", hidden=9, upsampling="more")
    config.discriminator.update(num_scales=3, num_layers=5, width=6, norm="instance")
    found = networks(config, axis_name="data")
    assert found.generator == nets.SPADEGenerator(
        num_classes=8,
        width=3,
        upsampling="more",
        norm="spadebatch5x5",
        hidden=9,
        grid=(4, 4),
        axis_name="data",
        dtype=jnp.dtype("bfloat16"),
        remat=True,
    )
    assert found.discriminator == nets.MultiscaleDiscriminator(
        num_classes=8,
        num_scales=3,
        num_layers=5,
        width=6,
        norm="instance",
        axis_name="data",
        dtype=jnp.dtype("bfloat16"),
    )
    assert found.encoder is None
    assert found.latent_size is None


def test_latents(default_config):
    config = default_config
    config.generator.latent_size = 32
    config.data.crop_size = 512
    config.data.aspect_ratio = 2.0
    config.generator.latent = "noise"
    found = networks(config)
    assert found.encoder is None
    assert found.latent_size == found.generator.latent_size == 32
    assert found.generator.grid == (8, 16)
    config.generator.latent = "vae"
    config.encoder.update(width=5, image_size=128, norm="syncbatch")
    found = networks(config, axis_name="data")
    assert found.encoder == nets.ImageEncoder(
        width=5,
        latent_size=32,
        image_size=128,
        norm="syncbatch",
        axis_name="data",
        dtype=jnp.dtype("float32"),
    )


def test_baselines(default_config):
    config = default_config
    config.generator.update(name="pix2pixhd", norm="instance", downsamplings=3)
    found = networks(config).generator
    assert found == nets.Pix2PixHDGenerator(
        2, norm="instance", downsamplings=3, dtype=jnp.dtype("float32")
    )
    config.generator.update(name="concat", norm="batch", upsampling="most")
    found = networks(config).generator
    assert found == nets.ConcatGenerator(
        2, upsampling="most", norm="batch", dtype=jnp.dtype("float32")
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "unet"}, r"config\.generator\.name='unet' is not one of spade, pix2"),
        (
            {"latent": "z"},
            r"config\.generator\.latent='z' is not one of none, vae, noi",
        ),
        (
            {"name": "concat", "latent": "vae"},
            r"latent='vae' needs config\.generator\.name='spade'; 'concat' starts from",
        ),
    ],
)
def test_choices_that_do_not_exist(default_config, fields, message):
    default_config.generator.update(fields)
    with pytest.raises(ValueError, match=message):
        networks(default_config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"data.crop_size": 31},
            r"^config\.data\.crop_size=31 and config\.data\.aspect_ratio=1\.0 make pict"
            r"ures 31 wide and 31 high, which leave no start grid for config\.generator"
            r"\.upsampling='normal': each side must be 32 pixels or more\.",
        ),
        ({"data.aspect_ratio": 20.0}, "256 wide and 13 high, .* no start grid"),
        (
            {"data.crop_size": 64, "generator.upsampling": "most"},
            "no start grid .* 128 pixels or more",
        ),
        (
            {
                "generator.name": "pix2pixhd",
                "generator.norm": "instance",
                "data.crop_size": 72,
            },
            r"which config\.generator\.downsamplings=4 cannot halve so often: both",
        ),
    ],
)
def test_sizes_that_the_generator_does_not_make(default_config, fields, message):
    default_config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=message):
        networks(default_config)


@pytest.mark.parametrize("instances", [True, False])
@pytest.mark.parametrize("ratio", [1.0, 2.0, 0.5])
def test_example_layout_is_of_the_size_of_the_data(default_config, instances, ratio):
    config = default_config
    config.data.update(
        instances=instances, aspect_ratio=ratio, crop_size=64, load_size=64
    )
    layout = assemble.example_layout(describe(config).architecture)
    assert layout.label.shape == (1, round(64 / ratio), 64)
    assert (layout.edge is not None) == instances
    generator = networks(config).generator
    shapes = jax.eval_shape(
        functools.partial(generator.init_with_output, train=False),
        jax.random.key(0),
        layout,
    )
    assert shapes[0].shape == (*layout.label.shape, 3)


def test_learning_rates(default_config):
    """TTUR: half for the generator, twice for the discriminator; else the same."""
    config = default_config
    config.num_epochs, config.decay_epochs = 2, 2
    config.optimizer.learning_rate = 1e-3

    def rates(step):
        found = optimizers(config)
        return [
            float(rate(step))
            for rate in (
                found.generator_learning_rate,
                found.discriminator_learning_rate,
            )
        ]

    assert rates(0) == pytest.approx([5e-4, 2e-3])
    assert rates(29) == pytest.approx([5e-4, 2e-3])
    assert rates(30) == pytest.approx([2.5e-4, 1e-3])
    assert rates(40) == [0, 0]
    config.optimizer.ttur = False
    assert rates(0) == pytest.approx([1e-3, 1e-3])


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.9), (0.5, 0.999)])
def test_adam(default_config, beta1, beta2):
    config = default_config
    config.optimizer.update(beta1=beta1, beta2=beta2, epsilon=0.1)
    found = optimizers(config)
    gradients = np.array([[2.0, -0.5], [-1.0, 0.25]], np.float32)
    mean = square = np.zeros(2)
    for optimizer in (found.generator, found.discriminator):
        state = optimizer.init(jnp.zeros(2))
        mean = square = np.zeros(2)
        for i, gradient in enumerate(gradients, start=1):
            update, state = optimizer.update(jnp.asarray(gradient), state)
            mean = beta1 * mean + (1 - beta1) * gradient
            square = beta2 * square + (1 - beta2) * gradient**2
            root = np.sqrt(square / (1 - beta2**i))
            expected = mean / (1 - beta1**i) / (root + 0.1)
            np.testing.assert_allclose(update, expected, rtol=1e-5)


def test_evaluation_sees_the_whole_picture_unmirrored(default_config):
    config = default_config
    config.data.update(crop_size=48, load_size=50, aspect_ratio=2.0)
    training = assemble.preprocess(describe(config).data, training=True)
    evaluation = assemble.preprocess(describe(config).data, training=False)
    assert (training.load_size, training.crop_size, training.flip) == (50, 48, True)
    sizes = evaluation.load_size, evaluation.crop_size, evaluation.flip
    assert sizes == (48, 48, False)
    assert training.aspect_ratio == evaluation.aspect_ratio == 2.0
    assert training.mode == evaluation.mode == "resize_and_crop"
    assert (training.centre, evaluation.centre) == (False, True)
    config.data.flip = False
    assert not assemble.preprocess(describe(config).data, training=True).flip


def test_home_directory_in_the_root(default_config, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    default_config.data.root = "~/pictures"
    with pytest.raises(ValueError, match=f"{tmp_path}/pictures/train_img"):
        assemble.source(describe(default_config).data, "train")


def test_perceptual_network_is_not_looked_for_without_a_weight(
    default_config, monkeypatch
):
    asked = []
    monkeypatch.setattr(perceptual, "load", lambda *a, **k: asked.append((a, k)))
    default_config.loss.perceptual = 0.0
    assert assemble.perceptual(describe(default_config).loss) is None
    assert not asked
    default_config.loss.perceptual = 1.0
    default_config.loss.vgg_file = "a.npz"
    assemble.perceptual(describe(default_config).loss)
    assert asked == [(("auto",), {"vgg_file": "a.npz"})]


def test_label_beyond_the_config_gives_no_plane(default_config):
    """Class ids count the unknown class; the layers get them all."""
    default_config.data.num_classes = 2
    default_config.data.unknown_label = 255
    planes = Layout(jnp.array([[[0, 1, 2]]])).planes(
        describe(default_config).data.num_ids
    )
    assert planes[0, 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_label_colors_are_the_palette_or_a_file(default_config, tmp_path):
    config = default_config
    assert assemble.label_colors(describe(config).data) is None
    config.data.label_colors = "palette"
    config.data.palette = ((1, 2, 3), (4, 5, 6))
    config.data.classes = ("sea", "sky")
    config.data.color_tolerance = 2.0
    table = assemble.label_colors(describe(config).data)
    assert table.colors == ((1, 2, 3), (4, 5, 6))
    assert table.names == ("sea", "sky")
    assert table.tolerance == 2.0
    file = tmp_path / "palette.txt"
    file.write_text("7 7 7 sand\n8 8 8 rock\n")
    config.data.label_colors = str(file)
    assert assemble.label_colors(describe(config).data).colors == ((7, 7, 7), (8, 8, 8))


def test_a_palette_file_is_kept_in_the_config(default_config, tmp_path):
    config = default_config
    recipe = describe(config)
    assert assemble.with_palette(recipe) is recipe
    file = tmp_path / "palette.txt"
    file.write_text("7 7 7 sand\n8 8 8 rock\n")
    config.data.label_colors = str(file)
    before = assemble.label_colors(describe(config).data)
    kept = assemble.with_palette(describe(config.lock()))
    file.unlink()
    assert kept.data.classes == ("sand", "rock")
    assert assemble.label_colors(kept.data).colors == before.colors
    assert config.data.palette == ()


@pytest.mark.parametrize("family", ["spade", "oasis"])
@pytest.mark.parametrize("kinds", ["", "cutout", "color,cutout", "cutout,translation"])
def test_what_the_discriminator_sees_is_augmented_if_asked(
    default_config, family, kinds
):
    if family == "oasis":
        default_config.generator.name, default_config.generator.latent = "oasis", "none"
        default_config.discriminator.name = "unet"
        default_config.discriminator.norm = "spectral"
        default_config.loss.feature_matching = 0.0
    default_config.loss.augment = kinds
    recipe = describe(default_config)
    of = objective(recipe, networks(default_config), None)
    batch = {"label": np.zeros((2, 4, 4), np.int32)}
    assert ("place" in of.prepare(batch)) == bool(kinds)


@pytest.mark.parametrize(
    ("factored", "platform", "tabulated"),
    [
        (None, "cpu", True),
        (None, "gpu", False),
        (None, "tpu", False),
        (True, "tpu", True),
        (False, "cpu", False),
    ],
)
def test_layouts_are_tabulated_where_that_is_quicker_or_asked_for(
    default_config, factored, platform, tabulated
):
    default_config.factored = factored
    default_config.data.crop_size = 64
    add_tables = tabulator(default_config, shards=2, platform=platform)
    assert (add_tables is not None) == tabulated
    if tabulated:
        batch = add_tables({"label": np.zeros((2, 64, 64), np.int32)})
        assert list(batch["tables"]) == [f"{n}x{n}" for n in (2, 4, 8, 16, 32, 64)]
        assert batch["tables"]["64x64"].at.shape == (2, 64 * 64)


@pytest.mark.parametrize(
    ("fields", "platform", "why"),
    [
        ({"factored": True}, "tpu", "config.factored=True"),
        ({}, "cpu", "known to be quicker on cpu with 128 hidden features"),
        ({}, "tpu", "not known to be quicker on tpu with 128 hidden features"),
        ({"spatial": 2}, "cpu", "devices share pictures"),
        (
            {"generator.norm": "spectralcladesyncbatch"},
            "cpu",
            "its modulations are looked up by class",
        ),
        (
            {"generator.name": "pix2pixhd", "generator.norm": "spectralinstance"},
            "cpu",
            "generator pix2pixhd has no modulations",
        ),
    ],
)
def test_why_it_is_factored_or_not(default_config, fields, platform, why):
    default_config.update_from_flattened_dict(fields)
    recipe = describe(default_config)
    found = assemble.factored(recipe.architecture, recipe.compute, platform=platform)
    assert found == (why.startswith(("known", "config.factored=True")), why)


def test_only_spade_can_be_factored(default_config):
    default_config.generator.update(name="pix2pixhd", norm="spectralinstance")
    assert tabulator(default_config, shards=1, platform="cpu") is None
    default_config.factored = True
    with pytest.raises(ValueError, match=r"factored=True needs .*'pix2pixhd' has no"):
        tabulator(default_config, shards=1, platform="cpu")


@pytest.mark.parametrize("name", ["spade", "pix2pixhd", "concat"])
def test_sizes_that_a_generator_does_not_make_are_refused(default_config, name):
    default_config.update_from_flattened_dict(
        {"generator.name": name, "data.crop_size": 96}
        | ({} if name == "spade" else {"generator.norm": "spectralsyncbatch"})
    )
    found = networks(default_config)
    assemble.check_size(found, (96, 96))
    message = r"pictures 100 wide and 100 high, .* 96 wide and 96 high.*crop_size"
    with pytest.raises(ValueError, match=message):
        assemble.check_size(found, (100, 100))
