"""What `--mode=check_data` says of sets with planted faults, and of clean ones."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from spade_jax.commands.check_data import check_data
from spade_jax.data import DataError
from spade_jax.recipe import describe

COCO = {
    "data.num_classes": 182,
    "data.unknown_label": 255,
    "data.instances": True,
    # A mode in which pictures can be too small.
    "data.preprocess_mode": "crop",
    "data.crop_size": 224,
}


def configure(config, root, **fields):
    config.update_from_flattened_dict({"data.root": str(root)} | fields)
    return config


def save(array, path):
    Image.fromarray(array).save(path)


def read(path):
    return np.array(Image.open(path))


def cut(path):
    path.write_bytes(path.read_bytes()[:-2000])


def shrink(*paths):
    for path in paths:
        Image.open(path).crop((200, 150, 300, 230)).save(path)


def turned(path):
    picture = Image.open(path)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)


def as_jpeg(path, name):
    Image.open(path).save(path.with_name(name), format="jpeg", quality=80)


@pytest.fixture
def sample(shared, tmp_path):
    """A copy of the COCO sample: 13 examples for training, 8 for validation."""
    return shutil.copytree(shared / "coco_stuff_sample", tmp_path / "sample")


def plant(root):
    """Plants a fault in each example, and tells what is to be found: (kind, file)."""

    def files(split, number):
        stem = sorted((root / f"{split}_img").glob("*.jpg"))[number].stem
        found.append(stem)
        return (
            root / f"{split}_img" / f"{stem}.jpg",
            root / f"{split}_label" / f"{stem}.png",
            root / f"{split}_inst" / f"{stem}.png",
        )

    found = []
    train = [files("train", i) for i in range(13)]
    val = [files("val", i) for i in range(8)]
    expected = set()

    image, label, _ = train[0]
    ids = read(label)
    ids[:5, :5] = 200
    save(ids, label)
    expected.add(("ids", label))

    image, label, _ = train[1]
    cut(image)
    expected.add(("unreadable", image))

    image, label, _ = train[2]
    label.write_bytes(label.read_bytes()[:700])
    expected.add(("unreadable", label))

    image, label, _ = train[3]
    save(read(label)[:, 1:], label)
    expected.add(("size", label))

    image, label, instance = train[4]
    save(read(instance)[1:], instance)
    expected.add(("size", instance))

    image, label, instance = train[5]
    label.unlink()
    expected.add(("unpaired", image))

    image, label, instance = train[6]
    instance.unlink()
    expected.add(("unpaired", image))

    image, label, instance = train[7]
    image.unlink()
    expected |= {("unpaired", label), ("unpaired", instance)}

    image, label, _ = train[8]
    save(np.stack([read(label)] * 3, -1), label)
    expected.add(("not_ids", label))

    image, label, _ = train[9]
    ids = Image.fromarray(np.minimum(read(label), 181))
    half = ids.resize((ids.width // 2, ids.height // 2), Image.Resampling.BILINEAR)
    half.resize(ids.size, Image.Resampling.BILINEAR).save(label)
    expected.add(("blended_label", label))

    image, label, _ = train[10]
    label.write_bytes(b"")
    expected.add(("unreadable", label))

    image, label, _ = train[11]
    save(read(image), image.with_suffix(".png"))
    expected.add(("same_stem", image.with_suffix(".png")))

    image, label, _ = train[12]
    flat = np.full(read(label).shape, 3, np.uint8)
    Image.fromarray(flat).save(label, format="jpeg")
    expected.add(("lossy_ids", label))

    image, label, instance = val[0]
    for kept, copy in zip(train[3], val[0], strict=True):
        # Only the photograph of train[3] is intact.
        if kept.suffix == ".jpg":
            shutil.copy(kept, copy)
    size = read(image).shape[:2]
    for path in (label, instance):
        Image.open(path).resize(size[::-1], Image.Resampling.NEAREST).save(path)
    expected.add(("leak", image))

    image, label, instance = val[1]
    shrink(image, label, instance)
    expected.add(("preprocess", image))

    image, label, instance = val[2]
    save(np.full_like(read(instance), 7), instance)
    expected.add(("constant_instance", instance))

    image, label, instance = val[3]
    turned(image)
    expected.add(("exif", image))

    image, label, instance = val[4]
    Image.open(image).convert("L").save(image)
    expected.add(("grey", image))

    image, label, instance = val[5]
    Image.open(image).convert("CMYK").save(image)
    expected.add(("cmyk", image))

    image, label, instance = val[6]
    save(np.stack([read(instance)] * 4, -1), instance)
    expected.add(("transparent", instance))

    image, label, instance = val[7]
    as_jpeg(label, f"{label.stem}.jpg")
    label.unlink()
    expected |= {("unpaired", image), ("lossy_label", label.with_suffix(".jpg"))}
    return {(kind, str(path)) for kind, path in expected}


def test_finds_every_planted_fault_and_no_other(
    sample, default_config, tmp_path, capsys
):
    expected = plant(sample)
    assert len(expected) == 23
    out = tmp_path / "reports" / "report.json"
    assert not check_data(
        describe(configure(default_config, sample, **COCO)), write_report=out
    )
    report = json.loads(out.read_text())
    found = [(f["kind"], f["file"]) for f in report["findings"] if f["file"]]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert report["ok"] is False
    assert report["splits"]["train"]["examples"] == 13
    assert {finding["split"] for finding in report["findings"]} == {"train", "val"}
    for finding in report["findings"]:
        assert set(finding) == {"severity", "kind", "split", "file", "message"}
        assert pathlib.Path(finding["file"]).name in finding["message"]
        assert f"/{finding['split']}_" in finding["file"] or finding["kind"] == "unseen"
    assert report["suggestions"] == {"data.num_classes": 201}
    grey = report["label_colors"][0]
    assert len(set(grey["color"])) == 1
    assert grey["pixels"] > 0
    assert "are grey, and the grey values ids" in capsys.readouterr().out


def test_the_command_fails_where_training_would(sample, repository, tmp_path):
    label = sorted((sample / "val_label").iterdir())[0]
    save(np.full_like(read(label), 190), label)
    report = tmp_path / "report.json"
    command = [
        *(sys.executable, "-m", "spade_jax.main", "--mode=check_data", "--quiet"),
        "--config=configs/folder.py",
        # The tests have eight devices, which share it.
        "--config.batch_size=8",
        f"--config.data.root={sample}",
        *(f"--config.{name}={value}" for name, value in COCO.items()),
        f"--write_report={report}",
    ]

    def call():
        return subprocess.run(
            command,
            cwd=repository,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    failed = call()
    assert failed.returncode == 1, failed.stderr
    assert failed.stderr == ""
    assert "error: label ids outside the classes [ids]: 1" in failed.stdout
    assert f"{label}: label ids 190" in failed.stdout
    assert "--config.data.num_classes=191" in failed.stdout
    assert "Training would fail: 1 error, 1 warning." in failed.stdout
    assert json.loads(report.read_text())["suggestions"] == {"data.num_classes": 191}
    save(np.full_like(read(label), 181), label)
    fixed = call()
    assert fixed.returncode == 0, fixed.stderr
    assert "Training takes this data: 0 errors, 1 warning." in fixed.stdout
    # What the command leaves open is found, as training finds it.
    assert f"Looked at the pictures in {sample}, and chose:" in fixed.stdout
    assert "182 classes, ids 0 to 181" in fixed.stdout
    assert "--config.loss.augment=color,translation,cutout\n" in fixed.stdout


def test_the_clean_coco_sample(shared, default_config, tmp_path, capsys):
    root = shared / "coco_stuff_sample"
    out = tmp_path / "report.json"
    assert check_data(
        describe(configure(default_config, root, **COCO)), write_report=out
    )
    report = json.loads(out.read_text())
    assert [finding["kind"] for finding in report["findings"]] == ["unseen"]
    assert report["suggestions"] == {}
    train = report["splits"]["train"]
    assert train["sizes"] == {
        "min": [500, 360],
        "median": [640, 428],
        "max": [640, 480],
        "distinct": 9,
    }
    assert len(train["classes"]) == 183
    assert train["classes"][182]["name"] == "unknown"
    assert sum(entry["share"] for entry in train["classes"]) == pytest.approx(1)
    printed = capsys.readouterr().out
    assert "train: 13 examples, 9 sizes, 500x360 to 640x480 (median 640x428)" in printed


def test_clean_camvid(shared, default_config, tmp_path, capsys):
    for folder in ("train_img", "train_label", "val_img", "val_label"):
        (tmp_path / folder).mkdir()
        for file in sorted((shared / "camvid" / folder).iterdir())[:4]:
            (tmp_path / folder / file.name).symlink_to(file)
    names = ("sky", *"abcdefghij")
    fields = {"data.num_classes": 12, "data.classes": names}
    assert check_data(describe(configure(default_config, tmp_path, **fields)))
    printed = capsys.readouterr().out
    assert "train: 4 examples, 480x360 pixels" in printed
    assert "0  sky" in printed
    assert "error" not in printed.replace("0 errors", "")


@pytest.fixture
def small(tmp_path):
    """Two classes, stripes; eight examples a split."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for field in ("img", "label"):
            (tmp_path / f"{split}_{field}").mkdir()
        for i in range(8):
            image = random.integers(0, 256, (8, 12, 3), np.uint8)
            save(image, tmp_path / f"{split}_img" / f"{i}.png")
            label = np.arange(12, dtype=np.uint8) // 6 * np.ones((8, 1), np.uint8)
            save(label, tmp_path / f"{split}_label" / f"{i}.png")
    return tmp_path


