"""Property: check_data and training agree about any data, and it can be used.

Pictures of all modes, bit depths, sizes and names are drawn at random. What check_data
accepts trains a step, and prediction reads its label maps as training does; what it
refuses, training refuses with the same words.
"""

import contextlib
import io
import json
import pathlib
import struct
import tempfile
import unicodedata
import zlib

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from spade_jax import assemble, data
from spade_jax.commands.check_data import check_data
from spade_jax.devices import batches as device_batches
from spade_jax.devices import mesh
from spade_jax.models import inputs
from spade_jax.models.maps import LabelFormat, Maps
from spade_jax.models.sizes import size_rule
from spade_jax.recipe import describe
from spade_jax.training.prepare import open_data, prepare

COLORS = ((0, 0, 90), (90, 0, 0), (0, 90, 0), (90, 90, 90))
SIZE = 16  # of what the networks see


def of_grey(array, **arguments):
    return Image.fromarray(np.asarray(array, np.uint8)), arguments


def permuted(ids, colors, order):
    picture = Image.fromarray(np.argsort(order)[ids].astype(np.uint8))
    picture.putpalette([value for i in order for value in colors[i]])
    return picture


def few_bits(ids, bits):
    """A grey PNG of few bits, which Pillow does not write."""
    rows = np.unpackbits(ids[..., None], axis=-1)[..., -bits:].reshape(len(ids), -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(rows, axis=-1))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", *ids.shape[::-1], bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def saved(picture, extension, **arguments):
    stream = io.BytesIO()
    format = {"jfif": "jpeg", "tif": "tiff", "pgm": "ppm"}.get(extension, extension)
    picture.save(stream, format=format, **arguments)
    return extension, stream.getvalue()


def pixels(mode):
    return lambda rgb: saved(Image.fromarray(rgb).convert(mode), "png")


def with_alpha(alpha):
    def make(rgb):
        picture = Image.fromarray(rgb)
        picture.putalpha(alpha)
        return saved(picture, "png")

    return make


def deep(factor):
    return lambda rgb: saved(
        Image.fromarray((rgb[..., 0].astype(np.uint16) + 1) * factor), "png"
    )


