import numpy as np
import pytest

from benchmarks import scenes_scores
from spade_jax.metrics import own_segmenter

SEEDS = range(2_000_000, 2_000_006)


@pytest.fixture(scope="module")
def segmenter():
    return own_segmenter.load(own_segmenter.find("scenes"))


def of_size(*size):
    return lambda seed: scenes_scores.real(seed, size=size)


def test_pictures_of_any_size_are_scored_at_the_segmenters(segmenter):
    assert segmenter.description.size == (64, 64)
    _, reference = scenes_scores.observe(segmenter, of_size(64, 64), SEEDS)

    def score(draw):
        return scenes_scores.scores(segmenter, draw, SEEDS, reference)

    itself, finer = score(of_size(64, 64)), score(of_size(128, 128))
    grey = score(
        lambda seed: (np.full((128, 128, 3), 127, np.uint8), of_size(128, 128)(seed)[1])
    )
    assert itself["fd_own"] == pytest.approx(0, abs=1e-5)
    assert 0 < finer["fd_own"] < 0.2 * grey["fd_own"]
    assert finer["mean_iou"] > 2 * grey["mean_iou"]
    assert itself["accuracy"] > finer["accuracy"] - 10 > grey["accuracy"]


@pytest.mark.long
def test_a_model_stands_beside_real_pictures(segmenter):
    rows = scenes_scores.compare(["scenes"], segmenter, count=4)
    assert list(rows) == ["scenes", scenes_scores.REAL]
    assert rows["scenes"]["size"] != rows[scenes_scores.REAL]["size"] == [64, 64]
    assert rows["scenes"]["fd_own"] > 0
    lines = scenes_scores.table(rows).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| scenes | ")
