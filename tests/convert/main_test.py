import hashlib
import pathlib
import re
import shutil
import sys

import jax
import numpy as np
import pytest

from spade_jax import convert, nets
from spade_jax.commands import convert_checkpoint
from spade_jax.convert import __main__ as main
from spade_jax.convert import metric_networks, nvlabs, torch_file
from spade_jax.learning import perceptual
from spade_jax.metrics import nets as metric_nets
from spade_jax.metrics import weights
from spade_jax.models import opening
from spade_jax.models.publishing import publish
from spade_jax.recipe import describe, to_json, with_fields
from spade_jax.workdir import checkpoint
from spade_jax.workdir.saving import Checkpoints

pytest.importorskip("torch")

# The least that describes a model with a VAE and edges.
OPTIONS = {
    "aspect_ratio": 1.0,
    "batchSize": 2,
    "contain_dontcare_label": True,
    "crop_size": 64,
    "dataset_mode": "coco",
    "label_nc": 3,
    "lambda_kld": 0.05,
    "load_size": 64,
    "n_layers_D": 3,
    "ndf": 4,
    "netG": "spade",
    "ngf": 1,
    "no_instance": False,
    "norm_D": "spectralinstance",
    "norm_E": "spectralinstance",
    "norm_G": "spectralspadebatch3x3",
    "num_D": 1,
    "num_upsampling_layers": "normal",
    "preprocess_mode": "resize_and_crop",
    "use_vae": True,
    "z_dim": 256,
}
MODULES = {
    "G": nets.SPADEGenerator(
        4, width=1, norm="spectralspadebatch3x3", latent_size=256, grid=(2, 2)
    ),
    "D": nets.MultiscaleDiscriminator(4, num_scales=1, num_layers=3, width=4),
    "E": nets.ImageEncoder(width=1),
}


@pytest.fixture
def official(tmp_path):
    """An official checkpoint: its directory and its state dicts."""
    directory = tmp_path / "official"
    directory.mkdir()
    lines = [f"{k:>25}: {v!s:<30}\n" for k, v in OPTIONS.items()]
    (directory / "opt.txt").write_text("".join(lines))
    random = np.random.default_rng(0)
    state_dicts = {}
    for letter, module in MODULES.items():
        abstract = convert.abstract_variables(module, edges=True)
        state_dicts[letter] = {
            key: np.array(5, np.int64)
            if key.endswith("num_batches_tracked")
            else random.standard_normal(shape, np.float32)
            for key, shape in convert.official_shapes(module, abstract).items()
        }
        torch_file.write(directory / f"latest_net_{letter}.pth", state_dicts[letter])
    return directory, state_dicts


def assert_same(directory, state_dicts):
    for letter, state_dict in state_dicts.items():
        found = torch_file.read(directory / f"latest_net_{letter}.pth")
        assert list(found) == list(state_dict)
        for key, value in state_dict.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
            assert found[key].dtype == value.dtype


def test_there_and_back(official, tmp_path, monkeypatch, assert_same_tree):
    directory, state_dicts = official
    # From where the command is given, as people write it.
    monkeypatch.chdir(tmp_path)
    workdir, back = pathlib.Path("workdir"), pathlib.Path("back")
    main.main(["nvlabs", str(directory), f"--out={workdir}"])
    model = opening.load_model(workdir)
    assert model.step == 0
    assert model.recipe.data.instances
    assert model.recipe.loss.kld == pytest.approx(0.1)
    kernel = model.generator["params"]["to_image"]["kernel"]
    weight = state_dicts["G"]["conv_img.weight"]
    np.testing.assert_array_equal(kernel, weight.transpose(2, 3, 1, 0))

    # The official directory is as good as the work dir.
    direct = opening.load_model(directory)
    assert_same_tree(direct.generator, model.generator)
    assert_same_tree(direct.encoder, model.encoder)
    assert direct.recipe == model.recipe
    assert to_json(direct.recipe) == to_json(model.recipe)
    opened = [opening.open_model(path) for path in (directory, workdir)]
    assert all(to_json(o.recipe) == to_json(model.recipe) for o in opened)
    assert [o.step for o in opened] == [0, 0]
    for half in (o.computed_in("bfloat16").read() for o in opened):
        assert (
            half.networks.generator.dtype == half.networks.encoder.dtype == "bfloat16"
        )

    main.main(["nvlabs", str(workdir), f"--out={back}", "--to=nvlabs"])
    assert_same(back, state_dicts)