# From a name to what makes of uint8 [H, W, 3] an extension and a file.
PHOTOGRAPHS = {
    "rgb": pixels("RGB"),
    "jfif": lambda rgb: saved(Image.fromarray(rgb), "jfif"),
    "grey": pixels("L"),
    "bilevel": pixels("1"),
    "indexed": pixels("P"),
    "opaque": with_alpha(255),
    "transparent": with_alpha(254),
    "cmyk": lambda rgb: saved(Image.fromarray(rgb).convert("CMYK"), "tif"),
    "16 bits": deep(255),
    "12 bits": deep(15),
    "float": lambda rgb: saved(Image.fromarray(rgb[..., 0].astype(np.float32)), "tif"),
    "broken": lambda rgb: ("png", b"\x89PNG"),
    "not read": lambda rgb: ("heic", b""),
}
# The same of uint8 [H, W], ids of 4 classes.
LABELS = {
    "grey": lambda ids: saved(Image.fromarray(ids), "png"),
    "pgm": lambda ids: saved(Image.fromarray(ids), "pgm"),
    "2 bits": lambda ids: ("png", few_bits(ids, 2)),
    "4 bits": lambda ids: ("png", few_bits(ids, 4)),
    "16 bits": lambda ids: saved(Image.fromarray(ids.astype(np.uint16)), "png"),
    "32 bits": lambda ids: saved(Image.fromarray(ids.astype(np.int32)), "tif"),
    "float": lambda ids: saved(Image.fromarray(ids.astype(np.float32)), "tif"),
    "grey, alpha": lambda ids: saved(Image.fromarray(ids).convert("LA"), "png"),
    "grey rgb": lambda ids: saved(Image.fromarray(ids).convert("RGB"), "png"),
    "mask": lambda ids: saved(Image.fromarray(ids // 2 * 255), "png"),
    "unknown": lambda ids: saved(Image.fromarray(np.where(ids, ids, 255)), "png"),
    "foreign": lambda ids: saved(Image.fromarray(ids + np.uint8(7)), "png"),
    "colours": lambda ids: saved(Image.fromarray(np.uint8(COLORS)[ids]), "png"),
    "indexed": lambda ids: saved(permuted(ids, COLORS, [0, 1, 2, 3]), "png"),
    "in another order": lambda ids: saved(permuted(ids, COLORS, [3, 1, 0, 2]), "png"),
    "indexed greys": lambda ids: saved(
        permuted(ids, [(i,) * 3 for i in range(4)], [3, 2, 1, 0]), "png"
    ),
    "gif": lambda ids: saved(Image.fromarray(ids), "gif"),
    "gif, colours": lambda ids: saved(permuted(ids, COLORS, [0, 1, 2, 3]), "gif"),
    "animated": lambda ids: saved(
        Image.fromarray(ids),
        "gif",
        save_all=True,
        append_images=[Image.fromarray(3 - ids)],
    ),
    "too small": lambda ids: saved(Image.fromarray(ids[:, 1:]), "png"),
    "broken": lambda ids: ("png", b"\x89PNG"),
    "jpeg": lambda ids: saved(Image.fromarray(ids), "jfif"),
    "jpeg of another name": lambda ids: (
        "png",
        saved(Image.fromarray(ids), "jfif")[1],
    ),
    "tiff, jpeg": lambda ids: saved(Image.fromarray(ids), "tif", compression="jpeg"),
}
INSTANCES = {
    "grey": lambda ids: saved(Image.fromarray(ids), "png"),
    "panoptic": lambda ids: saved(Image.fromarray(np.uint8(COLORS)[ids]), "png"),
    "indexed": lambda ids: saved(permuted(ids, COLORS, [2, 3, 0, 1]), "png"),
    "transparent": lambda ids: with_alpha(9)(np.uint8(COLORS)[ids]),
}
NAMES = ("a", "b.c", "below/a", "below/deeper/ü", "Ba\u0308ckerei 1", "名", "x y")


def usual(kinds):
    """Mostly the first kind, so that one fault seldom hides another."""
    names = list(kinds)
    return st.sampled_from([*[names[0]] * 3 * len(names), *names])


EXAMPLES = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "photograph": usual(PHOTOGRAPHS),
        "label": usual(LABELS),
        "instance": usual(INSTANCES),
        "size": st.one_of(
            st.just((SIZE, SIZE)), st.tuples(*[st.sampled_from([8, 16, 24, 33])] * 2)
        ),
        "seed": st.integers(0, 9),
    }
)
FIELDS = st.fixed_dictionaries(
    {
        "data.preprocess_mode": usual(data.MODES),
        "data.load_size": st.sampled_from([SIZE, SIZE + 2]),
        "data.label_colors": usual(("", "palette")),
        "data.palette": usual(((), COLORS)),
        "data.unknown_label": usual((255, None)),
        "data.instances": st.just(True),
        "batch_size": st.just(2),
    }
)
SPLITS = st.fixed_dictionaries(
    {
        split: st.lists(
            EXAMPLES, min_size=1, max_size=3, unique_by=lambda example: example["name"]
        )
        for split in ("train", "val")
    }
)


