import errno
import os

import pytest

from spade_jax import files


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path):
    file = tmp_path / "new" / "numbers.json"

    def write(text, *, before):
        with files.replacing(file) as unfinished:
            unfinished.write_text(text)
            assert not before or file.read_text() == before
            if text == "cut sh":
                raise OSError("the disk is full")

    write("first", before="")
    write("second", before="first")
    with pytest.raises(OSError, match="full"):
        write("cut sh", before="second")
    assert file.read_text() == "second"
    assert [path.name for path in file.parent.iterdir()] == ["numbers.json"]


def test_no_link_that_lies_there_is_written_through(tmp_path):
    """Neither one of the file's own name, nor one of a name that was used before."""
    (tmp_path / "mine").write_text("mine")
    file = tmp_path / "out" / "numbers.json"
    file.parent.mkdir()
    for name in ("numbers.json", "numbers.json.tmp"):
        (file.parent / name).symlink_to(tmp_path / "mine")
    with files.replacing(file) as unfinished:
        unfinished.write_text("new")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (file.read_text(), file.is_symlink()) == ("new", False)


def test_names_and_permissions_are_as_of_any_new_file(tmp_path):
    longest = tmp_path / ("n" * 250 + ".png")
    (tmp_path / "usual").touch()
    with files.replacing(longest) as unfinished:
        unfinished.write_text("new")
    assert longest.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_full_disk_is_told_with_the_file(tmp_path):
    """Of a write the system does not say where to."""
    with (
        pytest.raises(OSError, match=r"No space left.*numbers\.json"),
        files.replacing(tmp_path / "numbers.json"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"1")
    assert list(tmp_path.iterdir()) == []
    # Of a copy it names the source first.
    with (
        pytest.raises(OSError, match=r"^\[Errno 28\] full: '[^']*numbers\.json'$"),
        files.replacing(tmp_path / "numbers.json") as unfinished,
    ):
        raise OSError(errno.ENOSPC, "full", "/tmp/source", None, os.fspath(unfinished))