def test_an_official_checkpoint_needs_pytorch(official, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        checkpoint.CheckpointError,
        match=r"holds an official checkpoint: .*pip install 'spade-jax\[convert\]'",
    ):
        opening.load_model(official[0])


@pytest.mark.long
def test_another_epoch(official, tmp_path):
    directory, state_dicts = official
    for letter in MODULES:
        file = directory / f"latest_net_{letter}.pth"
        file.rename(directory / f"20_net_{letter}.pth")
    workdir, back = tmp_path / "workdir", tmp_path / "back"
    main.main(["nvlabs", str(directory), f"--out={workdir}", "--which_epoch=20"])
    main.main(["nvlabs", str(workdir), f"--out={back}", "--to=nvlabs"])
    assert_same(back, state_dicts)


@pytest.mark.long
def test_without_a_discriminator_a_new_one_is_made(official, tmp_path, capsys):
    directory, state_dicts = official
    (directory / "latest_net_D.pth").unlink()
    workdir, back = tmp_path / "workdir", tmp_path / "back"
    main.main(["nvlabs", str(directory), f"--out={workdir}"])
    assert "discriminator: no file; a new one" in capsys.readouterr().out
    main.main(["nvlabs", str(workdir), f"--out={back}", "--to=nvlabs"])
    theirs = state_dicts.pop("D")
    assert torch_file.read(back / "latest_net_D.pth").keys() == theirs.keys()
    assert_same(back, state_dicts)


def test_averaged_weights_are_what_is_exported(official, tmp_path):
    directory, _ = official
    recipe, variables = nvlabs.read_checkpoint(directory)
    recipe = with_fields(recipe, ema_decay=0.5)
    state = convert_checkpoint.first_state(recipe, variables)
    averaged = jax.tree.map(lambda x: x + 1, state.generator.params)
    workdir, back = tmp_path / "workdir", tmp_path / "back"
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(state.replace(ema=averaged), recipe=recipe)
    main.main(["nvlabs", str(workdir), f"--out={back}", "--to=nvlabs"])
    bias = torch_file.read(back / "latest_net_G.pth")["conv_img.bias"]
    np.testing.assert_array_equal(bias, averaged["to_image"]["bias"])


def test_averages_begin_where_the_weights_are(
    official, default_config, assert_same_tree
):
    default_config.ema_decay = 0.5
    recipe, variables = nvlabs.read_checkpoint(
        official[0], defaults=describe(default_config)
    )
    state = convert_checkpoint.first_state(recipe, variables)
    assert_same_tree(state.ema, state.generator.params)


def damage(directory, how):
    file = directory / "latest_net_G.pth"
    match how:
        case "truncated":
            file.write_bytes(file.read_bytes()[:-100])
        case "no options":
            (directory / "opt.txt").unlink()
        case "missing key":
            state_dict = torch_file.read(file)
            del state_dict["conv_img.bias"]
            torch_file.write(file, state_dict)
        case "contradiction":
            text = (directory / "opt.txt").read_text()
            (directory / "opt.txt").write_text(text.replace("ngf: 1", "ngf: 2"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", r"FileError: .*latest_net_G\.pth is truncated"),
        ("no options", r"OptionsError: .*opt\.txt does not exist"),
        ("missing key", r"MappingError: .*(?s:.*)missing \(1\):\n +conv_img\.bias"),
        ("contradiction", r"OptionsError: .*(?s:.*)ngf=2: head_0\.conv_0\.bias"),
    ],
)
def test_bad_input_writes_nothing(how, message, official, tmp_path):
    directory, _ = official
    damage(directory, how)
    workdir = tmp_path / "workdir"
    with pytest.raises(SystemExit, match=message) as raised:
        main.main(["nvlabs", str(directory), f"--out={workdir}"])
    assert str(raised.value).endswith("Nothing was written.")
    assert not workdir.exists()


