import pathlib

import pytest

from spade_jax.files.local import cache_directory, local


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


@pytest.mark.usefixtures("no_home")
def test_no_home():
    with pytest.raises(ValueError, match=r"--out=~/x: the home directory of ~ is not"):
        local("~/x", name="--out")
    assert cache_directory() is None


def test_no_such_user():
    with pytest.raises(ValueError, match=r"the home directory of ~nobody-here is not"):
        local("~nobody-here/x", name="--out")


def test_cache_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == pathlib.Path("/home/me/.cache/spade_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_directory() == pathlib.Path("/cache/spade_jax")
