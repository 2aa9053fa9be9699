"""A command writes over its own files only, in a bucket too."""

import pytest

from spade_jax.files import bucket as buckets
from spade_jax.files import outputs
from spade_jax.files.places import place, size_of


@pytest.fixture
def claim(bucket):
    """`claim(*names, command="export", **inputs)` of files in a bucket."""

    def make(*names, command="export", **inputs):
        return outputs.claim(
            f"{bucket}/out",
            [(name, "a file") for name in names],
            command=command,
            flag="--out",
            inputs=inputs,
        )

    return make


@pytest.fixture
def written(claim, bucket):
    """The place of a file that `export` wrote."""
    path = place(f"{bucket}/out/below/a")
    with claim("below/a").replacing(path) as unfinished:
        unfinished.write_text("by export")
    return path


def test_a_command_replaces_what_it_wrote(written, claim):
    assert written.read_text() == "by export"
    with claim("below/a").replacing(written) as unfinished:
        unfinished.write_text("again")
    assert written.read_text() == "again"
    assert size_of(written) == size_of(written.parent.parent) == 5


def test_files_of_others_stay(written, claim, bucket):
    message = r"--out: gs://.*/out/below/a is there already, and predict did not write"
    with pytest.raises(ValueError, match=message):
        claim("below/a", "b", command="predict")
    with pytest.raises(ValueError, match=r"/out/below is there already"):
        claim("below")
    written.write_text("mine")
    with pytest.raises(ValueError, match="or it was changed since"):
        claim("below/a")
    with pytest.raises(KeyError), claim("b").replacing(written):
        pass


def test_what_fails_leaves_what_was_there(written, claim):
    before = buckets.look(written)
    with (
        pytest.raises(ZeroDivisionError),
        claim("below/a").replacing(written) as unfinished,
    ):
        unfinished.write_text(str(1 / 0))
    assert buckets.look(written) == before


def test_nothing_is_written_among_what_is_read(claim, bucket):
    for read in (f"{bucket}/out", f"{bucket}/out/", f"{bucket}/out/x", bucket):
        with pytest.raises(ValueError, match=r"would be written over, or among, what"):
            claim("x/y", labels=read)
    claim("x/y", labels=f"{bucket}/other", photos=f"{bucket}/out/x/y2")
