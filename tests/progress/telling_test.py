import logging
import threading

import pytest

from spade_jax.progress import Phase, phase, result, tell, telling


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "spade_jax")
    return caplog


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the phases see; to be changed."""
    now = [100.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    return now


def test_a_phase_is_announced_before_it_begins(log):
    with phase("Compiling", usually="a minute", then="step 1"):
        assert log.messages == ["Compiling (usually a minute). Next: step 1."]
    # Short ones end without a word.
    (record,) = log.records
    assert record.told["phase"] == "Compiling"
    assert record.told["event"] == "begin"
    assert record.told["next"] == "step 1"


def test_a_long_one_gives_signs_of_life_and_says_when_it_is_done(log, monkeypatch):
    monkeypatch.setattr(telling, "_PATIENCE", 0.001)
    told = threading.Event()

    class Waiting(logging.Handler):
        def emit(self, record):
            if record.told.get("event") == "going":
                told.set()

    handler = Waiting()
    logging.getLogger("spade_jax").addHandler(handler)
    try:
        with phase("Outer"), phase("Compiling"):
            assert told.wait(30)
    finally:
        logging.getLogger("spade_jax").removeHandler(handler)
    # The innermost alone is told of.
    goes_on = log.messages.index("Compiling: 0 s so far.")
    assert "Outer: 0 s so far." not in log.messages[:goes_on]
    assert "Compiling: done after 0 s." in log.messages


def test_what_is_told_meanwhile_is_a_sign_of_life(log, monkeypatch):
    """The thread waits for patience from the last word, not from the beginning."""
    waits = []
    now = [0.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    changed = telling._changed

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 1:
            now[0] = 6.0
            tell("step 1")
        else:
            telling._lasting.clear()

    monkeypatch.setattr(changed, "wait", wait)
    monkeypatch.setattr(telling, "_lasting", [Phase("Training")])
    monkeypatch.setattr(telling, "_last_told", 0.0)
    telling._tell_of_long_ones()
    # From the beginning, then again as long from the word at six seconds.
    assert waits == [9.0, 9.0]
    assert log.messages == ["step 1"]


def test_nobody_listens_nothing_runs(monkeypatch):
    monkeypatch.setattr(telling.threading, "Thread", None)
    logger = logging.getLogger("spade_jax")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with phase("Compiling"):
            assert telling.innermost().doing == "Compiling"
    finally:
        logger.setLevel(level)
    assert telling.innermost() is None


def test_a_phase_that_fails_ends_without_a_word(log):
    def fail():
        with phase("Compiling") as this:
            this.was_long = True
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert log.messages == ["Compiling."]
    assert telling.innermost() is None


def test_counted_phases_say_how_far_they_are(clock):
    this = Phase("Training", total=10, unit="steps")
    clock[0] += 5
    assert str(this) == "Training: 5 s so far."
    # What comes before the first is of compiling, and says nothing of the others.
    this.at(2)
    assert str(this) == "Training: 2 of 10 steps."
    clock[0] += 4
    this.at(4)
    # Two may have been handed over, of which none is computed.
    assert str(this) == "Training: 4 of 10 steps."
    clock[0] += 2
    this.at(5)
    assert str(this) == "Training: 5 of 10 steps, 0:00:10 left."
    assert this.told("going") == {
        **{"phase": "Training", "event": "going", "seconds": 11.0},
        **{"done": 5, "total": 10},
    }
    # Batches are filled up.
    this.at(12)
    assert this.done == 10
    of_unknown = Phase("Reading", unit="pictures")
    of_unknown.at(3)
    assert str(of_unknown) == "Reading: 3 pictures."


def test_results_and_numbers_go_with_their_records(log):
    tell("step 3", step=3)
    result("done", scores={"fid": 1.0})
    assert [record.told for record in log.records] == [
        {"step": 3},
        {"scores": {"fid": 1.0}},
    ]
    assert [record.is_result for record in log.records] == [False, True]