def test_a_long_list_is_cut_in_print_only(small, default_config, tmp_path, capsys):
    for i in range(7):
        (small / "val_label" / f"{i}.png").write_bytes(b"")
    config = configure(default_config, small)
    assert not check_data(describe(config))
    printed = capsys.readouterr().out
    assert "error: pictures that cannot be read [unreadable]: 7" in printed
    assert printed.count("cannot read this picture") == 5
    assert "... and 2 more; --write_report=FILE lists all" in printed
    check_data(describe(config), write_report=tmp_path / "report.json")
    assert "--write_report" not in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["findings"]) == 7
    # It may be written anew, but not over what it is no longer.
    check_data(describe(config), write_report=tmp_path / "report.json")
    (tmp_path / "report.json").write_text("notes")
    with pytest.raises(ValueError, match=r"^--write_report: .*json is there already"):
        check_data(describe(config), write_report=tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == "notes"


def test_the_report_is_not_written_among_the_pictures(small, default_config):
    config = configure(default_config, small)
    for folder in ("train_img", "val_label"):
        message = rf"^--write_report: .* from config\.data\.root \({folder}\)="
        with pytest.raises(ValueError, match=message):
            check_data(describe(config), write_report=small / folder / "report.json")
        assert not (small / folder / "report.json").exists()
    assert check_data(describe(config), write_report=small / "report.json")


def test_greys_are_told_in_their_order(small, default_config, capsys):
    """So that who takes them as they come has the foreground of a mask as class 1."""
    for path in small.glob("*_label/*.png"):
        mask = read(path) * np.uint8(255)
        mask[:, :4] = 255
        save(mask, path)
    assert not check_data(describe(configure(default_config, small)))
    assert "each with a name:\n  0 0 0\n  255 255 255\n" in capsys.readouterr().out


def test_colored_labels_and_the_palette_that_reads_them(
    small, default_config, tmp_path, capsys
):
    colors = np.array([(0, 0, 90), (90, 0, 0)], np.uint8)
    for path in small.glob("*_label/*.png"):
        save(colors[read(path)], path)
    config = configure(default_config, small)
    assert not check_data(describe(config))
    printed = capsys.readouterr().out
    assert "--config.data.label_colors=FILE" in printed
    assert "  0 0 90\n  90 0 0\n" in printed
    palette = tmp_path / "palette.txt"
    palette.write_text("0 0 90 water\n90 0 0 roof\n")
    config.data.label_colors = str(palette)
    assert check_data(describe(config))
    printed = capsys.readouterr().out
    assert "0  water" in printed
    assert "50.000%" in printed


def test_missing_folders_and_the_rest_are_told_together(
    small, default_config, tmp_path, capsys
):
    shutil.rmtree(small / "train_label")
    (small / "val_img" / "0.png").write_bytes(b"")
    assert not check_data(describe(configure(default_config, small)))
    printed = capsys.readouterr().out
    assert "looked for the label folder" in printed
    assert "val_img/0.png: cannot read this picture" in printed
    assert "Training would fail: 2 errors" in printed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"data.crop_size": 100, "data.load_size": 100},
            "The preprocessing gives pictures 100 wide and 100 high, but the generator"
            " makes them 96 wide and 96 high.",
        ),
        ({"data.preprocess_mode": "scale_width", "data.load_size": 64}, "256 wide"),
    ],
)
def test_sizes_that_training_refuses(small, default_config, capsys, fields, message):
    assert not check_data(describe(configure(default_config, small, **fields)))
    printed = capsys.readouterr().out
    assert "pictures of a size that the networks do not make [network]" in printed
    assert message in printed


