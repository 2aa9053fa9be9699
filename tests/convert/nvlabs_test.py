import argparse
import contextlib
import os
import pickle
import shutil
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from spade_jax import assemble, convert
from spade_jax.convert import nvlabs, nvlabs_options, torch_file
from spade_jax.convert.official import read_recipe
from spade_jax.convert.official_files import OptionsError, parse_options
from spade_jax.models import opening
from spade_jax.recipe import describe, to_json, with_fields

pytest.importorskip("torch")

LETTERS = {"G": "generator", "D": "discriminator", "E": "encoder"}

OPTIONS = """
----------------- Options ---------------
              D_steps_per_G: 2
               aspect_ratio: 1.0
                  batchSize: 8                             \t[default: 1]
                      beta1: 0.5                           \t[default: 0.0]
                      beta2: 0.999                         \t[default: 0.9]
     contain_dontcare_label: True
                  crop_size: 128                           \t[default: 256]
               dataset_mode: coco
                   gan_mode: ls
                    gpu_ids: 0,1,2,3                       \t[default: 0]
                   label_nc: 5                             \t[default: 182]
                lambda_feat: 7.0
                 lambda_kld: 0.05
                 lambda_vgg: 10.0
                  load_size: 150                           \t[default: 286]
                         lr: 0.0001
                 n_layers_D: 3
                       name: tiny
                        ndf: 4
                       netD: multiscale
                       netG: spade
                        ngf: 2
                      niter: 30
                niter_decay: 10
                    no_TTUR: True                          \t[default: False]
                    no_flip: True
            no_ganFeat_loss: False
                no_instance: False
                no_vgg_loss: True                          \t[default: False]
                     norm_D: spectralinstance
                     norm_E: spectralinstance
                     norm_G: spectralspadesyncbatch3x3
                      num_D: 1
      num_upsampling_layers: normal
            preprocess_mode: resize_and_crop
                    use_vae: True
                      z_dim: 256
----------------- End -------------------
"""


def random_state_dict(module, edges):
    shapes = convert.official_shapes(
        module, convert.abstract_variables(module, edges=edges)
    )
    random = np.random.default_rng(0)
    return {
        key: np.array(0, np.int64)
        if key.endswith("num_batches_tracked")
        else random.standard_normal(shape, np.float32)
        for key, shape in shapes.items()
    }


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """An official checkpoint of a small VAE model: its directory and state dicts."""
    directory = tmp_path_factory.mktemp("original")
    (directory / "opt.txt").write_text(OPTIONS)
    architecture = read_recipe(directory).architecture
    networks = assemble.networks(architecture, read_recipe(directory).compute)
    state_dicts = {}
    for letter, name in LETTERS.items():
        module = getattr(networks, name)
        state_dicts[letter] = random_state_dict(module, architecture.edges)
        torch_file.write(directory / f"latest_net_{letter}.pth", state_dicts[letter])
    return directory, state_dicts


@pytest.fixture
def official(original, tmp_path):
    """A copy of `original` to change."""
    directory, state_dicts = original
    return shutil.copytree(directory, tmp_path / "official"), state_dicts


def set_option(directory, name, value):
    file = directory / "opt.txt"
    lines = [
        f"{name}: {value}" if line.split(":")[0].strip() == name else line
        for line in file.read_text().splitlines()
    ]
    assert f"{name}: {value}" in lines
    file.write_text("\n".join(lines))


def change_weights(directory, letter, change):
    file = directory / f"latest_net_{letter}.pth"
    state_dict = torch_file.read(file)
    change(state_dict)
    torch_file.write(file, state_dict)


def test_options_file(official):
    options = parse_options(official[0] / "opt.txt")
    assert options["label_nc"] == 5
    assert options["lr"] == 1e-4
    assert options["use_vae"] is True
    assert options["gpu_ids"] == "0,1,2,3"
    assert options["norm_G"] == "spectralspadesyncbatch3x3"
    assert len(options) == len(OPTIONS.strip().splitlines()) - 2


