"""Directories of OASIS and CLADE: ids, options, and what is refused."""

import shutil

import numpy as np
import pytest

from spade_jax import assemble, convert
from spade_jax.commands import convert_checkpoint
from spade_jax.convert import __main__ as main
from spade_jax.convert import oasis, oasis_options, official, torch_file
from spade_jax.convert.official_files import OptionsError
from spade_jax.layout import Layout
from spade_jax.recipe import with_fields

pytest.importorskip("torch")

OASIS = {
    "EMA_decay": 0.999,
    "add_vgg_loss": False,
    "aspect_ratio": 1.0,
    "batch_size": 20,
    "beta1": 0.0,
    "beta2": 0.999,
    "channels_G": 1,
    "contain_dontcare_label": True,
    "crop_size": 64,
    "dataset_mode": "coco",
    "label_nc": 4,
    "lambda_labelmix": 5.0,
    "lambda_vgg": 10.0,
    "lr_d": 0.0004,
    "lr_g": 0.0001,
    "no_3dnoise": False,
    "no_EMA": False,
    "no_balancing_inloss": False,
    "no_labelmix": False,
    "no_spectral_norm": False,
    "num_epochs": 200,
    "num_res_blocks": 6,
    "param_free_norm": "syncbatch",
    "semantic_nc": 5,
    "spade_ks": 3,
    "z_dim": 3,
}
CLADE = {
    "add_dist": True,
    "aspect_ratio": 1.0,
    "contain_dontcare_label": True,
    "crop_size": 64,
    "dataset_mode": "custom",
    "label_nc": 3,
    "load_size": 64,
    "netG": "spade",
    "ngf": 1,
    "no_instance": False,
    "norm_G": "spectralspadesyncbatch3x3",
    "norm_mode": "clade",
    "num_upsampling_layers": "normal",
    "preprocess_mode": "resize_and_crop",
    "use_vae": False,
}


def write_options(directory, options):
    lines = [f"{key}: {value}\n" for key, value in options.items()]
    (directory / "opt.txt").write_text("".join(lines))


def random_state_dict(module, *, seed, edges=False):
    abstract = convert.abstract_variables(module, edges=edges)
    random = np.random.default_rng(seed)
    return {
        key: np.array(0, np.int64)
        if key.endswith("num_batches_tracked")
        else np.abs(random.standard_normal(shape, np.float32))
        if key.endswith("running_var")
        else random.standard_normal(shape, np.float32)
        for key, shape in convert.official_shapes(module, abstract).items()
    }


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """The official discriminator has one width, of which a file is 90 MB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oasis_options, "_JUDGE_WIDTH", 1)
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A directory of OASIS, with other weights as G and as EMA."""
    directory = tmp_path_factory.mktemp("oasis")
    (directory / "models").mkdir()
    write_options(directory, OASIS)
    recipe = official.read_recipe(directory)
    networks = assemble.networks(recipe.architecture, recipe.compute)
    modules = {
        "G": networks.generator,
        "EMA": networks.generator,
        "D": networks.discriminator,
    }
    for seed, (letter, module) in enumerate(modules.items()):
        state_dict = random_state_dict(module, seed=seed)
        torch_file.write(directory / f"models/latest_{letter}.pth", state_dict)
    return directory


@pytest.fixture
def of_oasis(tmp_path, original):
    """`of_oasis(**options)`: a copy of it with other options."""

    def make(name="official", **changes):
        directory = shutil.copytree(original, tmp_path / name)
        write_options(directory, OASIS | changes)
        return directory

    return make


