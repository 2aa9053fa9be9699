"""A folder of photographs becomes a folder of layouts that can be trained on."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from spade_jax import data
from spade_jax.commands.label_photos import label_photos
from spade_jax.data import DataError
from spade_jax.metrics import observers, own_segmenter, weights

SEEN = (32, 48)
NAMES = ("sky", "sea", "sand")
SIZES = {"a": (20, 30), "b": (64, 40), "c": (20, 30)}


def describe(**fields):
    description = {
        "dataset": "folder",
        "names": NAMES,
        "palette": (),
        "truth": (2, 0, 1, -1),
        "unknown_label": 255,
        "size": SEEN,
        "widths": (2,),
        "norm": "syncbatch",
        "steps": 1,
        "scores": {},
        "recipe": {},
    }
    return own_segmenter.Description(**{**description, **fields})


@pytest.fixture(scope="module")
def segmenter(fill):
    description = describe()
    blank = jnp.zeros((1, *SEEN, 3))
    shapes = jax.eval_shape(
        lambda: description.module().init(jax.random.key(0), blank, train=False)
    )
    return own_segmenter.make(description, fill(shapes))


@pytest.fixture(scope="module")
def file(segmenter, tmp_path_factory):
    path = tmp_path_factory.mktemp("segmenter") / "segmenter.npz"
    own_segmenter.save(path, segmenter)
    return str(path)


def blocks(size, seed=0):
    """A picture of 4x4 blocks of colour."""
    height, width = size
    colours = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3))
    return colours.repeat(4, 0).repeat(4, 1).astype(np.uint8)


def write_photos(folder):
    folder.mkdir(parents=True)
    for seed, (name, (height, width)) in enumerate(SIZES.items()):
        picture = Image.fromarray(blocks((height, width + 3), seed)[:, :width])
        picture.save(folder / f"{name}.png")


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def labelled(file, tmp_path_factory):
    """A data directory with photographs and the layouts made for them."""
    root = tmp_path_factory.mktemp("data")
    write_photos(root / "train_img")
    paths = label_photos(root / "train_img", segmenter=file, out=root)
    assert paths == [root / "train_label" / f"{name}.png" for name in SIZES]
    return root


def test_the_folder_source_reads_what_was_written(labelled):
    source = data.open_source(
        "folder", "train", root=labelled, num_classes=3, unknown_label=255
    )
    data.check(source)
    for example, (name, size) in zip(source, SIZES.items(), strict=True):
        assert example.name == name
        assert example.label.shape == size
        assert example.label.max() < 3
    assert len(np.unique(np.concatenate([e.label.ravel() for e in source]))) > 1


def test_layouts_are_what_the_segmenter_sees_in_the_ids_of_its_dataset(
    labelled, segmenter
):
    see = jax.jit(segmenter.classes)
    for name, (height, width) in SIZES.items():
        photo = Image.open(labelled / "train_img" / f"{name}.png")
        shown = np.asarray(photo.resize(SEEN[::-1], Image.Resampling.BICUBIC))
        ids = np.array([1, 2, 0])[see(shown[None])[0]]
        enlarged = Image.fromarray(ids.astype(np.uint8)).resize((width, height), 0)
        found = read(labelled / "train_label" / f"{name}.png")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, enlarged)


def test_classes_and_a_contact_sheet_lie_beside_them(labelled, segmenter):
    unknown, *lines = (labelled / "classes.txt").read_text().splitlines()
    assert unknown == "unknown 255"
    assert [line.split()[3] for line in lines] == list(NAMES)
    # Two photographs a row, each beside its layout.
    assert read(labelled / "train_label.png").shape == (2 * 194 + 2, 4 * 194 + 2, 3)
    told = json.loads((labelled / "train_label.json").read_text())
    assert told["segmenter"]["own"]["sha256"] == segmenter.sha256
    assert told["photos"] == "train_img"


def test_photographs_of_any_folder_get_layouts_as_landscapes_wants_them(
    file, tmp_path, caplog
):
    write_photos(tmp_path / "photos")
    caplog.set_level("INFO", "spade_jax")
    paths = label_photos(tmp_path / "photos", segmenter=file, out=tmp_path)
    assert {path.parent for path in paths} == {tmp_path / "layouts"}
    assert (
        "To train on them: python -m spade_jax.main --config=configs/landscapes.py"
        f" --config.data.manual_dir={tmp_path} --config.data.num_classes=3"
        " --config.data.unknown_label=255" in caplog.text
    )
    label_photos(tmp_path / "photos", segmenter=file, out=tmp_path / "other")
    assert f"once the photographs are in {tmp_path}/other/photos" in caplog.text


def test_a_photograph_that_has_changed_since_is_refused(file, tmp_path):
    write_photos(tmp_path / "photos")
    label_photos(tmp_path / "photos", segmenter=file, out=tmp_path)
    Image.fromarray(blocks((20, 32), 9)).save(tmp_path / "photos" / "b.png")
    (tmp_path / "layouts" / "c.png").unlink()
    message = r"1 photographs .* have changed since .*: b\. Remove these layouts"
    with pytest.raises(DataError, match=message):
        label_photos(tmp_path / "photos", segmenter=file, out=tmp_path)
    (tmp_path / "layouts" / "b.png").unlink()
    label_photos(tmp_path / "photos", segmenter=file, out=tmp_path)
    assert read(tmp_path / "layouts" / "b.png").shape == (20, 32)


def test_folders_below_are_labelled_and_what_is_passed_over_is_counted(
    file, tmp_path, caplog
):
    photos = tmp_path / "photos"
    (photos / "below").mkdir(parents=True)
    Image.fromarray(blocks((20, 32))).save(photos / "a.jfif", format="jpeg")
    Image.fromarray(blocks((20, 32))).save(photos / "below" / "a.png")
    (photos / "b.heic").touch()
    caplog.set_level("INFO", "spade_jax")
    layouts = tmp_path / "layouts"
    assert label_photos(photos, segmenter=file, out=tmp_path) == [
        layouts / "a.png",
        layouts / "below" / "a.png",
    ]
    assert read(layouts / "below" / "a.png").shape == (20, 32)
    assert f"Passed over in {photos}: 1 .heic (b.heic)." in caplog.text
    with pytest.raises(ValueError, match=r"or among, what is read from --photos="):
        label_photos(tmp_path, segmenter=file, out=tmp_path)


def test_an_interrupted_run_is_continued_and_others_layouts_are_left_alone(
    labelled, file, segmenter, tmp_path
):
    photos, layouts = labelled / "train_img", labelled / "train_label"
    expected = read(layouts / "b.png")
    (layouts / "b.png").unlink()
    before = (layouts / "a.png").stat().st_mtime_ns
    assert len(label_photos(photos, segmenter=file, out=labelled)) == 3
    np.testing.assert_array_equal(read(layouts / "b.png"), expected)
    assert (layouts / "a.png").stat().st_mtime_ns == before

    other = tmp_path / "other.npz"
    doubled = jax.tree.map(lambda x: 2 * x, segmenter.variables)
    own_segmenter.save(other, own_segmenter.make(describe(), doubled))
    with pytest.raises(
        DataError, match=r"holds 3 layouts already.*does not say that this segmenter"
    ):
        label_photos(photos, segmenter=str(other), out=labelled)
    write_photos(tmp_path / "train_img")
    with pytest.raises(
        DataError,
        match=r"train_label is for the photographs of 'train_img', seen from .*, not"
        r" for those of --photos=.*: .* share a layout",
    ):
        label_photos(tmp_path / "train_img", segmenter=file, out=labelled)
    own_segmenter.save(other, own_segmenter.make(describe(names=("one",)), doubled))
    (tmp_path / "classes.txt").write_text("sky\n")
    with pytest.raises(DataError, match=r"classes\.txt lists other classes than"):
        label_photos(photos, segmenter=str(other), out=tmp_path)
    assert not (tmp_path / "train_label").exists()


@pytest.mark.parametrize("name", ["layouts.json", "layouts.png", "classes.txt"])
def test_files_of_others_are_left_alone(file, tmp_path, name):
    write_photos(tmp_path / "photos")
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(DataError, match=rf"{name} (is there already|lists other)"):
        label_photos(tmp_path / "photos", segmenter=file, out=tmp_path)
    assert (tmp_path / name).read_text() == '{"mine": 1}'
    assert not (tmp_path / "layouts").exists()


def test_layouts_do_not_go_among_the_photographs(file, tmp_path):
    write_photos(tmp_path / "layouts")
    write_photos(tmp_path / "photos")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "layouts").symlink_to(tmp_path / "photos")
    for photos, out in (("layouts", "."), ("photos", "photos"), ("photos", "out")):
        with pytest.raises(ValueError, match=r"^--out: .* is read from --photos="):
            label_photos(tmp_path / photos, segmenter=file, out=tmp_path / out)
    assert len(list((tmp_path / "photos").iterdir())) == len(SIZES)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "layouts").write_text("mine")
    with pytest.raises(ValueError, match=r"layouts would be a folder, and is a file"):
        label_photos(tmp_path / "photos", segmenter="", out=tmp_path / "mine")


def test_unreadable_photographs_are_told_when_all_others_are_done(file, tmp_path):
    photos = tmp_path / "photos"
    write_photos(photos)
    whole = (photos / "b.png").read_bytes()
    (photos / "b.png").write_bytes(whole[: len(whole) // 2])
    (photos / "d.jpg").write_bytes(b"no picture")
    with pytest.raises(
        DataError, match=r"(?s)2 of 4 photographs have no layout.*b\.png.*d\.jpg.*again"
    ):
        label_photos(photos, segmenter=file, out=tmp_path)
    assert sorted(path.name for path in (tmp_path / "layouts").iterdir()) == [
        "a.png",
        "c.png",
    ]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"photos": "none"}, DataError, "--photos=.*none: there is no such directory"),
        ({"photos": "empty"}, DataError, "empty holds no picture"),
        (
            {"segmenter": "deeplab"},
            ValueError,
            r"--segmenter=deeplab is neither one of deeplabv2, .*train_segmenter",
        ),
        ({"segmenter": ""}, ValueError, "neither one of deeplabv2"),
        (
            {"segmenter": "none.npz"},
            weights.WeightsError,
            r"none\.npz, a segmenter, does not exist.*--mode=train_segmenter",
        ),
        (
            {"segmenter": "drn105"},
            weights.WeightsError,
            r"(?s)--segmenter=drn105 needs .*drn105\.npz with --weights_dir=DIR.*Get",
        ),
        (
            {"segmenter": "drn105", "weights_dir": "none"},
            weights.WeightsError,
            r"drn105\.npz, the weights of drn105, does not exist.*Get drn-d-105",
        ),
        (
            {"weights_dir": "networks"},
            ValueError,
            "--weights_dir=networks would count for nothing: --segmenter=.*its weights",
        ),
    ],
)
def test_what_is_missing_is_told_before_anything_is_written(
    fields, error, message, file, tmp_path
):
    write_photos(tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    arguments = {"photos": "photos", "segmenter": file, **fields}
    photos = tmp_path / arguments.pop("photos")
    with pytest.raises(error, match=message):
        label_photos(photos, out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_layouts_fit_the_pixels_as_they_are_stored(labelled, file, tmp_path):
    (tmp_path / "photos").mkdir()
    upright = Image.open(labelled / "train_img" / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    turned_left = upright.transpose(Image.Transpose.ROTATE_90)
    turned_left.save(tmp_path / "photos" / "a.png", exif=exif)
    (path,) = label_photos(tmp_path / "photos", segmenter=file, out=tmp_path)
    expected = read(labelled / "train_label" / "a.png")
    np.testing.assert_array_equal(np.rot90(read(path), -1), expected)


@pytest.mark.parametrize(
    ("network", "num_classes", "num_ids", "expected", "shown"),
    [
        ("deeplabv2", 182, 182, range(182), (32, 640)),
        ("upernet101", 150, 151, range(1, 151), (32, 992)),
        ("upernet101_baseline", 150, 151, range(1, 151), (32, 992)),
        (
            *("drn105", 19, 35),
            (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33),
            (32, 1088),
        ),
    ],
)
def test_published_segmenters_write_ids_as_their_datasets_files_hold_them(
    network, num_classes, num_ids, expected, shown, tmp_path, monkeypatch
):
    def classes(images):
        assert images.shape[1:] == (*shown, 3)
        columns = np.arange(images.shape[2]) * num_classes // images.shape[2]
        return np.broadcast_to(columns, images.shape[:3])

    def load(segmenter, *, weights_dir):
        assert (segmenter.network, weights_dir) == (network, "weights")
        return observers.SegmenterObserver(classes, {network: {}})

    monkeypatch.setattr(observers, "published_observer", load)
    photos = tmp_path / "val_img"
    photos.mkdir()
    # Of no multiple of 32, and larger than it may be shown to some.
    Image.fromarray(blocks((20, 1100))).save(photos / "a.png")
    (path,) = label_photos(
        photos, segmenter=network, out=tmp_path, weights_dir="weights"
    )
    label = read(path)
    assert label.shape == (20, 1100)
    np.testing.assert_array_equal(np.unique(label), expected)
    colours, names = data.read_palette(tmp_path / "classes.txt")
    assert len(colours) == len(set(names)) == num_ids