def write(root, split, example):
    """Writes an example's files; their names are composed or not, as it happens."""
    random = np.random.default_rng(example["seed"])
    height, width = example["size"]
    ids = random.permutation(4).astype(np.uint8)
    ids = ids[np.arange(width) * 4 // width] * np.ones((height, 1), np.uint8)
    photograph = random.integers(0, 256, (height, width, 3), np.uint8)
    made = {
        "img": PHOTOGRAPHS[example["photograph"]](photograph),
        "label": LABELS[example["label"]](ids),
        "inst": INSTANCES[example["instance"]](ids),
    }
    for field, (extension, content) in made.items():
        name = example["name"]
        if field == "label":
            name = unicodedata.normalize("NFC", name)
        path = root / f"{split}_{field}" / f"{name}.{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def recipe_of(make_default_config, two_blocks):
    """`recipe_of(root, **fields)`: a tiny model's."""

    def make(root, **fields):
        config = make_default_config()
        config.update_from_flattened_dict(
            {
                "num_epochs": 1,
                "decay_epochs": 0,
                "num_samples": 2,
                "data.root": str(root),
                "data.num_classes": 4,
                "data.crop_size": SIZE,
                "generator.width": 1,
                "generator.hidden": 2,
                "generator.norm": "spadebatch3x3",
                "discriminator.width": 1,
                "discriminator.num_scales": 1,
                "discriminator.num_layers": 2,
                "discriminator.norm": "instance",
                "loss.perceptual": 0.0,
                **fields,
            }
        )
        return describe(config)

    with two_blocks():
        yield make


@pytest.fixture(scope="module")
def trainers(recipe_of, tmp_path_factory):
    """`trainers(recipe)`: a compiled train step for it, and its state in a list."""
    made = {}
    one_device = mesh.make_mesh(jax.devices()[:1])

    def make(recipe):
        key = recipe.data.num_ids, recipe.data.instances
        if key not in made:
            run = prepare(recipe, one_device, tmp_path_factory.mktemp("run"))
            made[key] = run, [run.init()], one_device
        return made[key]

    return make


def shown(message, root):
    """A message in which files are called by their examples' names."""
    for path in sorted(root.rglob("*.*"), key=lambda path: -len(str(path))):
        name = path.relative_to(root).with_suffix("")
        name = pathlib.PurePath(*name.parts[1:]).as_posix()
        message = message.replace(str(path), unicodedata.normalize("NFC", name))
    return message


def refusal(function, *arguments, **options):
    """What a function returns, or the error by which it refuses."""
    try:
        return function(*arguments, **options)
    except ValueError as error:
        return error


def looked_at(recipe, report):
    """The errors that check_data tells, or the one that it raises."""
    with contextlib.redirect_stdout(io.StringIO()):
        accepted = check_data(recipe, write_report=report)
    findings = json.loads(report.read_text())["findings"]
    errors = [finding for finding in findings if finding["severity"] == "error"]
    assert accepted == (not errors)
    return errors


def agree(recipe_of, trainers, splits, fields):
    """Whether check_data and training accept data, about which they have to agree."""
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory) / "data"
        for split, examples in splits.items():
            for example in examples:
                write(root, split, example)
        recipe = recipe_of(root, **fields)
        errors = refusal(looked_at, recipe, pathlib.Path(directory) / "report.json")
        networks = assemble.networks(recipe.architecture, recipe.compute)
        opened = refusal(open_data, recipe, networks, platform="cpu")
        if isinstance(errors, ValueError):
            # The config itself is wrong.
            assert str(opened) == str(errors)
            return False
        if isinstance(opened, ValueError):
            kind = opened.kind if isinstance(opened, data.DataError) else "network"
            assert kind in {error["kind"] for error in errors}, (opened, errors)
            # Training tells of all files without a partner at once.
            if kind not in ("unpaired", "same_stem"):
                told = [shown(error["message"], root) for error in errors]
                assert shown(str(opened), root) in told
            return False
        assert not errors
        source, transform, _ = opened
        trains(recipe, trainers, source, transform)
        reads_alike(recipe, source, root)
        return True


def trains(recipe, trainers, source, transform):
    run, state, one_device = trainers(recipe)
    batches = data.batches(
        source, batch_size=2, seed=0, shuffle=False, transform=transform
    )
    batch = next(device_batches.prefetch(batches, one_device))
    batches.close()
    state[0], losses = run.train_step(
        state[0], batch, run.constants, update_generator=True
    )
    assert all(np.isfinite(loss) for loss in jax.device_get(losses).values())


def reads_alike(recipe, source, root):
    """Prediction reads label and instance maps as training does."""
    labels, instances = (
        {
            unicodedata.normalize(
                "NFC", path.relative_to(folder).with_suffix("").as_posix()
            ): path
            for path in folder.rglob("*.*")
        }
        for folder in (root / "train_label", root / "train_inst")
    )
    names = [source[i].name for i in range(len(source))]
    maps = Maps(
        labels=inputs.named([str(labels[name]) for name in names], "label"),
        instances=inputs.named([str(instances[name]) for name in names], "instance")
        if recipe.data.instances
        else None,
        format=LabelFormat(recipe.data),
    )
    rule = size_rule(recipe)
    for trained, given in zip(source, maps, strict=True):
        np.testing.assert_array_equal(given.label, trained.label)
        if recipe.data.instances:
            np.testing.assert_array_equal(given.instance, trained.instance)
        assert rule(given).label.size


def test_check_data_and_training_agree(recipe_of, trainers):
    outcomes = []

    @hypothesis.settings(
        max_examples=25, deadline=None, derandomize=True, database=None
    )
    @hypothesis.given(SPLITS, FIELDS)
    def agreeing(splits, fields):
        outcomes.append(agree(recipe_of, trainers, splits, fields))

    agreeing()
    assert 2 < sum(outcomes) < len(outcomes) - 2


@pytest.mark.long
def test_check_data_and_training_agree_about_more(recipe_of, trainers):
    @hypothesis.settings(max_examples=300, deadline=None, database=None)
    @hypothesis.given(SPLITS, FIELDS)
    def agreeing(splits, fields):
        agree(recipe_of, trainers, splits, fields)

    agreeing()