def test_ids_are_those_of_the_files_here(of_oasis):
    """Official networks see them plus one on COCO-Stuff, and 0 for "unknown"."""
    moved = oasis.read_checkpoint(of_oasis())
    as_they_are = oasis.read_checkpoint(of_oasis("other", dataset_mode="ade20k"))
    (recipe, found), (other, expected) = moved, as_they_are
    assert (recipe.data.num_classes, recipe.data.unknown_label) == (4, 255)
    assert (other.data.num_classes, other.data.unknown_label) == (5, None)
    assert (recipe.loss.ignored_ids, other.loss.ignored_ids) == ((), (0,))
    random = np.random.default_rng(0)
    theirs = random.integers(0, 5, (1, 4, 4), np.int32)
    ours = np.where(theirs == 0, 4, theirs - 1)
    z = random.standard_normal((1, 3)).astype(np.float32)
    kernel = found["generator"]["params"]["start"]["kernel"]
    same = expected["generator"]["params"]["start"]["kernel"]
    planes = Layout(ours, noise=z).planes(5)
    their_planes = Layout(theirs, noise=z).planes(5)
    np.testing.assert_allclose(
        planes @ kernel[1, 1], their_planes @ same[1, 1], rtol=1e-4, atol=1e-5
    )
    for block in ("body_0", "body_5"):
        kernel, same = (
            x["generator"]["params"][block]["norm_0"]["shared"]["kernel"]
            for x in (found, expected)
        )
        np.testing.assert_array_equal(kernel[:, :, :3], same[:, :, :3])
        np.testing.assert_array_equal(kernel[:, :, 3:7], same[:, :, 4:])
        np.testing.assert_array_equal(kernel[:, :, 7], same[:, :, 3])
    kernel, same = (
        x["discriminator"]["params"]["prediction"]["kernel"] for x in (found, expected)
    )
    # "Synthetic" stays in front.
    np.testing.assert_array_equal(kernel[..., [0, 5, 1, 2, 3, 4]], same)


def test_oasis_there_and_back(of_oasis, tmp_path):
    directory = of_oasis()
    workdir, back = tmp_path / "workdir", tmp_path / "back"
    main.main(["oasis", str(directory), f"--out={workdir}"])
    main.main(["oasis", str(workdir), f"--out={back}", "--to=oasis"])
    assert official.read_recipe(back) == official.read_recipe(directory)
    for letter, source in (("EMA", "EMA"), ("G", "EMA"), ("D", "D")):
        state_dict = torch_file.read(directory / f"models/latest_{source}.pth")
        found = torch_file.read(back / f"models/best_{letter}.pth")
        assert list(found) == list(state_dict)
        for key, tensor in state_dict.items():
            np.testing.assert_array_equal(found[key], tensor, key)
            assert found[key].dtype == tensor.dtype


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset_mode": "ade20k"},
        {"dataset_mode": "cityscapes", "aspect_ratio": 1.0, "lr_g": 4e-4},
        {"contain_dontcare_label": False, "semantic_nc": 4, "no_EMA": True},
        {"no_3dnoise": True, "no_spectral_norm": True, "param_free_norm": "instance"},
        {"no_labelmix": True, "no_balancing_inloss": True, "add_vgg_loss": True},
    ],
)
def test_options_of_oasis_come_back(changes, tmp_path):
    recipe = oasis_options.recipe_from_options(OASIS | changes, name="opt.txt")
    options = oasis_options.options_from_recipe(recipe, directory=tmp_path)
    again = oasis_options.recipe_from_options(options, name="opt.txt")
    assert again == recipe


def test_which_weights_are_read(of_oasis):
    directory = of_oasis()
    models = directory / "models"

    def read(**options):
        _, found = oasis.read_checkpoint(directory, **options)
        return found["generator"]["params"]["to_image"]["bias"]

    averaged, trained = (
        torch_file.read(models / f"latest_{x}.pth")["conv_img.bias"]
        for x in ("EMA", "G")
    )
    np.testing.assert_array_equal(read(), averaged)
    (models / "best_G.pth").write_bytes((models / "latest_G.pth").read_bytes())
    # The best, averaged or not, comes before the latest.
    np.testing.assert_array_equal(read(), trained)
    np.testing.assert_array_equal(read(which="latest"), averaged)
    with pytest.raises(torch_file.FileError, match=r"models/20000_G\.pth does not"):
        read(which="20000")


