"""Runs in a bucket that are ended from outside, and go on."""

import socket

import pytest

from benchmarks import kill
from spade_jax.files import bucket as buckets
from spade_jax.files.places import place


@pytest.mark.long
def test_a_run_in_a_bucket_killed_at_ten_moments_ends_in_the_bits_of_one_on_the_disk(
    bucket, tmp_path, pictures
):
    found = kill.kill_repeatedly(
        tmp_path,
        pictures=pictures,
        kills=10,
        seed=0,
        num_steps=20,
        disturbed=place(f"{bucket}/disturbed"),
    )
    # Some were cut short in a save, whose files were there.
    assert any(k["unfinished"] for k in found["kills"])
    assert found["last_step"] == 20
    assert found["differing"] == []
    steps = {line["step"] for line in kill.lines(place(f"{bucket}/disturbed"))}
    assert steps == set(range(1, found["last_step"] + 1))


@pytest.mark.long
def test_two_processes_train_in_a_bucket(bucket, tmp_path, pictures):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for workdir in (place(f"{bucket}/run"), tmp_path / "run"):
        runs = [
            kill.running(
                workdir,
                pictures=pictures,
                num_steps=4,
                flags=(
                    f"--coordinator={address}",
                    "--num_processes=2",
                    f"--process_id={i}",
                ),
            )
            for i in range(2)
        ]
        with runs[0] as first, runs[1] as second:
            said = [process.communicate(timeout=600)[0] for process in (first, second)]
        assert [first.returncode, second.returncode] == [0, 0], said
    states = [kill.read_state(path) for path in (f"{bucket}/run", tmp_path / "run")]
    assert kill.differing(*states) == []
    names = buckets.objects(f"{bucket}/run")
    assert any("ocdbt.process_1" in name for name in names)
    assert {".lock", ".spade_jax_processes"}.isdisjoint(names)
