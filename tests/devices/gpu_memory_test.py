"""The environment that JAX finds; no GPU is needed."""

import os

import pytest

from spade_jax import main, publish
from spade_jax.devices import gpu_memory
from spade_jax.export import __main__ as export
from spade_jax.studio import __main__ as studio

PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    for name in gpu_memory._DECIDE:
        monkeypatch.setenv(name, "")  # so that what a test leaves is taken back


def test_memory_is_taken_as_it_is_needed():
    gpu_memory.share()
    assert os.environ[PREALLOCATE] == "false"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (PREALLOCATE, "true"),
        ("XLA_CLIENT_MEM_FRACTION", ".3"),
        ("XLA_PYTHON_CLIENT_MEM_FRACTION", ".3"),
        ("XLA_PYTHON_CLIENT_ALLOCATOR", "platform"),
    ],
)
def test_who_has_decided_is_not_overruled(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    before = dict(os.environ)
    gpu_memory.share()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        *(("eval", "false"), ("predict", "false"), ("label_photos", "false")),
        # It has the device to itself.
        *(("train", ""), ("train_segmenter", "")),
    ],
)
def test_modes_that_run_beside_training_share(mode, expected):
    main._set_up_devices(mode)
    assert os.environ[PREALLOCATE] == expected


@pytest.mark.parametrize(
    ("door", "arguments"),
    [
        (studio, ["scenes"]),
        (export, ["scenes", "--out=scenes.jax"]),
        (publish, ["scenes", "--out=scenes"]),
    ],
)
def test_other_programs_share_before_they_look_for_devices(
    monkeypatch, door, arguments
):
    def look():
        raise ValueError(f"as found: {os.environ[PREALLOCATE]}")

    monkeypatch.setattr(door.present, "log", look)
    with pytest.raises(SystemExit, match="as found: false"):
        door.main(arguments)
