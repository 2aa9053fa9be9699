"""Nothing is written over but what the same command wrote, nor what it reads."""

import os
import pathlib

import pytest

from spade_jax.files import outputs


def claim(root, *names, command="predict", **inputs):
    return outputs.claim(
        root,
        [(name, f"the picture {name}") for name in names],
        command=command,
        flag="--out",
        inputs=inputs,
    )


def write(root, *names, text="made", **kind):
    claimed = claim(root, *names, **kind)
    for name in names:
        with claimed.replacing(root / name) as unfinished:
            unfinished.write_text(text)


def test_a_command_may_write_twice_into_one_folder(tmp_path):
    for text in ("first", "second", "first"):
        write(tmp_path / "out", "a.png", "layouts/a.png", text=text)
        assert (tmp_path / "out" / "layouts" / "a.png").read_text() == text
    # Not once more for what is known already.
    assert len((tmp_path / "out" / outputs.RECORD).read_text().splitlines()) == 4


def test_only_what_was_claimed_is_written(tmp_path):
    with pytest.raises(KeyError), claim(tmp_path, "a.png").replacing(tmp_path / "b"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_be_named_from_here_or_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for root, name in (("out", tmp_path / "out"), (tmp_path / "out", "out")):
        with claim(root, "a.png").replacing(pathlib.Path(name) / "a.png") as unfinished:
            unfinished.write_text(str(root))
        assert pathlib.Path("out/a.png").read_text() == str(root)


def test_what_others_wrote_or_changed_stays(tmp_path):
    write(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "a.png").write_text("painted over")
    (tmp_path / "c.png").unlink()
    (tmp_path / "c.png").mkdir()
    message = r"--out: .*a\.png \(and 1 more\) is there already, and predict did not"
    with pytest.raises(ValueError, match=message):
        claim(tmp_path, "a.png", "b.png", "c.png")
    with pytest.raises(ValueError, match=r"b\.png is there already, and export did no"):
        claim(tmp_path, "b.png", command="export")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"link\.png is there already"):
        claim(tmp_path, "link.png")
    assert (tmp_path / "a.png").read_text() == "painted over"


def test_what_has_no_place_is_told_at_once(tmp_path, monkeypatch):
    """Not when all is computed, and the first file is to be written."""
    (tmp_path / "layouts").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for folder in ("layouts", "link", "b.png"):
        with pytest.raises(ValueError, match=rf"{folder} would be a folder, and is a"):
            claim(tmp_path, "b.png", f"{folder}/c/a.png")
    with pytest.raises(ValueError, match=r"--out: .*link is no directory"):
        claim(tmp_path / "link", "a.png")
    with pytest.raises(ValueError, match=r"--out: the name 'x{252}\.png' is too long"):
        claim(tmp_path / "not" / "there", "x" * 252 + ".png")
    claim(tmp_path / "not" / "there", "x" * 251 + ".png", "a/b/c.png")
    # Who runs this may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    with pytest.raises(ValueError, match=rf"nothing may be written in {tmp_path}\."):
        claim(tmp_path / "not" / "there", "a.png")


def test_a_run_that_was_killed_knows_its_last_file(tmp_path, monkeypatch):
    """The record comes first; a line that was cut short, or is none, says nothing."""
    claimed = claim(tmp_path, "a.png")
    with claimed.replacing(tmp_path / "a.png") as unfinished:
        unfinished.write_text("made")
    with (tmp_path / outputs.RECORD).open("a") as file:
        file.write('[1]\n{"command": "predict"}\n{"comma\n')
    claim(tmp_path, "a.png")
    monkeypatch.setattr(pathlib.Path, "replace", _killed)
    with pytest.raises(OSError, match="killed"):
        write(tmp_path, "a.png", text="other")
    claim(tmp_path, "a.png")
    assert (tmp_path / "a.png").read_text() == "made"
    assert len((tmp_path / outputs.RECORD).read_text().splitlines()) == 5


def _killed(*_):
    raise OSError("killed")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_record_that_is_no_file_is_told_at_once(tmp_path, make):
    """A pipe would be waited for when all is computed."""
    make(tmp_path / outputs.RECORD)
    with pytest.raises(ValueError, match="written, is no regular file"):
        claim(tmp_path, "a.png")


def test_a_record_that_was_cut_short_loses_no_more(tmp_path):
    """As by a full disk."""
    (tmp_path / outputs.RECORD).write_text("[" * 100_000 + '\n{"command": "pre')
    write(tmp_path, "a.png")
    claim(tmp_path, "a.png")


def test_a_record_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / outputs.RECORD).symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match="written, is no regular file"):
        claim(tmp_path / "out", "a.png")
    assert (tmp_path / "mine").read_text() == "mine\n"
    assert not (tmp_path / "out" / "a.png").exists()


@pytest.mark.parametrize("out", ["labels", "labels/new/deep", "link", "x/../labels"])
def test_nothing_is_written_into_what_is_read(tmp_path, out):
    (tmp_path / "labels").mkdir()
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "labels", target_is_directory=True)
    message = r"--out: .* among, what is read from --labels=.*labels\. Give another"
    with pytest.raises(ValueError, match=message):
        claim(tmp_path / out, "a.png", **{"--labels": tmp_path / "labels"})
    # And by another name of the folder that is read.
    with pytest.raises(ValueError, match=r"--labels=.*link"):
        claim(tmp_path / out, "a.png", **{"--labels": tmp_path / "link"})


def test_folders_beside_and_above_are_none_of_it(tmp_path):
    (tmp_path / "data" / "labels").mkdir(parents=True)
    inputs = {"--labels": tmp_path / "data" / "labels", "--style": "nowhere.png"}
    claim(tmp_path / "data", "a.png", "layouts/a.png", **inputs)
    claim(tmp_path / "data" / "labels_new", "a.png", **inputs)
    with pytest.raises(ValueError, match=r"data/labels/a\.png would be written"):
        claim(tmp_path / "data", "labels/a.png", **inputs)


def test_a_file_that_is_read_is_not_written(tmp_path):
    (tmp_path / "style.png").touch()
    with pytest.raises(ValueError, match=r"read from --style=.*style\.png"):
        claim(tmp_path, "style.png", **{"--style": tmp_path / "style.png"})
    os.link(tmp_path / "style.png", tmp_path / "same.png")
    with pytest.raises(ValueError, match=r"read from --style=.*style\.png"):
        claim(tmp_path, "same.png", **{"--style": tmp_path / "style.png"})


def test_files_of_one_name_are_told(tmp_path):
    files = [("sheet.png", "the picture of sheet"), ("sheet.png", "the contact sheet")]
    message = (
        r"--out: .*sheet\.png would be the picture of sheet as well as the contact"
        r" sheet, and one of them lost\. Rename"
    )
    with pytest.raises(ValueError, match=message):
        outputs.claim(tmp_path, files, command="predict", flag="--out", inputs={})


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--out: .*file is no directory"):
        claim(tmp_path / "file", "a.png")
    with pytest.raises(ValueError, match=r"--film: .*file is no directory"):
        outputs.claim_file(
            tmp_path / "file" / "x.gif", command="predict", flag="--film", inputs={}
        )
