import numpy as np
import pytest

from benchmarks import scenes_scores
from spade_jax.metrics import own_segmenter

SEEDS = range(2_000_000, 2_000_006)


@pytest.fixture(scope="module")
def segmenter():
    return own_segmenter.load(own_segmenter.find("scenes"))


def test_pictures_of_any_size_are_scored_at_the_segmenters(segmenter):
    assert segmenter.description.size == (64, 64)
    small, large = (scenes_scores.real(SEEDS, size=(n, n)) for n in (64, 128))
    grey = [(np.full_like(picture, 127), layout) for picture, layout in large]
    _, reference = scenes_scores.observe(segmenter, small)
    itself, finer, nothing = (
        scenes_scores.scores(segmenter, pairs, reference)
        for pairs in (small, large, grey)
    )
    assert itself["fd_own"] == pytest.approx(0, abs=1e-5)
    assert 0 < finer["fd_own"] < 0.2 * nothing["fd_own"]
    assert finer["mean_iou"] > 2 * nothing["mean_iou"]
    assert itself["accuracy"] > finer["accuracy"] - 10 > nothing["accuracy"]


@pytest.mark.long
def test_a_model_stands_beside_real_pictures(segmenter):
    rows = scenes_scores.compare(["scenes"], segmenter, count=4)
    assert list(rows) == ["scenes", scenes_scores.REAL]
    assert rows["scenes"]["size"] != rows[scenes_scores.REAL]["size"] == [64, 64]
    assert rows["scenes"]["fd_own"] > 0
    lines = scenes_scores.table(rows).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| scenes | ")
