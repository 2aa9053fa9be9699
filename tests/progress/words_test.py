import pytest

from spade_jax.progress import clock, progress_line

ARGUMENTS = {
    "step": 150,
    "num_steps": 400,
    "steps_per_epoch": 40,
    "batch_size": 8,
    "losses": {"gan": 0.12345, "d_fake": 2.0},
}


def test_progress_line():
    assert progress_line(**ARGUMENTS, steps_per_second=2.5) == (
        "step 150/400 | epoch 3.75 | 20.0 images/s | gan 0.123 d_fake 2.000"
        " | 0:01:40 left"
    )


def test_progress_line_before_the_speed_is_known():
    assert progress_line(**ARGUMENTS, steps_per_second=None) == (
        "step 150/400 | epoch 3.75 | gan 0.123 d_fake 2.000"
    )


def test_progress_line_with_all_that_is_known_of_the_devices():
    known = {"utilisation": 0.4126, "memory": 13 * 2**30 // 2, "data_seconds": 0.0213}
    assert progress_line(**ARGUMENTS, **known, steps_per_second=2.5) == (
        "step 150/400 | epoch 3.75 | 20.0 images/s | MFU 41.3% | 6.50 GiB"
        " | 0.021 s/step for data | gan 0.123 d_fake 2.000 | 0:01:40 left"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (360000, "100:00:00")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
