"""What a bucket holds, copied to this machine once, whole, and only what is new."""

import json
import logging
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from spade_jax import assemble
from spade_jax.data import DataError
from spade_jax.files import bucket as buckets
from spade_jax.files import staging
from spade_jax.files.places import place
from spade_jax.files.staging import staged
from spade_jax.recipe import describe


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The directory in which copies are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    staging._staged.cache_clear()
    return tmp_path / "spade_jax" / "staged"


@pytest.fixture
def again():
    """`again(path)`: as another process stages it."""

    def stage(path):
        staging._staged.cache_clear()
        return staged(path)

    return stage


@pytest.fixture
def downloads(server):
    """How often an object was read."""
    with server.failing("alt=media", times=0) as counted:
        yield counted


@pytest.fixture
def data(bucket):
    """The address of five objects in folders."""
    for i in range(5):
        (place(bucket) / f"data/folder-{i % 2}/{i}.txt").write_text(f"{i}")
    return f"{bucket}/data"


def contents(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_text()
        for path in directory.rglob("*.txt")
    }


ALL = {f"folder-{i % 2}/{i}.txt": str(i) for i in range(5)}


def test_what_is_here_is_not_copied(tmp_path):
    assert staged(tmp_path / "x") == tmp_path / "x"


def test_a_directory_is_copied_once(data, cache, again, downloads, caplog):
    with caplog.at_level(logging.INFO, "spade_jax.progress"):
        here = staged(data)
    assert here == cache / data.removeprefix("gs://")
    assert contents(here) == ALL
    assert f"Copying {data} to {here}" in caplog.text
    assert downloads.seen == 5
    assert again(data) == here
    assert downloads.seen == 5


def test_what_has_changed_is_copied_again_and_what_is_gone_is_removed(
    data, again, downloads
):
    here = staged(data)
    (place(data) / "folder-0/0.txt").write_text("x")
    (place(data) / "folder-1/1.txt").unlink()
    (here / "folder-0/2.txt").write_text("cut short")
    (here / "folder-0/mine.txt").write_text("mine")
    before = downloads.seen
    assert contents(again(data)) == {
        **{name: text for name, text in ALL.items() if name != "folder-1/1.txt"},
        "folder-0/0.txt": "x",
        "folder-0/mine.txt": "mine",
    }
    assert downloads.seen == before + 2


def test_a_copy_that_was_cut_short_goes_on(data, again, server, monkeypatch, cache):
    monkeypatch.setattr(staging, "_AT_A_TIME", 1)
    with (
        server.failing("folder-1%2F3.txt.*alt=media", status=403, says="no"),
        pytest.raises(buckets.BucketError, match=r"3\.txt cannot be used: 403"),
    ):
        staged(data)
    there = contents(cache)
    assert there
    with server.failing("alt=media", times=0) as counted:
        assert contents(again(data)) == ALL
    assert counted.seen == 5 - len(there)


def test_what_comes_wrong_is_not_kept(data, again, monkeypatch):
    usual = buckets.download

    def change(file, to):
        usual(file, to)
        to.write_text("too long")

    monkeypatch.setattr(buckets, "download", change)
    with pytest.raises(buckets.BucketError, match="has changed while it was copied"):
        staged(data)
    monkeypatch.setattr(buckets, "download", usual)
    assert contents(again(data)) == ALL


def test_content_that_is_not_of_its_checksum_is_refused(data, server):
    """As on its way a router changes a bit that TCP does not see."""
    blob = buckets._blob(place(data) / "folder-0/0.txt")
    blob.reload()
    with (
        server.failing("alt=media", status=200, says="another text altogether"),
        pytest.raises(buckets.BucketError),
    ):
        staged(data)


def test_a_file_is_copied_alone(data, downloads):
    here = staged(f"{data}/folder-0/2.txt")
    assert here.read_text() == "2"
    assert downloads.seen == 1


def test_nothing_is_told(bucket):
    with pytest.raises(FileNotFoundError, match=r"gs://.*/none: there is nothing of"):
        staged(f"{bucket}/none")


def test_a_disk_that_is_too_small_is_told_before(data, monkeypatch):
    monkeypatch.setattr(staging, "_LEFT", 10**18)
    with pytest.raises(
        ValueError, match=r"GiB are free there\. Make room, or give a l"
    ):
        staged(data)


def test_names_that_lead_elsewhere_are_refused(bucket, cache):
    buckets._client().bucket(bucket[5:]).blob("data/../../x").upload_from_string("x")
    with pytest.raises(ValueError, match=r"which is the name of no file"):
        staged(f"{bucket}/data")
    assert not list(cache.rglob("x"))


def test_a_record_that_was_cut_short_costs_a_copy(data, again, cache, downloads):
    staged(data)
    (record,) = cache.rglob("*.staged")
    record.write_text(record.read_text()[:-5])
    assert contents(again(data)) == ALL
    assert downloads.seen == 6
    assert len(list(map(json.loads, record.read_text().splitlines()))) == 5


# ---- As data -------------------------------------------------------------------------


@pytest.fixture
def described(default_config):
    """`described(**fields)`: the data of a recipe."""

    def describe_data(**fields):
        default_config.update_from_flattened_dict(fields)
        return describe(default_config).data

    return describe_data


def test_a_folder_in_a_bucket_is_a_source(bucket, described, tmp_path):
    for field, shape in (("img", (4, 4, 3)), ("label", (4, 4))):
        Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / "x.png")
        buckets.upload(tmp_path / "x.png", f"{bucket}/data/train_{field}/a.png")
    of = described(**{"data.root": f"{bucket}/data"})
    assert of.root == f"{bucket}/data"
    source = assemble.source(of, "train")
    assert (len(source), source[0].name) == (1, "a")
    assert pathlib.Path(assemble.root(of)).is_dir()


def test_data_that_is_not_in_the_bucket_is_told(bucket, described):
    of = described(**{"data.root": f"{bucket}/data"})
    with pytest.raises(
        DataError, match=r"config\.data\.root=gs://.*gcloud storage rsy"
    ):
        assemble.source(of, "train")


def test_built_data_is_copied_without_what_lies_beside_it(bucket, described, cache):
    for name in ("camvid/1.0.0/x.json", "other/y.json"):
        (place(bucket) / "data" / name).write_text("{}")
    of = described(**{"data.root": f"{bucket}/data", "data.source": "camvid"})
    root = assemble.root(of)
    assert root == os.fspath(cache / bucket.removeprefix("gs://") / "data")
    assert [path.name for path in pathlib.Path(root).rglob("*.json")] == ["x.json"]
