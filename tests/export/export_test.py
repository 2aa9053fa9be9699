"""What is exported needs this project no more, and computes the same."""

import hashlib
import json
import pathlib
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from jax import export as jax_export

from spade_jax import data, export
from spade_jax.export import __main__ as door
from spade_jax.export import saved_model
from spade_jax.export.card import describe
from spade_jax.files import outputs
from spade_jax.layout import Layout
from spade_jax.models import aggregate, opening

STYLE = {
    "data.instances": True,
    "generator.latent": "vae",
    "generator.latent_size": 4,
    "encoder.width": 2,
    "encoder.image_size": 8,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, save_model, two_blocks):
    """The directory with the files of a VAE model with edges, and the model."""
    root = tmp_path_factory.mktemp("export")
    with two_blocks():
        save_model(root / "run", **STYLE)
        (root / "out").mkdir()
        door.main([str(root / "run"), f"--out={root / 'out' / 'style.jax'}"])
        yield root / "out", opening.load_model(root / "run")


@pytest.fixture
def card(exported):
    return json.loads((exported[0] / "style.json").read_text())


SCRIPT = """
    import sys

    BLOCKED = {
        "spade_jax", "configs", "flax", "orbax", "optax", "ml_collections", "PIL",
        "grain", "tensorflow",
    }


    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in BLOCKED:
                raise ImportError(f"{name} is blocked")


    sys.meta_path.insert(0, Blocker())

    import jax.export, numpy as np

    def read(name):
        with open(name, "rb") as file:
            return jax.export.deserialize(bytearray(file.read()))

    generator, encoder = read("style.jax"), read("style.encoder.jax")
    given, made = np.load("given.npz"), {}
    for b in (1, 3):
        one = {name: array[:b] for name, array in given.items()}
        made[f"mean{b}"], made[f"logvar{b}"] = encoder.call(one["photo"])
        made[f"image{b}"] = generator.call(one["label"], one["edge"], one["z"])
    np.savez("made.npz", **made)
    assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
"""


def computed(model, label, edge, z, photo):
    """What the model's networks make, by name."""

    @jax.jit
    def compute(label, edge, z, photo):
        generate, encode = model.networks.generator, model.networks.encoder
        layout = Layout(label, edge)
        image = generate.apply(model.generator, layout, z, train=False)
        return image, *encode.apply(model.encoder, photo, train=False)

    made = compute(label, edge, z, photo)
    return dict(zip(("image", "mean", "logvar"), made, strict=True))


@pytest.fixture(scope="module")
def given():
    """What goes into the networks of a batch of 3."""
    random = np.random.default_rng(0)
    return {
        "label": random.integers(0, 4, (3, 32, 32), dtype=np.int32),
        "edge": random.random((3, 32, 32)) < 0.2,
        "z": random.standard_normal((3, 4)).astype(np.float32),
        "photo": random.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32),
    }


def test_it_runs_without_this_project_and_gives_what_the_model_does(exported, given):
    out, model = exported
    np.savez(out / "given.npz", **given)
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        cwd=out,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    wanted = computed(model, **given)
    with np.load(out / "made.npz") as made:
        for name, array in wanted.items():
            assert np.ptp(array) > 0.1
            for b in (1, 3):
                np.testing.assert_allclose(made[f"{name}{b}"], array[:b], atol=1e-5)


def test_a_saved_model_gives_what_the_model_does(exported, given):
    tensorflow = pytest.importorskip("tensorflow")
    out, model = exported
    arguments = [str(out.parent / "run"), f"--out={out / 'tf'}", "--format=saved_model"]
    door.main(arguments)
    card = json.loads((out / "tf.json").read_text())
    assert card["format"] == "saved_model"
    saved = tensorflow.saved_model.load(str(out / "tf"))
    wanted = computed(model, **given)
    for b in (1, 3):
        label, edge, z, photo = (array[:b] for array in given.values())
        made = [saved.generator(label, edge, z), *saved.encoder(photo)]
        for ours, theirs in zip(wanted.values(), made, strict=True):
            np.testing.assert_allclose(theirs.numpy(), ours[:b], atol=1e-5)
    with pytest.raises(SystemExit, match=r"tf exists already"):
        door.main(arguments)


def test_of_a_full_disk_no_half_of_a_saved_model_is_left(tmp_path, monkeypatch):
    tensorflow = pytest.importorskip("tensorflow")

    def save(module, path):
        pathlib.Path(path).mkdir()
        raise tensorflow.errors.ResourceExhaustedError(None, None, "full")

    monkeypatch.setattr(tensorflow.saved_model, "save", save)
    with pytest.raises(OSError, match=r"tf cannot be written \(.*full"):
        saved_model.write(tmp_path / "tf", {}, {})
    assert list(tmp_path.iterdir()) == []