def test_an_epoch_that_is_not_there_is_told_with_those_that_are(official, tmp_path):
    """And not as an encoder that is missing."""
    directory, _ = official
    for letter in MODULES:
        file = directory / f"latest_net_{letter}.pth"
        file.rename(directory / f"20_net_{letter}.pth")
    with pytest.raises(
        SystemExit,
        match=r"latest_net_G\.pth does not exist\. What is there: --which_epoch=20\.",
    ):
        main.main(["nvlabs", str(directory), f"--out={tmp_path / 'w'}"])


@pytest.mark.parametrize("letter", ["G", "D", "E"])
def test_links_of_weights_to_nowhere_are_told(letter, official, tmp_path):
    """They were taken for files that are not there, and others for them."""
    directory, _ = official
    latest = directory / f"latest_net_{letter}.pth"
    latest.rename(directory / f"best_net_{letter}.pth")
    latest.symlink_to("moved away")
    with pytest.raises(SystemExit, match=f"{latest.name} does not exist, or is not"):
        main.main(["nvlabs", str(directory), f"--out={tmp_path / 'w'}"])


def test_nothing_is_overwritten(official, tmp_path):
    directory, state_dicts = official
    workdir = tmp_path / "workdir"
    main.main(["nvlabs", str(directory), f"--out={workdir}"])
    with pytest.raises(SystemExit, match="already holds a checkpoint"):
        main.main(["nvlabs", str(directory), f"--out={workdir}"])
    with pytest.raises(SystemExit, match=r"already holds an opt\.txt"):
        main.main(["nvlabs", str(workdir), f"--out={directory}", "--to=nvlabs"])
    assert_same(directory, state_dicts)


@pytest.mark.parametrize("epoch", ["../latest", "a/b", ""])
def test_an_epoch_is_no_path(epoch, tmp_path):
    """Which would lead out of the directory that nothing else is written to."""
    arguments = ["nvlabs", "runs/x", "--to=nvlabs", f"--out={tmp_path / 'x'}"]
    with pytest.raises(SystemExit, match=r"ValueError: '.*' cannot be the epoch"):
        main.main([*arguments, f"--which_epoch={epoch}"])


def test_an_empty_work_dir_cannot_be_exported(tmp_path):
    with pytest.raises(SystemExit, match="holds no checkpoint"):
        main.main(["nvlabs", str(tmp_path), f"--out={tmp_path / 'x'}", "--to=nvlabs"])
    assert not (tmp_path / "x").exists()


def test_without_the_default_config(official, tmp_path):
    arguments = ["nvlabs", str(official[0]), f"--out={tmp_path / 'w'}"]
    with pytest.raises(SystemExit, match=r"--default_config=.*none\.py does not exist"):
        main.main([*arguments, f"--default_config={tmp_path / 'none.py'}"])


def test_vgg19(tmp_path):
    module = nets.VGG("vgg19")
    shapes = convert.official_shapes(module, convert.abstract_variables(module))
    state_dict = {
        key: np.full(shape, i, np.float32)
        for i, (key, shape) in enumerate(shapes.items())
    }
    state_dict["classifier.0.weight"] = np.zeros((2, 2), np.float32)
    file, out = tmp_path / "vgg19.pth", tmp_path / "weights" / "vgg19.npz"
    torch_file.write(file, state_dict)
    main.main(["vgg19", str(file), f"--out={out}"])
    params = perceptual.load_vgg19(out)
    assert params.keys() == {path.split("/")[0] for path in np.load(out).files}
    assert (params["conv5_1"]["bias"] == len(shapes) - 1).all()


