import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import scale


def test_an_order_that_is_none_is_found():
    counted = np.arange(6400)
    assert scale.correlation(counted, counted) == pytest.approx(1)
    assert scale.correlation(counted, counted[::-1]) == pytest.approx(-1)
    # Every range as often as another, more than chance would have it; and one alone.
    assert scale.chi_square(counted, 6400) == 0
    assert scale.chi_square(counted[:100], 6400) == pytest.approx(100)


def test_resuming_reads_what_is_prefetched_and_nothing_of_what_was_passed():
    source = scale.Synthetic(10**8)
    _, read = scale.first_batch(source, start_batch=10**6)
    # A batch of each of eight threads, and of each that waits behind.
    assert 0 < read <= 2 * 8 * scale.BATCH + scale.BATCH


def test_orders_of_two_epochs_do_not_resemble_each_other():
    """After Grain's four rounds alone they do, here by 0.19."""
    source = scale.Synthetic(1_000_000)
    first, *others = (scale.order(source, 2048, epoch=epoch) for epoch in range(4))
    assert len(np.unique(first)) == 2048
    # Five times what chance makes of it.
    for other in others:
        assert abs(scale.correlation(first, other)) < 5 / np.sqrt(2048)


def test_the_order_is_that_of_the_epoch():
    source = scale.Synthetic(100)
    for epoch in (0, 1, 3):
        assert sorted(scale.order(source, 100, epoch=epoch)) == list(range(100))


@pytest.mark.long
def test_the_table(tmp_path):
    out = tmp_path / "scale.json"
    result = subprocess.run(
        [sys.executable, scale.__file__, "--sizes", "100", "1000", f"--out={out}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    rows = json.loads(out.read_text())["rows"]
    assert [row["examples"] for row in rows] == [100, 1000]
    for row in rows:
        assert row["worker_mib"] > 10
        assert row["repeated"] == 0
    assert "| 1,000 |" in result.stdout