def test_options_file_of_the_end_to_end_case(goldens):
    options = parse_options(goldens / "e2e" / "coco_tiny_opt.txt")
    recipe = nvlabs_options.recipe_from_options(options, name="opt.txt")
    assert recipe.data.num_ids == recipe.architecture.num_ids == 183
    assert recipe.data.instances
    assert recipe.data.root == "SPADE/datasets/coco_stuff"
    assert recipe.data.classes[:2] == ("person", "bicycle")
    assert len(recipe.data.palette) == 182
    assert recipe.architecture.generator.width == 16
    assert recipe.schedule.batch_size == 4
    assert recipe.loss.kld == pytest.approx(0.05 * 4)  # gpu_ids -1: one device
    assert recipe.loss.perceptual == 0


def test_recipe(official, default_config):
    default_config.update(seed=7, batch_size=5)
    defaults = describe(default_config)
    before = to_json(defaults)
    recipe, variables = nvlabs.read_checkpoint(official[0], defaults=defaults)
    assert to_json(defaults) == before
    assert recipe.seed == 7
    assert recipe.schedule.batch_size == 8
    assert (recipe.schedule.num_epochs, recipe.schedule.decay_epochs) == (30, 10)
    assert recipe.schedule.discriminator_steps == 2
    assert recipe.data.num_classes == 5
    assert recipe.data.unknown_label == 255
    assert recipe.data.instances is True
    assert recipe.data.flip is False
    assert (recipe.data.load_size, recipe.data.crop_size) == (150, 128)
    assert recipe.data.preprocess_mode == "resize_and_crop"
    g, d, e = (
        getattr(recipe.architecture, name)
        for name in ("generator", "discriminator", "encoder")
    )
    assert g.latent == "vae"
    assert (g.width, e.width) == (2, 2)
    assert (d.num_scales, d.num_layers) == (1, 3)
    assert recipe.loss.gan == "ls"
    assert recipe.loss.feature_matching == 7.0
    assert recipe.loss.perceptual == 0.0
    # Two pictures a GPU.
    assert recipe.loss.kld == pytest.approx(0.1)
    assert recipe.optimizer.ttur is False
    assert (recipe.optimizer.beta1, recipe.optimizer.beta2) == (0.5, 0.999)
    assert recipe.optimizer.learning_rate == 1e-4
    assert all(variables.values())


@pytest.mark.parametrize(
    ("mode", "dont_care", "num_classes", "unknown"),
    [
        ("coco", True, 150, 255),
        ("coco", False, 150, None),
        ("custom", True, 150, 255),
        # Official ADE20K models see the ids as they are in the files: 0 is unknown.
        ("ade20k", True, 151, None),
        ("ade20k", False, 150, None),
    ],
)
def test_class_ids(mode, dont_care, num_classes, unknown, official):
    options = parse_options(official[0] / "opt.txt") | {
        "dataset_mode": mode,
        "contain_dontcare_label": dont_care,
        "label_nc": 150,
    }
    recipe = nvlabs_options.recipe_from_options(options, name="opt.txt")
    assert recipe.data.num_classes == num_classes
    assert recipe.data.unknown_label == unknown
    assert (recipe.data.classes[:1] == ("unknown",)) == (num_classes == 151)
    assert recipe.data.num_ids == 150 + dont_care


def test_there_and_back(official, tmp_path):
    directory, state_dicts = official
    recipe, variables = nvlabs.read_checkpoint(directory)
    back = tmp_path / "new" / "back"
    nvlabs.write_checkpoint(back, recipe=recipe, variables=variables)
    assert {file.name for file in back.iterdir()} == {
        *(f"latest_net_{letter}.pth" for letter in "GDE"),
        "opt.txt",
        "opt.pkl",
    }
    for letter, state_dict in state_dicts.items():
        tensors = torch_file.read(back / f"latest_net_{letter}.pth")
        assert list(tensors) == list(state_dict)
        for key, value in state_dict.items():
            np.testing.assert_array_equal(tensors[key], value, err_msg=key)
    again, _ = nvlabs.read_checkpoint(back)
    assert to_json(again) == to_json(recipe)


