import re

import pytest

from spade_jax.training.waiting import Waits, advice, too_long

HUNGRY = Waits(steps=20, starved=15, data_seconds=8.0, seconds=10.0)


@pytest.mark.parametrize(
    ("workers", "cores", "remedy"),
    [
        (0, 8, r"config\.data\.workers=2 reads with more processes \(it is 0\)\.$"),
        (3, 8, r"config\.data\.workers=6 reads with more processes \(it is 3\)\.$"),
        (6, 8, r"config\.data\.workers=8 reads with more processes \(it is 6\)\.$"),
        (8, 8, r"workers=8 has all 8 cores of this host already: give it more cores, "),
    ],
)
def test_the_field_that_helps_is_named(workers, cores, remedy):
    told = advice(HUNGRY, workers=workers, cores=cores)
    assert told is not None
    assert told.startswith(
        "Steps wait for data, not for the devices: 80% of the time, before 15 of 20"
    )
    assert re.search(remedy, told)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 9, "starved": 9},
        {"starved": 10},
        {"data_seconds": 1.0},
        {"data_seconds": 0.0, "seconds": 0.0},
    ],
)
def test_waiting_that_costs_nothing_is_not_told(change):
    """Of few steps, beside the devices' own work, or for an instant."""
    assert advice(HUNGRY._replace(**change), workers=0, cores=8) is None


def test_days_on_cpus_are_told():
    told = too_long(200_000, platform="cpu", source="folder")
    assert told == (
        "On CPUs this will take 55:33:20: it is a recipe for GPUs and TPUs."
        " configs/folder_small.py is a recipe for CPUs, small and short."
    )
    assert "config.generator.width" in too_long(1e6, platform="cpu", source="tfds")
    for seconds, platform in ((None, "cpu"), (40_000, "cpu"), (1e6, "gpu")):
        assert too_long(seconds, platform=platform, source="folder") is None
