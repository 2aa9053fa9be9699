"""What is told of speed, with a clock of the test's own."""

import itertools
import logging
import types

import jax
import jax.numpy as jnp
import pytest

from spade_jax.training import progress
from spade_jax.training.progress import Progress

LOGGED = 20


class Written(list):
    """In the place of a report."""

    def scalars(self, step, values):
        self.append({"step": step, **values})


class Late:
    """In the place of a loss that the devices still compute."""

    def __init__(self, value):
        self._value = value

    def __array__(self, dtype=None, copy=None):
        return self._value.__array__(dtype)

    def is_ready(self):
        return False


@pytest.fixture
def clock(monkeypatch):
    """`clock.now`, which the progress takes for the time."""
    found = types.SimpleNamespace(now=0.0)
    time = types.SimpleNamespace(monotonic=lambda: found.now)
    monkeypatch.setattr(progress, "time", time)
    return found


@pytest.fixture
def run(clock):
    """`run(seconds, loss)`: lines of 40 steps, whose batches take so long to come."""

    def make(seconds, loss, **arguments):
        def batches():
            for number in itertools.count():
                clock.now += seconds
                yield {"number": number}

        told = Progress(
            first_step=0,
            num_steps=100,
            steps_per_epoch=10,
            batch_size=4,
            learning_rate=lambda step: jnp.float32(0.1),
            devices=jax.devices()[:1],
            workers=0,
            **{"peak_steps_per_second": None, **arguments},
        )
        report, iterator = Written(), batches()
        checkpoints = types.SimpleNamespace(check=lambda names: None)
        for step in range(1, 2 * LOGGED + 1):
            told.next_batch(iterator)
            clock.now += 0.25
            told.add(step, {"gan": loss})
            if step % LOGGED == 0:
                told.report(step, report, checkpoints, scores=())
        return report

    return make


def test_seconds_for_data_and_share_of_the_peak(run):
    lines = run(0.75, jnp.float32(1), peak_steps_per_second=4.0)
    assert [line["step"] for line in lines] == [20, 40]
    for line in lines:
        # The first step, which compiles, is left out.
        assert line["data_seconds"] == pytest.approx(0.75)
        assert line["images_per_second"] == pytest.approx(4)
        assert line["model_flops_utilisation"] == pytest.approx(0.25)
        assert "memory_bytes" not in line  # which CPUs do not tell


def test_it_is_told_once_that_steps_wait_for_data(run, caplog):
    with caplog.at_level(logging.WARNING, "spade_jax"):
        run(0.75, jnp.float32(1))
    (message,) = caplog.messages
    assert "data, not for the devices: 75% of the time, before 19 of 19 st" in message


def test_what_comes_while_the_devices_compute_is_not_waited_for(
    run, caplog, monkeypatch
):
    monkeypatch.setattr(jax, "block_until_ready", lambda losses: losses)
    with caplog.at_level(logging.WARNING, "spade_jax"):
        lines = run(0.75, Late(jnp.float32(1)))
    assert caplog.messages == []
    assert lines[1]["data_seconds"] == pytest.approx(0.75)


def test_memory_of_the_fullest_device(run, monkeypatch):
    monkeypatch.setattr(progress, "most_used", lambda devices: 5 * 2**30)
    assert run(0.1, jnp.float32(1))[0]["memory_bytes"] == 5 * 2**30