def test_what_is_not_there_of_oasis(of_oasis):
    """It is told with what is; a link to nowhere is there."""
    directory = of_oasis()
    with pytest.raises(
        torch_file.FileError,
        match=r"7_G\.pth does not exist\. What is there: --ckpt_iter=latest\.",
    ):
        oasis.read_checkpoint(directory, which="7")
    (directory / "models" / "best_EMA.pth").symlink_to("moved away")
    with pytest.raises(torch_file.FileError, match=r"best_EMA\.pth does not exist, or"):
        oasis.read_checkpoint(directory)


def test_fields_of_oasis(of_oasis):
    recipe = official.read_recipe(of_oasis())
    assert recipe.optimizer.learning_rate == pytest.approx(2e-4)
    assert recipe.optimizer.ttur
    assert recipe.schedule.ema_decay == 0.999
    assert recipe.schedule.batch_size == 20
    assert recipe.loss.labelmix == 5.0
    assert recipe.loss.balance_classes
    assert (recipe.loss.perceptual, recipe.loss.feature_matching) == (0.0, 0.0)
    changes = {"no_labelmix": True, "add_vgg_loss": True, "no_EMA": True, "lr_g": 4e-4}
    recipe = official.read_recipe(of_oasis("other", **changes, no_3dnoise=True))
    assert (recipe.loss.labelmix, recipe.loss.perceptual) == (0.0, 10.0)
    assert recipe.schedule.ema_decay == 0.0
    assert recipe.optimizer.learning_rate == pytest.approx(4e-4)
    assert not recipe.optimizer.ttur
    assert recipe.architecture.latent_size is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_res_blocks": 5}, r"num_res_blocks=5 is not supported, only 6"),
        ({"lr_g": 3e-4}, r"lr_g=0\.0003, lr_d=0\.0004 is not supported: the discrim"),
        ({"semantic_nc": 9}, r"semantic_nc=9 contradicts label_nc=4, contain_dontcar"),
        ({"label_nc": "many"}, r"label_nc='many' is not of type int"),
        ({"no_3dnoise": 1}, r"no_3dnoise=1 is not of type bool"),
        ({"param_free_norm": "layer"}, r"norm='spectralspadelayer3x3' "),
        ({"crop_size": 96}, r"crop_size=96, .* cannot halve 6 times"),
        # Options that the weights contradict.
        ({"channels_G": 2}, r"channels_G=2: body\.0\.conv_0\.bias should be \(32,\)"),
        (
            {"z_dim": 7},
            r"z_dim=7, .* should be \(128, 12, 3, 3\), the file has \(128, ",
        ),
        ({"spade_ks": 5}, r"spade_ks=5: body\.0\.norm_0\.mlp_shared\.0\.weight should"),
        (
            {"no_spectral_norm": True},
            r"no_spectral_norm=True: .*weight_orig should not",
        ),
    ],
)
def test_options_of_oasis_that_cannot_be(changes, message, of_oasis):
    directory = of_oasis()
    write_options(directory, OASIS | changes)
    with pytest.raises(OptionsError, match=message):
        official.read_checkpoint(directory)


def test_what_the_official_oasis_has_no_setting_for(of_oasis, tmp_path):
    recipe, variables = oasis.read_checkpoint(of_oasis())
    for field, value, message in (
        ("generator__hidden", 64, r"config\.generator\.hidden=64: it has 128"),
        ("generator__norm", "spectralcladesyncbatch", r"it has SPADE norms"),
        ("loss__ignored_ids", (1,), r"ignored_ids=\(1,\): it has \(0,\)"),
        ("discriminator__norm", "none", r"norm='none' with .*: both have spectral"),
    ):
        changed = with_fields(recipe, **{field: value})
        with pytest.raises(OptionsError, match=message):
            oasis.write_checkpoint(
                tmp_path / "back", recipe=changed, variables=variables
            )
    assert not (tmp_path / "back").exists()


@pytest.fixture
def of_clade(tmp_path):
    """`of_clade(**options)`: a directory with its weights of the best epoch."""

    def make(**changes):
        directory = tmp_path / "clade"
        directory.mkdir()
        write_options(directory, CLADE | changes)
        recipe = official.read_recipe(directory)
        module = assemble.networks(recipe.architecture, recipe.compute).generator
        edges = recipe.architecture.edges
        state_dict = random_state_dict(module, seed=0, edges=edges)
        torch_file.write(directory / "best_net_G.pth", state_dict)
        return directory

    return make


