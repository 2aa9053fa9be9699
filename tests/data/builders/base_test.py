from __future__ import annotations

import functools
import importlib
import operator
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.extractor import ExtractError

from spade_jax.data import BUILT, DataError, open_source
from spade_jax.data.builders import base
from spade_jax.data.builders.camvid import Camvid


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    path = tmp_path / "manual"
    path.mkdir()
    return path


@pytest.fixture
def download_manager(manual):
    """TFDS's own, for `manual`, which it wants not to be empty."""
    (manual / "readme.txt").touch()
    return tfds.download.DownloadManager(
        download_dir=manual.parent / "downloads",
        manual_dir=manual,
        manual_dir_instructions="Ask the tests.",
    )


def pack(archive: Path, *files: str) -> None:
    with zipfile.ZipFile(archive, "w") as stream:
        for file in files:
            stream.writestr(file, file)


def save(folder: Path, *names: str) -> Path:
    """Writes pictures of 2 x 2 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def camvid(manual) -> Path:
    """A manual directory that the `camvid` builder takes."""
    for split in ("train", "val"):
        save(manual / f"{split}_img", f"{split}.png")
        save(manual / f"{split}_label", f"{split}.png")
    return manual


class TestFindFolder:
    def test_an_unpacked_folder(self, manual, download_manager):
        (manual / "a" / "b").mkdir(parents=True)
        pack(manual / "a.zip", "a/b/file.txt")
        found = base.find_folder(download_manager, "a/b", archives=["a.zip"])
        assert found == manual / "a" / "b"

    def test_the_first_archive_there_is(self, manual, download_manager):
        pack(manual / "second.zip", "a/b/second.txt")
        pack(manual / "third.zip", "a/b/third.txt")
        found = base.find_folder(
            download_manager,
            "a/b",
            archives=["first.zip", "second.zip", "third.zip"],
        )
        assert (found / "second.txt").read_text() == "a/b/second.txt"
        assert manual not in found.parents

    def test_another_path_in_the_archive(self, manual, download_manager):
        pack(manual / "maps.zip", "train/map.txt")
        (manual / "train").mkdir()
        found = base.find_folder(
            download_manager, "maps/train", archives=["maps.zip"], inside="train"
        )
        assert os.listdir(found) == ["map.txt"]

    def test_neither(self, manual, download_manager):
        message = re.escape(
            f"In {manual} there is neither the folder a/b nor one.zip nor two.tgz."
        )
        with pytest.raises(DataError, match=message):
            base.find_folder(download_manager, "a/b", archives=["one.zip", "two.tgz"])

    def test_an_archive_of_something_else(self, manual, download_manager):
        pack(manual / "a.zip", "c/file.txt")
        with pytest.raises(DataError, match=r"a\.zip holds no folder a/b\..* remove /"):
            base.find_folder(download_manager, "a/b", archives=["a.zip"])

    def test_another_archive_of_the_same_name(self, manual, download_manager):
        pack(manual / "a.zip", "a/b/file.txt")
        unpack = functools.partial(
            base.find_folder, download_manager, "a/b", archives=["a.zip"]
        )
        assert unpack() == unpack()
        pack(manual / "a.zip", "a/b/file.txt", "a/b/other.txt")
        message = r"was unpacked from another a\.zip than .*manual/a\.zip .* Remove it"
        with pytest.raises(DataError, match=message):
            unpack()
        (note,) = manual.parent.rglob("*.from.json")
        note.write_text('{"a')
        message = r"from\.json, which says .* is damaged .* Remove both"
        with pytest.raises(DataError, match=message):
            unpack()

    def test_a_damaged_archive(self, manual, download_manager):
        pack(manual / "a.zip", "a/b/file.txt")
        (manual / "a.zip").write_bytes((manual / "a.zip").read_bytes()[:-30])
        with pytest.raises(DataError, match=r"Cannot unpack .*a\.zip: BadZipFile\("):
            base.find_folder(download_manager, "a/b", archives=["a.zip"])

    def test_a_full_disk_is_no_damage(self, manual, download_manager, monkeypatch):
        """The advice was to download the archive again."""
        pack(manual / "a.zip", "a/b/file.txt")

        def full(archive):
            # As TensorFlow, which writes the files, calls its error.
            named = type("ResourceExhaustedError", (Exception,), {})
            raise ExtractError("while extracting") from named()

        monkeypatch.setattr(download_manager, "extract", full)
        with pytest.raises(OSError, match=r"No space left on device: .*downloads"):
            base.find_folder(download_manager, "a/b", archives=["a.zip"])


class TestPairs:
    def test_same_names_sorted(self, tmp_path):
        image = save(tmp_path / "image", "b.jpg", "a.png", "below/c.jfif")
        label = save(tmp_path / "label", "a.png", "b.png", "below/c.png")
        instance = save(tmp_path / "instance", "b.tif", "a.png", "below/c.bmp")
        assert base.pairs(image=image, label=label, instance=instance) == [
            (
                "a",
                {
                    "image": image / "a.png",
                    "label": label / "a.png",
                    "instance": instance / "a.png",
                },
            ),
            (
                "b",
                {
                    "image": image / "b.jpg",
                    "label": label / "b.png",
                    "instance": instance / "b.tif",
                },
            ),
            (
                "below/c",
                {
                    "image": image / "below" / "c.jfif",
                    "label": label / "below" / "c.png",
                    "instance": instance / "below" / "c.bmp",
                },
            ),
        ]

    def test_photographs_without_maps(self, tmp_path):
        image = save(tmp_path / "image", *(f"{i}.png" for i in range(8)))
        label = save(tmp_path / "label", "7.png")
        message = re.escape(
            f"7 pictures of {image} have no label of the same name in {label}: "
            "0, 1, 2, 3, 4, ...."
        )
        with pytest.raises(DataError, match=message):
            base.pairs(image=image, label=label)

    def test_maps_without_photographs(self, tmp_path):
        image = save(tmp_path / "image", "a.png")
        label = save(tmp_path / "label", "a.png", "b.png")
        message = re.escape(
            f"1 pictures of {label} have no image of the same name in {image}: b."
        )
        with pytest.raises(DataError, match=message):
            base.pairs(image=image, label=label)

    def test_nothing_at_all(self, tmp_path):
        image = save(tmp_path / "image")
        with pytest.raises(DataError, match=f"Empty split: {image} holds no picture"):
            base.pairs(image=image, label=save(tmp_path / "label", "a.png"))


class TestParallelMap:
    @pytest.fixture
    def two_processes(self, monkeypatch):
        monkeypatch.setattr(base, "RECORDS_PER_PROCESS", 4)
        monkeypatch.setattr(os, "cpu_count", lambda: 2)

    # From the standard library, so that a new process can import them.
    double, find = operator.methodcaller("__mul__", 2), operator.itemgetter("found")

    def test_results_come_in_order(self, two_processes):
        # More than wait for the writer at once.
        items = range(5 * base._WAITING_PER_PROCESS)
        assert list(base.parallel_map(self.double, items)) == [2 * i for i in items]

    def test_an_exception_reaches_the_caller(self, two_processes):
        items = [{"found": i} for i in range(9)] + [{}]
        results = base.parallel_map(self.find, items)
        assert [next(results) for _ in range(9)] == list(range(9))
        with pytest.raises(KeyError, match="found"):
            next(results)

    def test_a_few_items_need_no_process(self, monkeypatch):
        monkeypatch.setattr(os, "cpu_count", lambda: 64)
        count = 2 * base.RECORDS_PER_PROCESS - 1
        process = list(base.parallel_map(lambda _: os.getpid(), range(count)))
        assert process == [os.getpid()] * count


class TestLoad:
    @pytest.mark.parametrize(
        ("manual_dir", "message"),
        [
            (None, "no directory to build it from was named"),
            ("", "no directory to build it from was named"),
            ("/nowhere/at/all", "there is no directory /nowhere/at/all"),
        ],
    )
    def test_without_a_manual_directory(self, tmp_path, manual_dir, message):
        make_builder = base.find_builder("camvid", data_dir=tmp_path)
        with pytest.raises(DataError) as caught:
            base.load(make_builder, "train", manual_dir=manual_dir)
        assert f"camvid is not built yet in {tmp_path}" in str(caught.value)
        assert message in str(caught.value)
        assert "Set --config.data.manual_dir=DIR." in str(caught.value)
        assert make_builder().MANUAL_DOWNLOAD_INSTRUCTIONS in str(caught.value)

    def test_with_an_empty_manual_directory(self, tmp_path, manual):
        make_builder = base.find_builder("camvid", data_dir=tmp_path)
        with pytest.raises(DataError, match=f"the directory {manual} is empty. Set"):
            base.load(make_builder, "train", manual_dir=manual)

    def test_with_a_wrong_one_tells_what_is_missing_and_how_to_get_it(
        self, tmp_path, manual
    ):
        save(manual, "picture.png")
        make_builder = base.find_builder("camvid", data_dir=tmp_path)
        with pytest.raises(DataError, match=f"In {manual} there is neither") as caught:
            base.load(make_builder, "train", manual_dir=manual)
        assert make_builder().MANUAL_DOWNLOAD_INSTRUCTIONS in str(caught.value)

    def test_home_may_be_written_as_a_tilde(self, tmp_path, camvid, monkeypatch):
        monkeypatch.setenv("HOME", str(camvid.parent))
        make_builder = base.find_builder("camvid", data_dir=tmp_path / "tfds")
        assert len(base.load(make_builder, "val", manual_dir="~/manual")) == 1

    def test_what_is_built_needs_no_manual_directory(self, tmp_path, camvid):
        make_builder = base.find_builder("camvid", data_dir=tmp_path / "tfds")
        base.load(make_builder, "train", manual_dir=camvid)
        assert base.load(make_builder, "val")[0]["name"] == b"val"

    def test_a_part_of_what_is_published_is_told_when_it_is_built(
        self, tmp_path, camvid, caplog
    ):
        make_builder = base.find_builder("camvid", data_dir=tmp_path / "tfds")
        base.load(make_builder, "train", manual_dir=camvid)
        train, val = (record.getMessage() for record in caplog.records[-2:])
        assert "camvid has 1 of the 367 pictures that are published as its 'train'" in (
            train
        )
        assert f"remove {tmp_path / 'tfds'}/camvid/1.0.0 and give" in train
        assert "1 of the 101" in val
        caplog.clear()
        base.load(make_builder, "train", manual_dir=camvid)
        assert not caplog.records

    def test_the_whole_of_it_is_not(self, tmp_path, camvid, caplog, monkeypatch):
        monkeypatch.setattr(Camvid, "PUBLISHED", (("train", 1), ("val", 1)))
        make_builder = base.find_builder("camvid", data_dir=tmp_path / "tfds")
        base.load(make_builder, "train", manual_dir=camvid)
        assert not any("published" in r.getMessage() for r in caplog.records)

    def test_a_full_disk(self, tmp_path, camvid, monkeypatch):
        def full(*_, **__):
            # As ArrayRecord tells.
            raise RuntimeError("write() failed: No space left on device; writing x")

        make_builder = base.find_builder("camvid", data_dir=tmp_path / "tfds")
        monkeypatch.setattr(base.LayoutBuilder, "download_and_prepare", full)
        with pytest.raises(OSError, match=r"No space left on device: .*camvid"):
            base.load(make_builder, "train", manual_dir=camvid)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("dataset_info.json", b""),
            ("dataset_info.json", b"{"),
            ("dataset_info.json", None),
            ("metadata.json", b'{"a'),
        ],
    )
    def test_what_was_built_and_is_damaged(self, name, content, tmp_path, camvid):
        make_builder = base.find_builder("camvid", data_dir=tmp_path / "tfds")
        base.load(make_builder, "train", manual_dir=camvid)
        (file,) = (tmp_path / "tfds").rglob(name)
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        message = r"camvid/1\.0\.0, where .* is damaged .* Remove that directory"
        with pytest.raises(DataError, match=message):
            base.load(make_builder, "train", manual_dir=camvid)

    @pytest.mark.parametrize("content", [b"", None])
    def test_records_that_are_damaged(self, content, tmp_path, camvid):
        options = {"root": tmp_path / "tfds", "num_classes": 12}
        open_source("camvid", "train", manual_dir=camvid, **options)
        (file,) = (tmp_path / "tfds").rglob("*train*record*")
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        source = open_source("camvid", "train", **options)
        message = r"Number 0 of camvid/1\.0\.0:train in .*tfds/camvid.* cannot be read"
        with pytest.raises(DataError, match=message):
            source[0]

    def test_a_split_that_is_not_there(self, tmp_path, camvid):
        make_builder = base.find_builder("camvid", data_dir=tmp_path / "tfds")
        with pytest.raises(
            ValueError, match="camvid has no split 'test', only train and val"
        ):
            base.load(make_builder, "test", manual_dir=camvid)


@pytest.mark.parametrize("name", BUILT)
def test_find_builder_goes_by_the_module(name, tmp_path):
    builder = base.find_builder(name, data_dir=tmp_path)()
    module = importlib.import_module(f"spade_jax.data.builders.{name}")
    named = "".join(part.capitalize() for part in name.split("_"))
    assert type(builder) is getattr(module, named)
    assert builder.name == name
    assert builder.data_dir.startswith(str(tmp_path))


# What the command `tfds build` runs. The command itself imports apache_beam, which this
# project does not need.
TFDS_BUILD = """
import simple_parsing
from tensorflow_datasets.scripts.cli import build

parser = simple_parsing.ArgumentParser()
parser.add_arguments(build.Args, dest="arguments")
parser.parse_args().arguments.execute()
"""


def test_tfds_build_builds_ahead_of_time(tmp_path, camvid, repository):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            TFDS_BUILD,
            str(repository / "spade_jax/data/builders/camvid.py"),
            f"--data_dir={tmp_path / 'tfds'}",
            f"--manual_dir={camvid}",
            "--file_format=array_record",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )
    assert done.returncode == 0, done.stderr
    source = open_source("camvid", "train", root=tmp_path / "tfds", num_classes=12)
    assert len(source) == 1
    assert source[0].name == "train"
