"""A folder of layouts becomes a folder of pictures, from a checkpoint's path alone."""

import math
import re
import shutil

import av
import jax
import numpy as np
import pytest
from PIL import Image, ImageSequence

import spade_jax
from spade_jax import assemble
from spade_jax.commands.predict import predict
from spade_jax.data import DataError
from spade_jax.files import pictures
from spade_jax.layout import Layout
from spade_jax.models import opening
from spade_jax.models.inputs import read_photo
from spade_jax.workdir import checkpoint
from spade_jax.workdir.checkpoint import CheckpointError

NAMES = ("a", "b", "c")
SIZE = 32


@pytest.fixture(scope="module", autouse=True)
def quick(two_blocks):
    with two_blocks():
        yield


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Label and instance maps of the size that the models see, and photographs."""
    root = tmp_path_factory.mktemp("layouts")
    random = np.random.default_rng(0)
    for folder in ("val_img", "val_label", "val_inst"):
        (root / folder).mkdir()
    for name in NAMES:
        label = random.integers(0, 3, (8, 8)).repeat(4, 0).repeat(4, 1)
        label[0] = 255
        image = random.integers(0, 256, (SIZE, SIZE, 3))
        for folder, array in (
            ("val_label", label),
            ("val_inst", label // 2),
            ("val_img", image),
        ):
            Image.fromarray(array.astype(np.uint8)).save(root / folder / f"{name}.png")
    return root


def synthesise(model, label, edge=None, *latent):
    """What the generator makes, called by itself: float `[H, W, 3]`."""
    apply = jax.jit(model.networks.generator.apply, static_argnames="train")
    layout = Layout(label, None if edge is None else edge[None])
    return np.asarray(apply(model.generator, layout, *latent, train=False))[0]


def read(path):
    return np.asarray(Image.open(path))


def ids(layouts, name):
    label = read(layouts / "val_label" / f"{name}.png").astype(np.int32)
    return np.where(label == 255, 3, label)[None]


@pytest.fixture(scope="module")
def plain(tmp_path_factory, save_model):
    """A model that starts from the layout."""
    workdir = tmp_path_factory.mktemp("plain")
    save_model(workdir)
    return workdir


@pytest.fixture(scope="module")
def vae(tmp_path_factory, save_model):
    """A model with an encoder, and instance edges."""
    workdir = tmp_path_factory.mktemp("vae")
    save_model(
        workdir,
        **{
            "data.instances": True,
            "generator.latent": "vae",
            "generator.latent_size": 4,
            "encoder.width": 2,
            "encoder.image_size": 8,
        },
    )
    return workdir


def test_every_layout_becomes_the_generators_picture(plain, layouts, tmp_path):
    out = tmp_path / "out"
    paths = predict(plain, labels=layouts / "val_label", out=out)
    assert paths == [out / f"{name}.png" for name in NAMES]
    model = opening.load_model(plain)
    assert model.step == 7
    for name, path in zip(NAMES, paths, strict=True):
        image = synthesise(model, ids(layouts, name))
        difference = read(path) - pictures.to_uint8(image).astype(int)
        assert np.abs(difference).max() <= 1
        assert read(path).std() > 5


def test_gallery_and_contact_sheet(plain, layouts, tmp_path):
    out = tmp_path / "out"
    predict(plain, labels=layouts / "val_label", out=out)
    page = (out / "index.html").read_text()
    for name in NAMES:
        assert f'src="{name}.png"' in page
        assert f'src="layouts/{name}.png"' in page
    assert "&lt;sand&gt;" in page
    palette = pictures.full_palette((), 4)
    # In the colours that were made for classes that have none.
    for color, name in zip(
        palette, ("sky", "sea", "&lt;sand&gt;", "unknown"), strict=True
    ):
        assert f'rgb{color}">{name}</li>' in page
    shown = read(out / "layouts" / "a.png")
    np.testing.assert_array_equal(shown, pictures.paint(ids(layouts, "a")[0], palette))
    # Three rows of layout and picture, enlarged to 128 pixels.
    assert read(out / "contact_sheet.png").shape == (3 * 130 + 2, 2 * 130 + 2, 3)


def test_layouts_may_be_in_the_classes_colors(plain, layouts, tmp_path, save_model):
    palette = ((0, 0, 90), (0, 90, 0), (90, 0, 0))
    fields = {"data.palette": palette, "data.label_colors": "palette"}
    save_model(tmp_path / "colored", **fields)
    (tmp_path / "labels").mkdir()
    for name in NAMES:
        # Black, the colour of no class, is unknown.
        shown = pictures.paint(ids(layouts, name)[0], (*palette, (0, 0, 0)))
        pictures.save_png(tmp_path / "labels" / f"{name}.png", shown)
    colored = predict(
        tmp_path / "colored", labels=tmp_path / "labels", out=tmp_path / "1"
    )
    of_ids = predict(plain, labels=layouts / "val_label", out=tmp_path / "2")
    # A model of ids knows its classes' colours, too.
    save_model(tmp_path / "of_ids", **{"data.palette": palette})
    recognised = predict(
        tmp_path / "of_ids", labels=tmp_path / "labels", out=tmp_path / "3"
    )
    for paths in zip(colored, recognised, of_ids, strict=True):
        *ours, wanted = (read(path) for path in paths)
        for one in ours:
            np.testing.assert_array_equal(one, wanted)


def test_label_maps_of_several_sizes_in_folders(plain, layouts, tmp_path, caplog):
    labels = tmp_path / "labels"
    (labels / "b").mkdir(parents=True)
    label = read(layouts / "val_label" / "a.png")
    shapes = {"b/a": label, "c": label[:, :18], "d": label[:16], "e": label}
    for name, of_name in shapes.items():
        Image.fromarray(of_name).save(labels / f"{name}.png")
    common = {"labels": labels, "out": tmp_path / "out"}
    paths = predict(plain, **common)
    names = [f"{name}.png" for name in ("b/a", "c", "d", "e")]
    assert paths == [tmp_path / "out" / name for name in names]
    assert {read(path).shape for path in paths} == {(SIZE, SIZE, 3)}
    (told,) = [m for m in caplog.messages if "resized" in m]
    assert re.match(r"Maps of 18x32 pixels .*\(1 of 4 label maps; 1 are of other", told)
    model = spade_jax.load(plain)
    for kept in (False, True):
        size = "map" if kept else "trained"
        made = predict(plain, size=size, **common)
        for path, of_name in zip(made, shapes.values(), strict=True):
            difference = read(path) - model(of_name, size=size)[0].astype(int)
            assert np.abs(difference).max() <= 1
            assert not kept or read(path).shape == (*of_name.shape, 3)
            shown = tmp_path / "out" / "layouts" / path.relative_to(tmp_path / "out")
            assert read(shown).shape == read(path).shape
    page = (tmp_path / "out" / "index.html").read_text()
    places = [page.index(f'src="{name}"') for name in names]
    assert places == sorted(places)
    with pytest.raises(ValueError, match="pictures would be of 3 sizes"):
        predict(plain, size="map", film=tmp_path / "x.gif", **common)
    (labels / "b" / "a.png").unlink()
    (labels / "c.png").unlink()
    (labels / "e.png").unlink()
    Image.fromarray(label[:15]).save(labels / "d.png")
    with pytest.raises(
        ValueError, match=r"would be 32x15 .* sides of an \.mp4 are even"
    ):
        predict(plain, size="map", film=tmp_path / "x.mp4", **common)


def test_one_label_map(plain, layouts, tmp_path):
    file = layouts / "val_label" / "b.png"
    (path,) = predict(plain, labels=file, out=tmp_path / "1")
    of_folder = predict(plain, labels=layouts / "val_label", out=tmp_path / "2")
    assert path == tmp_path / "1" / "b.png"
    # Of another number of pictures in one program.
    assert np.abs(read(path) - read(of_folder[1]).astype(int)).max() <= 1


def test_each_layout_in_the_style_of_its_photograph(vae, layouts, tmp_path):
    common = {
        "labels": layouts / "val_label",
        "instances": layouts / "val_inst",
        "out": tmp_path / "out",
    }
    paired = [read(p) for p in predict(vae, style=layouts / "val_img", **common)]
    for number, name in enumerate(NAMES):
        style = layouts / "val_img" / f"{name}.png"
        of_one = read(predict(vae, style=style, **common)[number])
        np.testing.assert_array_equal(paired[number], of_one)
    (a, *_) = predict(vae, style=layouts / "val_img", num_samples=2, seed=3, **common)
    drawn = read(a)
    style = layouts / "val_img" / "a.png"
    (b, *_) = predict(vae, style=style, num_samples=2, seed=3, **common)
    np.testing.assert_array_equal(drawn, read(b))
    with pytest.raises(ValueError, match="is a directory, and a film has one style"):
        predict(vae, style=layouts / "val_img", film=tmp_path / "x.gif", **common)


def test_what_is_wrong_is_told_before_weights_are_read(
    vae, layouts, tmp_path, monkeypatch
):
    monkeypatch.delattr(opening.Opened, "read")
    (tmp_path / "broken.png").write_bytes(b"none")
    (tmp_path / "foreign").mkdir()
    foreign = Image.fromarray(np.full((SIZE, SIZE), 9, np.uint8))
    foreign.save(tmp_path / "foreign" / "a.png")
    # Not the first, nor one among a few.
    shutil.copytree(layouts / "val_img", tmp_path / "styles")
    (tmp_path / "styles" / "c.png").write_bytes(b"none")
    shutil.copytree(layouts / "val_label", tmp_path / "labels")
    foreign.save(tmp_path / "labels" / "c.png")
    right = {
        "labels": layouts / "val_label",
        "instances": layouts / "val_inst",
        "style": layouts / "val_img" / "a.png",
    }
    for flag, path, message in (
        ("labels", "gone", r"--labels=.*gone: there is no such directory"),
        ("labels", "foreign", r"foreign/a\.png: label ids 9"),
        ("instances", "gone", r"--instances=.*gone: there is no such directory"),
        ("instances", "foreign", r"2 labels of .* have no instance"),
        ("style", "gone", r"--style=.*gone: there is no such directory, nor file"),
        ("style", "broken.png", r"broken\.png: cannot read this picture"),
        ("style", "foreign", r"2 labels of .* have no image"),
        ("style", "styles", r"styles/c\.png: cannot read this picture"),
        ("labels", "labels", r"labels/c\.png: label ids 9"),
    ):
        with pytest.raises(DataError, match=message):
            predict(vae, out=tmp_path / "out", **{**right, flag: tmp_path / path})
    assert not (tmp_path / "out").exists()


def test_seed_and_sample_make_the_style(vae, layouts, tmp_path):
    def run(out, **options):
        paths = predict(
            vae,
            labels=layouts / "val_label",
            instances=layouts / "val_inst",
            out=tmp_path / out,
            **options,
        )
        return {path.name: read(path) for path in paths}

    once, again = run("1", seed=1), run("2", seed=1)
    other, several = run("3", seed=2), run("4", seed=1, num_samples=2)
    assert set(several) == {f"{name}_{k}.png" for name in NAMES for k in (0, 1)}
    for name in NAMES:
        np.testing.assert_array_equal(once[f"{name}.png"], again[f"{name}.png"])
        assert (once[f"{name}.png"] != other[f"{name}.png"]).any()
        np.testing.assert_array_equal(several[f"{name}_0.png"], once[f"{name}.png"])
        assert (several[f"{name}_1.png"] != several[f"{name}_0.png"]).any()


def test_style_is_the_encoders_mean_of_the_photograph(vae, layouts, tmp_path):
    photo = layouts / "val_img" / "b.png"
    common = {
        "labels": layouts / "val_label",
        "instances": layouts / "val_inst",
        "style": photo,
    }
    paths = predict(vae, out=tmp_path / "1", seed=1, **common)
    # The mean leaves nothing to chance.
    again = predict(vae, out=tmp_path / "2", seed=2, **common)
    model = opening.load_model(vae)
    image = read_photo(photo, assemble.preprocess(model.recipe.data, training=False))
    np.testing.assert_allclose(image[0], read(photo) / 127.5 - 1, atol=1e-6)
    mean, _ = model.networks.encoder.apply(model.encoder, image, train=False)
    label = ids(layouts, "a")
    stored = read(layouts / "val_inst" / "a.png")
    edge = np.zeros_like(stored, bool)
    down, right = stored[1:] != stored[:-1], stored[:, 1:] != stored[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    expected = synthesise(model, label, edge, mean)
    difference = read(paths[0]) - pictures.to_uint8(expected).astype(int)
    assert np.abs(difference).max() <= 1
    for one, two in zip(paths, again, strict=True):
        np.testing.assert_array_equal(read(one), read(two))
    drawn = predict(vae, out=tmp_path / "3", num_samples=2, **common)
    assert (read(drawn[0]) != read(drawn[1])).any()


def test_a_film_has_one_style_and_counts_its_frames(vae, layouts, tmp_path):
    for folder in ("val_label", "val_inst"):
        (tmp_path / folder).mkdir()
        for number, name in ((2, "a"), (10, "b"), (1, "c")):
            file = layouts / folder / f"{name}.png"
            (tmp_path / folder / f"frame{number}.png").write_bytes(file.read_bytes())
    common = {
        "labels": tmp_path / "val_label",
        "instances": tmp_path / "val_inst",
        "seed": 1,
    }
    for ending, most in (("gif", 40), ("mp4", 120)):
        film = tmp_path / f"film.{ending}"
        paths = predict(
            vae, out=tmp_path / "out", film=film, fps=10, style=None, **common
        )
        in_order = sorted(paths, key=lambda path: int(path.stem.removeprefix("frame")))
        assert [path.stem for path in in_order] == ["frame1", "frame2", "frame10"]
        if ending == "gif":
            shown = [np.asarray(f.convert("RGB")) for f in frames_of_gif(film)]
            assert Image.open(film).info["duration"] == 100
        else:
            with av.open(film) as container:
                stream = container.streams.video[0]
                assert (stream.average_rate, stream.pix_fmt) == (10, "yuv420p")
                shown = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
        assert len(shown) == 3
        for one, path in zip(shown, in_order, strict=True):
            # Both formats lose: frames are nearer to theirs than to the others.
            distances = [np.abs(one - read(p).astype(int)).mean() for p in in_order]
            assert np.argmin(distances) == in_order.index(path)
            assert min(distances) < most
    # All have the style of the first example.
    alone = predict(vae, out=tmp_path / "alone", film=tmp_path / "x.gif", **common)
    several = predict(vae, out=tmp_path / "several", **common)
    assert [p.name for p in alone] == [p.name for p in several]
    same = [(read(a) == read(b)).all() for a, b in zip(alone, several, strict=True)]
    assert same == [True, False, False]


def frames_of_gif(path):
    return ImageSequence.Iterator(Image.open(path))


def copied(folder, to, names=NAMES):
    to.mkdir(parents=True)
    for old, new in zip(NAMES, names, strict=True):
        (to / f"{new}.png").write_bytes((folder / f"{old}.png").read_bytes())
    return to


def test_twice_into_one_folder(plain, layouts, tmp_path):
    common = {"labels": layouts / "val_label", "out": tmp_path / "out"}
    film = tmp_path / "film.gif"
    (first, *_) = predict(plain, film=film, **common)
    picture = first.read_bytes()
    assert predict(plain, film=film, **common)[0].read_bytes() == picture
    # What somebody has worked on since is not lost.
    Image.fromarray(255 - read(first)).save(first)
    with pytest.raises(ValueError, match=r"^--out: .*a\.png is there already, and pre"):
        predict(plain, **common)
    first.unlink()
    film.write_bytes(b"another")
    with pytest.raises(ValueError, match=r"^--film: .*film\.gif is there already"):
        predict(plain, film=film, **common)
    assert not first.exists()


def test_pictures_never_take_the_place_of_label_maps(plain, layouts, tmp_path):
    data_root = tmp_path / "data"
    labels = copied(layouts / "val_label", data_root / "layouts")
    before = {path.name: path.read_bytes() for path in labels.iterdir()}
    (tmp_path / "link").symlink_to(labels, target_is_directory=True)
    for out, read_from in (
        (labels, labels),
        (tmp_path / "link", labels),
        # In OUT/layouts are the layouts in colours.
        (data_root, labels),
        (labels / "new", labels),
        (data_root, tmp_path / "link"),
        (plain / "checkpoints", labels),
    ):
        with pytest.raises(ValueError, match=r"--out: .* would be written over, or am"):
            predict(plain, labels=read_from, out=out)
    with pytest.raises(ValueError, match=r"--film: .*layouts/x\.gif would be written"):
        predict(plain, labels=labels, out=tmp_path / "new", film=labels / "x.gif")
    # Nor those that it does not read.
    with pytest.raises(ValueError, match=r"layouts/a\.png \(and 2 more\) is there alr"):
        predict(plain, labels=layouts / "val_label", out=data_root)
    assert {path.name: path.read_bytes() for path in labels.iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_a_label_map_named_as_the_sheet(plain, layouts, tmp_path):
    names = ("a", "b", "contact_sheet")
    labels = copied(layouts / "val_label", tmp_path / "labels", names)
    message = (
        r"contact_sheet\.png would be the picture of label map 'contact_sheet' as well"
        r" as the contact sheet, and one of them lost\. Rename"
    )
    with pytest.raises(ValueError, match=message):
        predict(plain, labels=labels, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_that_do_not_suit_the_model(plain, vae, layouts, tmp_path):
    labels = layouts / "val_label"
    for workdir, options, message in (
        (vae, {}, r"trained with instance maps.*--instances=DIR"),
        (plain, {"instances": layouts / "val_inst"}, r"without instance maps"),
        (plain, {"style": layouts / "val_img" / "a.png"}, r"--style needs a model"),
        (plain, {"num_samples": 2}, r"--num_samples=2.*layout alone"),
        (plain, {"seed": -1}, r"seed=-1 is no whole number"),
        (plain, {"size": "large"}, r"size='large' is not one of trained, map"),
        (plain, {"num_samples": 0}, r"--num_samples=0 must be at least 1"),
        (plain, {"num_samples": 10**12}, r"--num_samples=10+ must .* at most 10000"),
        (vae, {"film": "x.avi"}, r"--film=x\.avi: a film ends in \.mp4 or \.gif"),
        (vae, {"film": "x.gif", "fps": 0}, r"--fps=0 must be positive"),
        (vae, {"film": "x.gif", "fps": 1e-9}, r"--fps=1e-09 .* 0\.01 to 100 frames"),
        (vae, {"film": "x.gif", "fps": 1000}, r"--fps=1000 .* 0\.01 to 100 frames"),
        (vae, {"film": "x.mp4", "fps": math.inf}, r"--fps=inf .* to 1000 frames"),
        (vae, {"film": "x.mp4", "fps": math.nan}, r"--fps=nan .* to 1000 frames"),
        (
            vae,
            {"film": "x.gif", "num_samples": 2, "instances": layouts / "val_inst"},
            r"--num_samples=2 with --film: a film has one style",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            predict(workdir, labels=labels, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_layouts_that_cannot_be_used(plain, layouts, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    foreign = np.full((SIZE, SIZE), 9, np.uint8)
    Image.fromarray(foreign).save(tmp_path / "foreign" / "x.png")
    for folder, message in (
        ("missing", r"--labels=.*missing: there is no such directory"),
        ("empty", r"Empty split: .*empty holds no picture"),
        ("foreign", r"x\.png: label ids 9 .*are not among the 3 classes"),
    ):
        with pytest.raises(DataError, match=message):
            predict(plain, labels=tmp_path / folder, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_instances_are_paired_with_labels(vae, layouts, tmp_path):
    (tmp_path / "inst").mkdir()
    with pytest.raises(DataError, match="Empty split"):
        predict(
            vae,
            labels=layouts / "val_label",
            instances=tmp_path / "inst",
            out=tmp_path / "out",
        )
    (tmp_path / "inst" / "a.png").write_bytes(
        (layouts / "val_inst" / "a.png").read_bytes()
    )
    with pytest.raises(DataError, match=r"2 labels of .* no instance in .*b, c"):
        predict(
            vae,
            labels=layouts / "val_label",
            instances=tmp_path / "inst",
            out=tmp_path / "out",
        )


def test_files_are_looked_for_before_the_model(tmp_path, layouts):
    with pytest.raises(DataError, match=r"--labels=.*gone: there is no such directory"):
        predict(tmp_path / "nowhere", labels=tmp_path / "gone", out=tmp_path / "out")


def test_no_checkpoint(tmp_path, layouts):
    with pytest.raises(CheckpointError, match=r"nowhere holds no checkpoint"):
        predict(tmp_path / "nowhere", labels=layouts, out=tmp_path / "out")


def test_averaged_weights_are_the_ones_used(tmp_path, save_model):
    save_model(tmp_path, ema_decay=0.9)
    with checkpoint.open_existing(tmp_path) as checkpoints:
        assert checkpoints.recipe().schedule.ema_decay == 0.9
    # `save_model` leaves the averaged weights at zero.
    params = opening.load_model(tmp_path).generator["params"]
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(params))