def test_vgg19_of_another_network(tmp_path):
    file, out = tmp_path / "vgg19.pth", tmp_path / "vgg19.npz"
    torch_file.write(file, {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)})
    with pytest.raises(SystemExit, match=r"vgg19\.pth does not hold the weights"):
        main.main(["vgg19", str(file), f"--out={out}"])
    assert not out.exists()


@pytest.fixture
def upernet(tmp_path, monkeypatch):
    """A narrow UperNet as the command's, and its state dict in two files."""
    network = weights.PUBLISHED["upernet101"]
    narrow = network._replace(module=lambda: metric_nets.UperNet(3, width=2))
    monkeypatch.setitem(weights.PUBLISHED, "upernet101", narrow)
    abstract = metric_networks.abstract_variables(narrow.module())
    monkeypatch.setattr(metric_networks, "abstract_variables", lambda _: abstract)
    random = np.random.default_rng(0)
    state_dict = {
        entry.key: random.standard_normal(entry.rearrangement.theirs, np.float32)
        for entry in metric_networks.entries("upernet101", abstract)
    }
    files = tmp_path / "encoder.pth", tmp_path / "decoder.pth"
    decoder = {k: v for k, v in state_dict.items() if re.match("ppm|fpn|conv_last", k)}
    torch_file.write(
        files[0], {k: v for k, v in state_dict.items() if k not in decoder}
    )
    torch_file.write(files[1], decoder)
    return files, state_dict


def test_metric_network(upernet, tmp_path, capsys):
    files, state_dict = upernet
    out = tmp_path / "weights" / "upernet101.npz"
    main.main(["upernet101", *map(str, files), f"--out={out}"])
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    said = capsys.readouterr().out
    assert f"  encoder.pth: SHA-256 {digests[0]}\n  decoder.pth: SHA-256" in said
    assert "the published names have no hash" in said
    found = weights.load(out, "upernet101", sha256=digests)
    back = metric_networks.to_published("upernet101", found.variables)
    assert back.keys() == state_dict.keys()
    for key, tensor in state_dict.items():
        np.testing.assert_array_equal(back[key], tensor, err_msg=key)


def test_metric_network_of_files_that_do_not_belong_together(upernet, tmp_path):
    (encoder, decoder), _ = upernet
    out = tmp_path / "upernet101.npz"
    for files, message in [
        ([encoder], r"encoder\.pth does not hold(?s:.*)missing \(\d+\):\n +ppm_conv"),
        (
            [encoder, decoder, decoder],
            r"decoder\.pth holds 'conv_last.*, which a file b",
        ),
        ([decoder, tmp_path / "x.pth"], r"FileError: .*x\.pth does not exist"),
    ]:
        with pytest.raises(SystemExit, match=message) as raised:
            main.main(["upernet101", *map(str, files), f"--out={out}"])
        assert str(raised.value).endswith("Nothing was written.")
        assert not out.exists()


@pytest.mark.parametrize(
    ("sha256", "message"),
    [
        ("6726825d", "the published weights, by the hash"),
        ("12345678", "NOT the published weights, whose SHA-256 begins with 6726825d"),
    ],
)
def test_whether_weights_are_the_published_ones(
    sha256, message, tmp_path, capsys, monkeypatch
):
    found = weights.make("inception", {"params": {}}, [weights.Source("a.pth", sha256)])
    content = metric_networks.StateDictFile({}, sha256, ("state_dict", "module."))
    monkeypatch.setattr(metric_networks, "read_files", lambda *_: (found, [content]))
    main.main(["inception", "a.pth", f"--out={tmp_path / 'inception.npz'}"])
    said = capsys.readouterr().out
    assert message in said
    assert f"a.pth: SHA-256 {sha256}; took off state_dict and module.\n" in said


def test_without_torch(official, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match=r"pip install 'spade-jax\[convert\]'"):
        main.main(["nvlabs", str(official[0]), f"--out={tmp_path / 'w'}"])
    assert not (tmp_path / "w").exists()