def test_pictures_of_several_sizes_are_refused_whatever_the_batch(
    small, default_config, capsys
):
    for field, shape in (("img", (16, 12, 3)), ("label", (16, 12))):
        save(np.zeros(shape, np.uint8), small / f"val_{field}" / "3.png")
    fields = {"data.preprocess_mode": "scale_width", "batch_size": 1}
    assert not check_data(describe(configure(default_config, small, **fields)))
    printed = capsys.readouterr().out
    assert "val_img/3.png is 256x341 (width x height) once preprocessed" in printed
    assert "a batch of 1" not in printed


def test_a_split_that_serves_twice_is_read_once(small, default_config, capsys):
    config = configure(default_config, small, **{"data.val_split": "train"})
    assert check_data(describe(config))
    assert "val" not in capsys.readouterr().out


def test_a_root_that_is_not_set_is_an_error_of_the_config(default_config):
    with pytest.raises(DataError, match=r"Set --config\.data\.root=DIR"):
        check_data(describe(default_config))


def test_datasets_that_tfds_builds(default_config, tmp_path, capsys):
    pytest.importorskip("tensorflow_datasets")
    config = default_config
    config.update_from_flattened_dict(
        {
            "data.source": "scenes",
            "data.root": str(tmp_path),
            "data.num_classes": 13,
            "data.instances": True,
            "data.scenes.size": 24,
            "data.scenes.num_train": 3,
            "data.scenes.num_val": 1,
        }
    )
    assert check_data(describe(config))
    printed = capsys.readouterr().out
    assert "train: 3 examples, 24x24 pixels" in printed
    config.data.num_classes = 12
    assert not check_data(describe(config))
    printed = capsys.readouterr().out
    assert "error: the dataset cannot be opened [source]: 2" in printed
    assert "Set --config.data.num_classes=13" in printed
