"""What onnxruntime computes of an ONNX file is what the networks compute."""

import dataclasses
import functools
import hashlib
import json
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest

from spade_jax import assemble, data, export
from spade_jax.export import __main__ as door
from spade_jax.export import card, onnx_file
from spade_jax.export.onnx_graph import Graph
from spade_jax.layout import Layout, positions
from spade_jax.models import opening
from spade_jax.models.predictor import Predictor

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

MOST = {"float32": 1e-4, "float16": 2 / 255}
"""Differences in [-1, 1], by the precision of the weights."""


@pytest.fixture(scope="module")
def make_model(tiny_recipe, fill):
    """`make_model(**fields)`: random weights of a `tiny_recipe`, portable."""

    def make(**fields):
        recipe = tiny_recipe(**fields)
        networks = assemble.networks(recipe.architecture, recipe.compute)
        shapes = assemble.abstract_variables(recipe.architecture, networks)
        generator, encoder = (
            None if shapes[name] is None else fill(shapes[name], seed)
            for seed, name in enumerate(("generator", "encoder"))
        )
        return opening.usable(
            recipe, networks, generator, encoder, step=7, portable=True
        )

    return make


@pytest.fixture
def make_small(make_model, two_blocks, two_stages, other_blocks):
    """`make_model` where a SPADE has two blocks."""
    with two_blocks(), other_blocks("oasis", two_stages):
        yield make_model


def sessions(model, *, precision="float32"):
    """A session of onnxruntime for each file of a model, and the card in them."""
    described = card.describe(
        model,
        form=onnx_file.form(precision=precision),
        any_size=onnx_file.takes_any_size(model),
    )
    graphs = onnx_file.graphs(model, precision=precision)
    return {
        name: session(content)
        for name, content in onnx_file.contents(graphs, described).items()
    }


def session(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        file, options, providers=["CPUExecutionProvider"]
    )