def test_the_programs_are_those_of_the_card(exported, card):
    out, _ = exported
    assert set(card["programs"]) == {"generator", "encoder"}
    for described in card["programs"].values():
        content = (out / described["file"]).read_bytes()
        assert described["sha256"] == hashlib.sha256(content).hexdigest()
        program = jax_export.deserialize(bytearray(content))
        assert program.platforms == ("cpu", "cuda", "tpu")
        assert described["calling_convention"] == program.calling_convention_version
        for side, avals in (
            ("inputs", program.in_avals),
            ("outputs", program.out_avals),
        ):
            assert [(x["shape"], x["dtype"]) for x in described[side]] == [
                ([str(a.shape[0]), *a.shape[1:]], a.dtype.name) for a in avals
            ]
    names = [x["name"] for x in card["programs"]["generator"]["inputs"]]
    assert names == ["label", "edge", "z"]


def test_the_card_knows_the_classes(card):
    assert card["classes"] == ["sky", "sea", "<sand>", "unknown"]
    assert len(card["palette"]) == card["num_classes"] == 4
    assert (card["height"], card["width"], card["latent_size"]) == (32, 32, 4)
    assert "resized to it by nearest neighbour" in card["sizes"]
    assert (card["step"], card["unknown_label"]) == (7, 255)


def test_the_card_tells_which_styles_photographs_have(exported, card):
    assert "random_styles" not in card
    model, random = exported[1], np.random.default_rng(0)
    fitted = aggregate.fit(*random.standard_normal((2, 9, 4)))
    card = describe(model._replace(aggregate=fitted), form={})
    found = json.loads(json.dumps(card["random_styles"]))
    np.testing.assert_array_equal(np.float32(found["factor"]), fitted.factor)
    np.testing.assert_array_equal(np.float32(found["mean"]), fitted.mean)
    inputs = {x["name"]: x for x in card["programs"]["generator"]["inputs"]}
    assert "see random_styles" in inputs["z"]["means"]


def test_the_rule_for_edges_is_that_of_the_data(card):
    (rule,) = (
        x["means"]
        for x in card["programs"]["generator"]["inputs"]
        if x["name"] == "edge"
    )
    instance = np.random.default_rng(0).integers(0, 2, (5, 6))
    padded = np.pad(instance, 1, "edge")
    sides = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    by_rule = np.any([side != instance for side in sides], axis=0)
    np.testing.assert_array_equal(by_rule, data.edges(instance))
    assert "above, below, left or right" in rule


def test_without_style_labels_go_in_alone_and_kernels_are_portable(
    tmp_path, save_model, two_blocks
):
    with two_blocks():
        save_model(tmp_path / "run", **{"generator.width": 16, "data.crop_size": 64})
        files = export.export(tmp_path / "run", tmp_path / "new" / "plain.jax")
        here = opening.load_model(tmp_path / "run").generator
        portable = opening.load_model(tmp_path / "run", portable=True).generator
    # Kernels transformed for CPUs are four times as large.
    assert "winograd" in here
    assert "winograd" not in portable
    size = sum(x.nbytes for x in jax.tree.leaves(portable))
    assert size < files[0].stat().st_size < 1.2 * size
    assert [file.name for file in files] == ["plain.jax", "plain.json"]
    card = json.loads(files[-1].read_text())
    (label,) = card["programs"]["generator"]["inputs"]
    assert label["shape"] == ["b", 64, 64]
    assert card["latent_size"] is None


def test_nothing_of_the_users_is_written_over(exported):
    out, _ = exported
    run = out.parent / "run"
    (out / "other.encoder.jax").write_text("mine")
    for name, message in (
        ("other.jax", r"other\.encoder\.jax is there already, and export did not"),
        ("../run/checkpoints/7/x.jax", r"is read from PATH="),
    ):
        with pytest.raises(SystemExit, match=message):
            door.main([str(run), f"--out={out / name}"])
    assert (out / "other.encoder.jax").read_text() == "mine"
    # Names that share a card, which would then tell of the last one's files only.
    for name in ("style", "style.onnx", "style.v2"):
        with pytest.raises(
            SystemExit, match=r"style\.json is the card of style\.jax, wh"
        ):
            door.main([str(run), f"--out={out / name}"])
        assert not (out / name).exists()
    # The programs themselves may be made anew.
    files = [(name, "") for name in ("style.jax", "style.encoder.jax", "style.json")]
    outputs.claim(out, files, command="export", flag="--out", inputs={})


def test_what_cannot_be_written_or_read(tmp_path):
    for out, match in (
        (tmp_path / "no" / "model.jax", r"CheckpointError.*nothing"),
        (tmp_path, r"is a directory"),
        (tmp_path / "\udcff.jax", r"the card has this name, which is no text"),
        (tmp_path / "model.json", r"the card gets this name.*model\.jax"),
        (tmp_path / "model.jax", r"CheckpointError.*nothing"),
    ):
        with pytest.raises(SystemExit, match=match) as error:
            door.main([str(tmp_path / "nothing"), f"--out={out}"])
        assert "Nothing was written" in str(error.value)
    assert list(tmp_path.iterdir()) == []