def test_nothing_of_the_users_is_written_over(official, tmp_path):
    directory, _ = official
    mine = tmp_path / "mine.pth"
    mine.write_text("mine")
    for arguments, message in (
        (["vgg19", str(mine), f"--out={mine}"], r"is read from FILE 1="),
        (["vgg19", "x.pth", f"--out={mine}"], r"mine\.pth is there already"),
        (["inception", "x.pth", f"--out={mine}"], r"mine\.pth is there already"),
        (
            ["nvlabs", str(directory), f"--out={mine}"],
            r"mine\.pth is no directory",
        ),
        (
            ["nvlabs", str(directory), f"--out={directory}"],
            r"is the directory of an official checkpoint",
        ),
    ):
        with pytest.raises(SystemExit, match=rf"ValueError: --out.*{message}"):
            main.main(arguments)
    assert mine.read_text() == "mine"
    assert not (directory / "checkpoints").exists()
    (tmp_path / "latest_net_G.pth").write_text("mine")
    with pytest.raises(SystemExit, match=r"latest_net_G\.pth is there already"):
        main.main(["nvlabs", "runs/x", "--to=nvlabs", f"--out={tmp_path}"])


@pytest.mark.parametrize("done", range(len(MODULES)))
def test_after_a_kill_the_same_command_begins_anew(
    done, official, tmp_path, monkeypatch
):
    directory, state_dicts = official
    work, back = tmp_path / "work", tmp_path / "back"
    main.main(["nvlabs", str(directory), f"--out={work}"])

    class Kill(BaseException):
        pass

    write, written = torch_file.write, []

    def killed(path, state_dict):
        if len(written) == done:
            path.write_bytes(b"half")
            raise Kill
        write(path, state_dict)
        written.append(path)

    monkeypatch.setattr(torch_file, "write", killed)
    again = ["nvlabs", str(work), "--to=nvlabs", f"--out={back}"]
    with pytest.raises(Kill):
        main.main(again)
    assert not (back / "opt.txt").exists()
    monkeypatch.undo()
    main.main(again)
    assert_same(back, state_dicts)


def test_what_a_killed_conversion_left_is_no_part_of_another(official, tmp_path):
    """Neither the discriminator of another model, where a published one has none."""
    directory, _ = official
    work, published = tmp_path / "work", tmp_path / "published"
    back = tmp_path / "back"
    main.main(["nvlabs", str(directory), f"--out={work}"])
    main.main(["nvlabs", str(work), "--to=nvlabs", f"--out={back}"])
    (back / "opt.txt").unlink()  # as if it had been killed before its last file
    publish(work, published, prior="standard")
    main.main(["nvlabs", str(published), "--to=nvlabs", f"--out={back}"])
    written = {file.name for file in back.iterdir()}
    assert "latest_net_G.pth" in written
    assert "latest_net_D.pth" not in written


def test_what_a_killed_conversion_left_of_another_epoch_is_told(official, tmp_path):
    directory, _ = official
    work, back = tmp_path / "work", tmp_path / "back"
    main.main(["nvlabs", str(directory), f"--out={work}"])
    to = ["nvlabs", str(work), "--to=nvlabs", f"--out={back}"]
    main.main([*to, "--which_epoch=5"])
    (back / "opt.txt").unlink()  # as if it had been killed before its last file
    with pytest.raises(SystemExit, match=r"--out=.*back holds 5_net_D\.pth already"):
        main.main(to)
    assert not (back / "latest_net_G.pth").exists()


def test_no_work_dir_is_made_of_an_official_checkpoint(official, tmp_path):
    """It would be taken for the work dir from then on, and the model be another."""
    directory, _ = official
    other = tmp_path / "other"
    shutil.copytree(directory, other)
    message = rf"--out={other} is the directory of an official checkpoint"
    with pytest.raises(SystemExit, match=message):
        main.main(["nvlabs", str(directory), f"--out={other}"])
    with pytest.raises(ValueError, match=message):
        publish("scenes", other)
    assert not (other / "checkpoints").exists()
