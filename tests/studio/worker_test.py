import threading

import pytest

from spade_jax.studio.worker import Worker

SECONDS = 30


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.close()


@pytest.fixture
def busy(worker):
    """The worker is held until the event is set."""
    begun, released = threading.Event(), threading.Event()

    def hold():
        begun.set()
        assert released.wait(SECONDS)

    worker.submit("busy", hold)
    assert begun.wait(SECONDS)
    yield released
    released.set()


def test_results_and_errors_come_back(worker):
    assert worker.submit("a", lambda: 3).result(SECONDS) == 3
    failed = worker.submit("a", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(SECONDS)
    assert worker.submit("a", lambda: 4).result(SECONDS) == 4


def test_the_newest_of_a_client_takes_the_place_of_the_older(worker, busy):
    jobs = [worker.submit("a", lambda i=i: i) for i in range(5)]
    busy.set()
    assert jobs[-1].result(SECONDS) == 4
    assert all(job.cancelled() for job in jobs[:-1])


def test_clients_take_turns(worker, busy):
    order = []
    for client in "aabbbc":
        last = worker.submit(client, lambda client=client: order.append(client))
    # One who asks again after it was served comes after all who wait.
    worker.submit("a", lambda: worker.submit("a", lambda: order.append("again")))
    busy.set()
    last.result(SECONDS)
    worker.submit("end", lambda: None).result(SECONDS)
    assert order[:2] == ["b", "c"]
    assert order[2:] in (["again"], [])


def test_one_thread_computes_all(worker):
    threads = {worker.submit(i, threading.get_ident).result(SECONDS) for i in range(5)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_what_waits_is_cancelled_at_the_end(worker, busy):
    waiting = worker.submit("a", lambda: 3)
    closing = threading.Thread(target=worker.close)
    closing.start()
    busy.set()
    closing.join(SECONDS)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit("a", lambda: 3)


def test_who_closes_learns_whether_something_is_still_computed(worker, busy):
    assert not worker.close(timeout=0.01)
    busy.set()
    assert worker.close(timeout=SECONDS)