def inputs(model, size):
    """What goes into the generator of a model, for three pictures."""
    random = np.random.default_rng(0)
    num_ids = model.recipe.data.num_ids
    patches = random.integers(0, num_ids, (3, -(-size[0] // 4), -(-size[1] // 4)))
    label = patches.repeat(4, axis=1).repeat(4, axis=2)[:, : size[0], : size[1]]
    given = {"label": label.astype(np.int32)}
    if model.recipe.data.instances:
        given["edge"] = np.stack([data.edges(one) for one in label])
    if assemble.reads_positions(model.recipe.architecture):
        given["positions"] = positions(given["label"])
    if model.networks.latent_size is not None:
        shape = (3, model.networks.latent_size)
        given["z"] = random.standard_normal(shape, np.float32)
    return given


STYLE = {
    "data.instances": True,
    "generator.norm": "spadeinstance3x3",
    "generator.latent": "vae",
    "generator.latent_size": 4,
    "encoder.width": 2,
    "encoder.image_size": 8,
}
CASES = {
    "two blocks": ({"data.instances": True}, [(6, 10), (16, 12)]),
    "style": (STYLE, [(32, 32)]),
    # A start grid that is rounded, so that layouts are not a multiple of it.
    "noise": (
        {
            "data.aspect_ratio": 1.6,
            "data.crop_size": 33,
            "generator.norm": "spadebatch5x5",
            "generator.latent": "noise",
            "generator.latent_size": 4,
        },
        [(21, 33)],
    ),
    "clade": (
        {"data.instances": True, "generator.norm": "cladesyncbatch"},
        [(6, 10), (16, 12)],
    ),
    "clade with positions and styles": (
        STYLE | {"generator.norm": "cladeicpeinstance"},
        [(32, 32)],
    ),
    "oasis": (
        {"generator.name": "oasis", "generator.latent": "noise"},
        [(6, 10), (16, 12)],
    ),
    "oasis without noise, by class": (
        {"generator.name": "oasis", "generator.norm": "cladebatch"},
        [(6, 10)],
    ),
    "pix2pixhd": (
        {
            "data.instances": True,
            "generator.name": "pix2pixhd",
            "generator.norm": "instance",
            "generator.downsamplings": 2,
            "generator.blocks": 1,
        },
        [(16, 24), (32, 32)],
    ),
    "pix2pixhd, batch norm": (
        {
            "generator.name": "pix2pixhd",
            "generator.norm": "batch",
            "generator.downsamplings": 1,
            "generator.blocks": 2,
        },
        [(16, 24)],
    ),
    "concat": (
        {"generator.name": "concat", "generator.norm": "syncbatch"},
        [(6, 10), (16, 12)],
    ),
    "concat, no norm": (
        {"generator.name": "concat", "generator.norm": "none"},
        [(6, 10)],
    ),
}


def check(model, sizes):
    """Compares pictures of these sizes, in batches of 1 and 3."""
    predictor = Predictor(model)
    files = {
        precision: sessions(model, precision=precision)["generator"]
        for precision in MOST
    }
    for size in sizes:
        given = inputs(model, size)
        layout = Layout(
            given["label"], given.get("edge"), positions=given.get("positions")
        )
        wanted = np.asarray(predictor.synthesis.generate(layout, None, given.get("z")))
        assert np.ptp(wanted) > 0.1
        assert np.abs(wanted[0] - wanted[1]).max() > 0.1
        for precision, most in MOST.items():
            for b in (1, 3):
                one = {name: array[:b] for name, array in given.items()}
                (made,) = files[precision].run(["image"], one)
                np.testing.assert_allclose(made, wanted[:b], atol=most, rtol=0)
    (told,) = files["float32"].get_outputs()
    any_size = onnx_file.takes_any_size(model)
    sides = ["height", "width"] if any_size else made.shape[1:3]
    assert told.shape == ["b", *sides, 3]


@pytest.mark.parametrize("name", CASES)
def test_pictures_are_those_of_the_predictor(name, make_small):
    fields, sizes = CASES[name]
    check(make_small(**fields), sizes)


@pytest.mark.long
@pytest.mark.parametrize("upsampling", ["normal", "more", "most"])
def test_official_decoders(upsampling, make_model):
    fields = {"generator.upsampling": upsampling, "data.crop_size": 128}
    model = make_model(**fields)
    side = model.networks.generator.multiple
    check(model, [(side, side)])


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_styles_are_those_of_the_encoder(norm, make_small):
    model = make_small(**{**STYLE, "encoder.norm": norm})
    photo = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    wanted = jax.jit(functools.partial(model.networks.encoder.apply, train=False))(
        model.encoder, photo
    )
    for precision, most in MOST.items():
        run = sessions(model, precision=precision)["encoder"].run
        for b in (1, 3):
            made = run(["mean", "logvar"], {"photo": photo[:b]})
            for ours, theirs in zip(wanted, made, strict=True):
                assert np.ptp(ours) > 0.1
                np.testing.assert_allclose(theirs, ours[:b], atol=most, rtol=0)


@pytest.mark.parametrize("norm", ["spadesyncbatch3x3", "cladesyncbatch"])
def test_ids_that_are_no_class_are_as_in_the_networks(norm, make_small):
    model = make_small(**{"generator.norm": norm})
    label = np.array([[-1, 0, 1], [4, 99, 3]], np.int32).repeat(2, 0).repeat(2, 1)
    wanted = Predictor(model).synthesis.generate(Layout(label[None]), None, None)
    (made,) = sessions(model)["generator"].run(None, {"label": label[None]})
    np.testing.assert_allclose(made, wanted, atol=1e-4, rtol=0)


def test_sizes_that_the_networks_cannot_make_are_refused(make_small):
    run = sessions(make_small())["generator"].run
    with pytest.raises(Exception, match="broadcast"):
        run(None, {"label": np.zeros((1, 7, 8), np.int32)})


# ---- Files ---------------------------------------------------------------------------


def test_the_command_writes_files_with_their_card(
    tmp_path, save_model, two_blocks, capsys
):
    with two_blocks():
        save_model(tmp_path / "run", **STYLE)
        out = tmp_path / "style.onnx"
        door.main([str(tmp_path / "run"), f"--out={out}", "--precision=float16"])
        other = tmp_path / "other.encoder.onnx"
        other.write_text("somebody's")
        with pytest.raises(SystemExit, match=r"other\.encoder\.onnx"):
            door.main([str(tmp_path / "run"), f"--out={tmp_path / 'other.onnx'}"])
        assert other.read_text() == "somebody's"
        assert not (tmp_path / "other.onnx").exists()
    written = ["style.onnx", "style.encoder.onnx", "style.json"]
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        str(tmp_path / name) for name in written
    ]
    described = json.loads((tmp_path / "style.json").read_text(encoding="utf-8"))
    assert described["format"] == "onnx"
    assert described["weights"] == "float16"
    assert described["versions"]["onnx"] == onnx.__version__
    assert described["classes"] == ["sky", "sea", "<sand>", "unknown"]
    for program in described["programs"].values():
        content = (tmp_path / program.pop("file")).read_bytes()
        assert program.pop("sha256") == hashlib.sha256(content).hexdigest()
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model, full_check=True)
        kernels = [x for x in model.graph.initializer if len(x.dims) in (2, 4)]
        assert {x.data_type for x in kernels} == {onnx.TensorProto.FLOAT16}
        opened = session(content)
        for side, values in (
            ("inputs", opened.get_inputs()),
            ("outputs", opened.get_outputs()),
        ):
            assert [(x["name"], x["shape"]) for x in program[side]] == [
                (x.name, x.shape) for x in values
            ]
    # Without their files, which have it in them.
    assert json.loads(opened.get_modelmeta().custom_metadata_map["card"]) == described


@pytest.mark.parametrize(
    ("fields", "others"),
    [
        ({"data.instances": True}, {"edge": []}),
        ({"generator.norm": "cladeicpebatch"}, {"positions": [2]}),
        (
            {"generator.name": "oasis", "generator.latent": "noise"},
            {"z": ["b", 256]},
        ),
    ],
)
def test_models_that_start_from_a_layout_take_any_size(fields, others, make_small):
    model = make_small(**fields)
    assert onnx_file.takes_any_size(model)
    described = card.describe(model, form={}, any_size=True)
    generator = described["programs"]["generator"]
    any_size = ["b", "height", "width"]
    assert {x["name"]: x["shape"] for x in generator["inputs"]} == {
        "label": any_size,
        **{name: x if name == "z" else any_size + x for name, x in others.items()},
    }
    assert generator["outputs"][0]["shape"] == [*any_size, 3]
    assert "multiples of 2" in described["sizes"]
    assert (described["height"], described["width"]) == (32, 32)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        (
            "a.onnx",
            ["--format=jax"],
            r"a\.onnx --format=jax: files of ONNX, and no oth",
        ),
        ("a.ONNX", ["--format=jax"], r"a\.ONNX --format=jax: fi"),
        (".onnx", [], r"\.onnx is a suffix alone\. Give a file, as model\.onnx"),
        ("a.jax", ["--format=onnx"], r"have the suffix \.onnx"),
        ("a", ["--format=saved_model", "--precision=float16"], r"is for files of ONNX"),
        ("a.jax", ["--precision=float16"], r"--precision=float16 is for files of ONNX"),
    ],
)
def test_what_does_not_fit_together_is_refused(name, arguments, words, tmp_path):
    with pytest.raises(SystemExit, match=words) as error:
        door.main(["scenes", f"--out={tmp_path / name}", *arguments])
    assert "Nothing was written" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_words_that_are_none_are_refused(tmp_path):
    for wrong in ({"format": "tflite"}, {"precision": "int8"}):
        with pytest.raises(ValueError, match=r"is not one of (jax|float32), "):
            export.export("scenes", tmp_path / "a.onnx", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_it_says_which(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SystemExit, match=r"not installed: pip install onnx"):
        door.main(["scenes", f"--out={tmp_path / 'a.onnx'}"])


def test_other_generators_are_refused(make_small):
    class Other(nn.Module):
        pass

    model = make_small(**STYLE)
    networks = dataclasses.replace(model.networks, generator=Other())
    with pytest.raises(ValueError, match=r"Other cannot be written as ONNX yet, only"):
        onnx_file.graphs(model._replace(networks=networks), precision="float32")


def test_weights_beyond_float16_are_refused():
    large = np.array([[1, -70000]])
    Graph(precision="float32").kernel(large)
    with pytest.raises(ValueError, match=r"ends at 65504.*70000.*precision=float32"):
        Graph(precision="float16").kernel(large)


def test_what_is_larger_than_a_file_is_refused(make_small, monkeypatch):
    graphs = onnx_file.graphs(make_small(), precision="float32")
    monkeypatch.setattr(onnx_file, "_MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"The generator has .*precision=float16"):
        onnx_file.contents(graphs, {})
