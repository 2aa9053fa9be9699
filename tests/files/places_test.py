import pathlib
import sys

import pytest

from spade_jax.files import bucket
from spade_jax.files.bucket import BucketError
from spade_jax.files.places import absolute, cache_directory, given, local, place


@pytest.fixture
def no_home(monkeypatch):
    """A process whose user has no home directory, as in some containers."""
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])


@pytest.mark.parametrize("path", ["", "x", "/x/y", "C:/x", "a:b", "x/~", "./gs:/x"])
def test_paths_of_this_machine_stay(path):
    assert local(path, name="--out") == path


def test_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert local("~/x", name="--out") == "/home/me/x"
    assert local("~", name="--out") == "/home/me"


@pytest.mark.parametrize(
    "path", ["gs://bucket/run", "s3://b", "file:///x", "hdfs+x://a"]
)
def test_other_services_are_refused(path):
    message = rf"^--workdir={path}.* is no path of this machine: .*Mount it .*copy\.$"
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        local(path, name="--workdir")


def test_what_may_be_in_a_bucket():
    assert given("gs://my-bucket/run", name="--workdir") == "gs://my-bucket/run"
    assert given("x", name="--workdir") == "x"
    for path in ("s3://b/x", "https://x"):
        message = rf"^--workdir={path} is no path of this machine, nor in a bucket of"
        with pytest.raises(ValueError, match=message):
            given(path, name="--workdir")
        with pytest.raises(ValueError, match=r"is no path of this machine, nor in"):
            place(path)
    for path in ("gs://", "gs:///x", "gs://Not A Name/x"):
        with pytest.raises(ValueError, match=r"names no bucket: write gs://BUCKET/PAT"):
            given(path, name="--workdir")
    with pytest.raises(ValueError, match=r"stand for nothing in a bucket"):
        given("gs://my-bucket/run/../x", name="--workdir")


def test_places_of_this_machine_are_pathlibs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert place("run") == pathlib.Path("run")
    assert absolute("run") == tmp_path / "run"
    assert absolute(tmp_path) == tmp_path


def test_without_the_extra_a_bucket_is_told_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    bucket._prepare.cache_clear()
    message = r"^Paths that begin with gs:// need gcsfs and google-cloud-storage .*"
    with pytest.raises(BucketError, match=message + r"'spade-jax\[cloud\]'\.$"):
        place("gs://my-bucket/run")


@pytest.mark.usefixtures("no_home")
def test_no_home():
    with pytest.raises(ValueError, match=r"--out=~/x: the home directory of ~ is not"):
        local("~/x", name="--out")
    assert cache_directory() is None


def test_a_directory_that_has_been_removed(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(
        ValueError, match=r"^--out=here: the directory that the command"
    ):
        local("here", name="--out")
    with pytest.raises(ValueError, match=r"^run: .* is no longer there\. Change to an"):
        given("run")
    assert local(str(tmp_path)) == str(tmp_path)
    assert local("") == ""


def test_no_such_user():
    with pytest.raises(ValueError, match=r"the home directory of ~nobody-here is not"):
        local("~nobody-here/x", name="--out")


def test_cache_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == pathlib.Path("/home/me/.cache/spade_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_directory() == pathlib.Path("/cache/spade_jax")