def test_written_options(official, tmp_path):
    recipe, variables = nvlabs.read_checkpoint(official[0])
    recipe = with_fields(recipe, discriminator__norm="spectralsyncbatch")
    variables = variables | {"discriminator": None}
    nvlabs.write_checkpoint(tmp_path / "out", recipe=recipe, variables=variables)
    theirs = parse_options(official[0] / "opt.txt")
    ours = parse_options(tmp_path / "out" / "opt.txt")
    changed = {name for name, value in theirs.items() if ours[name] != value}
    assert changed == {"name", "dataset_mode", "gpu_ids", "lambda_kld", "norm_D"}
    assert ours["norm_D"] == "spectralsync_batch"
    assert ours["lambda_kld"] * ours["batchSize"] == pytest.approx(recipe.loss.kld)
    with (tmp_path / "out" / "opt.pkl").open("rb") as file:
        namespace = pickle.load(file)
    assert isinstance(namespace, argparse.Namespace)
    assert {k: v for k, v in vars(namespace).items() if k != "gpu_ids"} == {
        k: v for k, v in ours.items() if k != "gpu_ids"
    }


def test_written_options_have_all_that_the_official_program_has(
    official, goldens, tmp_path
):
    recipe, variables = nvlabs.read_checkpoint(official[0])
    nvlabs.write_checkpoint(tmp_path / "out", recipe=recipe, variables=variables)
    ours = parse_options(tmp_path / "out" / "opt.txt")
    theirs = parse_options(goldens / "e2e" / "coco_tiny_opt.txt")
    assert theirs.keys() - ours.keys() == {
        "coco_no_portraits",  # of its COCO data only
        "which_epoch",  # of the program's call
    }


CONCAT = {
    "generator.name": "concat",
    "generator.norm": "spectralbatch",
    "generator.latent": "none",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator.hidden": 64}, r"generator\.hidden=64: it has 128"),
        ({"generator.latent": "noise"}, r"generator\.latent='noise'"),
        (CONCAT, "'concat'"),
        ({"encoder.width": 4}, r"encoder\.width=4: it has the generator's, 2"),
        ({"encoder.image_size": 64}, r"encoder\.image_size=64: it has 256"),
        ({"generator.latent_size": 8}, r"latent_size=8: it has 256 with an encoder"),
        ({"discriminator.norm": "instance"}, "needs the prefix 'spectral'"),
    ],
)
def test_not_official(changes, message, official, tmp_path):
    recipe, variables = nvlabs.read_checkpoint(official[0])
    recipe = with_fields(
        recipe, **{path.replace(".", "__"): value for path, value in changes.items()}
    )
    out = tmp_path / "out"
    with pytest.raises(OptionsError, match=message):
        nvlabs.write_checkpoint(out, recipe=recipe, variables=variables)
    assert not out.exists()


def test_only_the_generator(official):
    directory, _ = official
    (directory / "latest_net_D.pth").unlink()
    _, variables = nvlabs.read_checkpoint(directory)
    assert variables["discriminator"] is None
    assert variables["generator"] is not None


def test_another_epoch(official):
    directory, _ = official
    for letter in "GDE":
        file = directory / f"latest_net_{letter}.pth"
        file.rename(directory / f"30_net_{letter}.pth")
    nvlabs.read_checkpoint(directory, which="30")
    (directory / "30_net_G.pth").unlink()
    with pytest.raises(torch_file.FileError, match=r"30_net_G\.pth does not exist"):
        nvlabs.read_checkpoint(directory, which="30")


# --- Bad input ----------------------------------------------------------------------


def test_missing_options_file(official):
    (official[0] / "opt.txt").unlink()
    with pytest.raises(OptionsError, match=r"opt\.txt does not exist"):
        nvlabs.read_checkpoint(official[0])


def test_options_file_of_something_else(official):
    (official[0] / "opt.txt").write_text("hello\n")
    with pytest.raises(OptionsError, match="line 1: 'hello' is not"):
        nvlabs.read_checkpoint(official[0])
    (official[0] / "opt.txt").write_bytes(b"\x80\x04\xff")
    with pytest.raises(OptionsError, match="not a text file"):
        nvlabs.read_checkpoint(official[0])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_regular_files_are_opened(tmp_path, make):
    make(tmp_path / "opt.txt")
    with pytest.raises(OptionsError, match="or is not a file"):
        parse_options(tmp_path / "opt.txt")