@pytest.mark.parametrize(
    ("changes", "norm"),
    [
        ({}, "spectralcladeicpesyncbatch"),
        pytest.param(
            *({"add_dist": False, "no_instance": True}, "spectralcladesyncbatch"),
            marks=pytest.mark.long,
        ),
        pytest.param(
            *({"norm_G": "spadeinstance3x3"}, "cladeicpeinstance"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_clade_there_and_back(changes, norm, of_clade, tmp_path):
    directory = of_clade(**changes)
    workdir, back = tmp_path / "workdir", tmp_path / "back"
    recipe = official.read_recipe(directory)
    assert recipe.architecture.generator.norm == norm
    main.main(["clade", str(directory), f"--out={workdir}"])
    arguments = [str(workdir), f"--out={back}", "--to=clade", "--which_epoch=best"]
    main.main(["clade", *arguments])
    assert official.read_recipe(back).architecture == recipe.architecture
    state_dict = torch_file.read(directory / "best_net_G.pth")
    found = torch_file.read(back / "best_net_G.pth")
    assert list(found) == list(state_dict)
    for key, tensor in state_dict.items():
        np.testing.assert_array_equal(found[key], tensor, key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_mode": "cc"}, r"norm_mode='cc' is not supported, only spade and clade"),
        ({"norm_mode": "spade"}, r"add_dist=True, norm_mode='spade': only CLADE sees"),
        ({"add_dist": 1}, r"add_dist=1 is not of type bool"),
        (
            {"add_dist": False},
            r"add_dist=False: .*dist_conv_w\.weight should not exist",
        ),
        (
            {"no_instance": True},
            r"no_instance=True: .*inst_conv\.weight should not exi",
        ),
        (
            {"label_nc": 4},
            r"label_nc=4, .* should be \(5, 16\), the file has \(4, 16\)",
        ),
        (
            {"norm_mode": "spade", "add_dist": False},
            r"norm_mode='spade': .*class_specified_affine\.weight should not exist",
        ),
    ],
)
def test_options_of_clade_that_cannot_be(changes, message, of_clade):
    directory = of_clade()
    write_options(directory, CLADE | changes)
    with pytest.raises(OptionsError, match=message):
        official.read_checkpoint(directory)


def test_weights_and_options_of_different_families(of_oasis, of_clade):
    directory = of_oasis()
    write_options(directory, CLADE)
    message = r"no options of OASIS \(channels_G\), but the weights .* are OASIS's"
    with pytest.raises(OptionsError, match=message):
        official.read_recipe(directory)
    (directory / "latest_net_G.pth").write_bytes(
        (directory / "models/latest_G.pth").read_bytes()
    )
    message = r"netG='spade': body\.0\.conv_0\.bias should not exist, the file has"
    with pytest.raises(OptionsError, match=message):
        official.read_checkpoint(directory)

    directory = of_clade()
    write_options(directory, OASIS)
    message = r"the options of OASIS \(channels_G\), but beside it are weights of SPADE"
    with pytest.raises(OptionsError, match=message):
        official.read_recipe(directory)


def test_a_word_for_another_family_is_told(of_oasis, tmp_path):
    directory, workdir = of_oasis(), tmp_path / "workdir"
    message = (
        r"holds a checkpoint of boschresearch/OASIS, not of tzt101/CLADE\. Write"
        r" `oasis` in the place of `clade`\.\nNothing was written\."
    )
    with pytest.raises(SystemExit, match=message):
        main.main(["clade", str(directory), f"--out={workdir}"])
    assert not workdir.exists()
    convert_checkpoint.from_official(directory, workdir, kind="oasis")
    message = r"holds a model of boschresearch/OASIS, not of NVlabs/SPADE"
    with pytest.raises(SystemExit, match=message):
        main.main(["nvlabs", str(workdir), f"--out={tmp_path / 'b'}", "--to=nvlabs"])
