import os

import pytest

from spade_jax.devices import tpu_flags

FLAGS = [
    "--xla_tpu_run_space_to_batch=false",
    "--xla_tpu_run_space_to_batch_on_new_platforms=false",
]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", FLAGS),
        ("--xla_a=1", ["--xla_a=1", *FLAGS]),
        (" ".join(FLAGS), FLAGS),
        (
            "--xla_tpu_run_space_to_batch=true",
            ["--xla_tpu_run_space_to_batch=true", FLAGS[1]],
        ),
    ],
)
def test_what_was_given_stays(monkeypatch, given, expected):
    monkeypatch.setenv("LIBTPU_INIT_ARGS", given)
    tpu_flags.configure()
    assert os.environ["LIBTPU_INIT_ARGS"].split() == expected