@hypothesis.settings(max_examples=80, derandomize=True, database=None, deadline=None)
@hypothesis.given(st.data())
def test_damage_of_the_options_is_no_other_error(tmp_path_factory, mutated, data):
    directory = tmp_path_factory.getbasetemp()
    (directory / "opt.txt").write_bytes(mutated(data, OPTIONS.encode()))
    with contextlib.suppress(OptionsError):
        read_recipe(directory)


def test_options_that_are_not_there(official):
    file = official[0] / "opt.txt"
    lines = file.read_text().splitlines()
    gone = ("ngf:", "z_dim:")
    kept = [line for line in lines if not line.strip().startswith(gone)]
    file.write_text("\n".join(kept))
    with pytest.raises(OptionsError, match="does not say ngf, z_dim"):
        nvlabs.read_checkpoint(official[0])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("ngf", "wide", r"ngf='wide' cannot be config\.generator\.width"),
        ("netG", "unet", "generator.name='unet' is not one of"),
        ("norm_G", "spade3x3", "'spade3x3' is not understood"),
        ("num_upsampling_layers", "few", "'few' is not one of normal, more, most"),
        (
            "crop_size",
            "16",
            r"crop_size=16 and config\.data\.aspect_ratio=1.0 .* no st",
        ),
        ("aspect_ratio", "0.0", r"opt\.txt: config\.data\.aspect_ratio=0\.0 must be"),
        ("ndf", "-8", r"opt\.txt: config\.discriminator\.width=-8 must be 1 or more"),
        ("num_D", "1000000000", r"discriminator\.num_scales=1000000000 must be 8 or l"),
        ("batchSize", "None", r"opt\.txt: config\.batch_size=None must be"),
        (
            "crop_size",
            "None",
            r"opt\.txt: config\.data\.crop_size=None must be a",
        ),
        ("norm_G", "None", r"opt\.txt: config\.generator\.norm=None must be a value"),
        ("label_nc", "many", "label_nc='many' is not of type int"),
        ("use_vae", "yes", "use_vae='yes' is not of type bool"),
        ("netD", "n_layers", "netD='n_layers' is not supported, only 'multiscale'"),
    ],
)
def test_options_that_are_not_supported(option, value, message, official):
    set_option(official[0], option, value)
    with pytest.raises(OptionsError, match=message):
        nvlabs.read_checkpoint(official[0])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "ngf",
            "4",
            r"ngf=4: head_0.conv_0.bias should be \(64,\), the file has \(32,\)",
        ),
        (
            "label_nc",
            "9",
            r"label_nc=9, contain_dontcare_label=True, no_instance=False:"
            r" head_0.norm_0.mlp_shared.0.weight should be \(128, 11, 3, 3\),"
            r" the file has \(128, 7, 3, 3\)",
        ),
        (
            "contain_dontcare_label",
            "False",
            r"contain_dontcare_label=False.*\(128, 6, 3, 3\), the file has \(128, 7",
        ),
        ("no_instance", "True", r"no_instance=True: head_0.*\(128, 6, 3, 3\)"),
        (
            "norm_G",
            "spectralspadesyncbatch5x5",
            r"norm_G='spectralspadesyncbatch5x5'.*\(128, 7, 5, 5\), the file has",
        ),
        (
            "norm_G",
            "spadesyncbatch3x3",
            r"norm_G.*head_0.conv_0.weight_orig should not exist, the file has \(32,",
        ),
        (
            "norm_G",
            "spectralspadeinstance3x3",
            "norm_G.*running_mean should not exist, the file has",
        ),
        (
            "num_upsampling_layers",
            "most",
            r"num_upsampling_layers='most': up_4.conv_0.bias should be \(1,\), the file"
            " has none",
        ),
        ("z_dim", "100", r"z_dim=100: fc.weight should be \(512, 100\), the file has"),
        (
            "crop_size",
            "256",
            r"crop_size=256, aspect_ratio=1.0, num_upsampling_layers='normal', ngf=2:"
            r" fc.weight should be \(2048, 256\), the file has \(512, 256\)",
        ),
        ("netG", "pix2pixhd", "needs config.generator.name='spade'"),
        ("ndf", "8", r"ndf=8: discriminator_0.model0.0.weight should be \(8, 10"),
        ("num_D", "2", "num_D=2: discriminator_1.model0.0.weight should be"),
        ("n_layers_D", "4", "n_layers_D=4: discriminator_0.model4.0.weight should be"),
        (
            "norm_D",
            "spectral",
            "norm_D='spectral': discriminator_0.model1.0.0.weight_orig should not",
        ),
        ("norm_E", "spectralbatch", "norm_E='spectralbatch': layer1.1.running_mean"),
    ],
)
def test_options_contradict_the_weights(option, value, message, official):
    set_option(official[0], option, value)
    with pytest.raises(OptionsError, match=message) as raised:
        nvlabs.read_checkpoint(official[0])
    assert str(official[0] / "opt.txt") in str(raised.value)


