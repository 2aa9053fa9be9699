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