def test_use_vae_of_weights_without(official):
    directory, _ = official

    def from_layout(state_dict):
        state_dict["fc.weight"] = np.zeros((32, 7, 3, 3), np.float32)
        state_dict["fc.bias"] = np.zeros(32, np.float32)

    change_weights(directory, "G", from_layout)
    message = (
        r"use_vae=True: fc.weight should be \(512, 256\), the file has \(32, 7, 3, 3\)"
    )
    with pytest.raises(OptionsError, match=message):
        nvlabs.read_checkpoint(directory)


@pytest.mark.parametrize("use_vae", [True, False])
def test_use_vae_and_the_encoder_s_file(use_vae, official):
    if use_vae:
        (official[0] / "latest_net_E.pth").unlink()
    set_option(official[0], "use_vae", str(use_vae))
    message = f"use_vae={use_vae}, but .*latest_net_E.pth " + (
        "does not exist" if use_vae else "exists"
    )
    with pytest.raises(OptionsError, match=message):
        nvlabs.read_checkpoint(official[0])


@pytest.mark.parametrize("letter", ["G", "D", "E"])
def test_missing_and_left_over_keys(letter, official):
    directory, _ = official
    key = {
        "G": "up_1.norm_0.mlp_beta.bias",
        "D": "discriminator_0.model2.0.0.weight_v",
        "E": "layer5.0.weight_u",
    }[letter]

    def rename(state_dict):
        state_dict[f"{key}_x"] = state_dict.pop(key)

    change_weights(directory, letter, rename)
    with pytest.raises(convert.MappingError) as raised:
        nvlabs.read_checkpoint(directory)
    assert raised.value.missing.keys() == {key}
    assert raised.value.left_over.keys() == {f"{key}_x"}
    assert str(directory / f"latest_net_{letter}.pth") in str(raised.value)


def test_another_network_s_file(official):
    directory, _ = official
    (directory / "latest_net_E.pth").replace(directory / "latest_net_D.pth")
    set_option(directory, "use_vae", "False")
    with pytest.raises(OptionsError, match="contradicts"):
        nvlabs.read_checkpoint(directory)


def test_truncated_weights(official):
    file = official[0] / "latest_net_G.pth"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(torch_file.FileError, match=r"latest_net_G\.pth is truncated"):
        nvlabs.read_checkpoint(official[0])


def test_the_module_runs_without_torch():
    """Only reading and writing files needs PyTorch."""
    code = (
        "import sys; sys.modules['torch'] = None;"
        " import spade_jax.convert.nvlabs, spade_jax.convert.torch_file"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_official_weights_without_their_options_are_known(official):
    """Whoever forgot opt.txt has nothing to train, and no work dir to look for."""
    (official[0] / "opt.txt").rename(official[0] / "OPT.TXT")
    with pytest.raises(
        OptionsError, match=r"opt\.txt does not exist, or is not a file"
    ):
        opening.open_model(official[0])


def test_a_file_that_is_too_large_for_options_is_not_read(official):
    with (official[0] / "opt.txt").open("ab") as file:
        file.truncate(2**21)
    with pytest.raises(
        OptionsError, match=r"opt\.txt has 2097152 bytes: it is no file"
    ):
        read_recipe(official[0])
