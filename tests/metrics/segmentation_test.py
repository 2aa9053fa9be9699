import json

import numpy as np
import pytest

from spade_jax.metrics import protocols, segmentation
from spade_jax.metrics.segmentation import Confusion


@pytest.fixture(scope="module")
def golden_scores(shared):
    folder = shared / "metric_goldens" / "goldens"
    with np.load(folder / "golden_label_metrics.npz") as file:
        arrays = dict(file)
    numbers = json.loads((folder / "golden_label_metrics.json").read_text())
    return arrays, {name.split()[0]: scores for name, scores in numbers.items()}


def scored(truth):
    """Their 255, "ignored", is -1 here."""
    return np.where(truth == 255, -1, truth.astype(int))


def confusion(truth, predicted, num_classes, **kwargs):
    return Confusion.empty(num_classes).update(truth, predicted, **kwargs)


def test_coco_scores_are_deeplabs(golden_scores):
    arrays, numbers = golden_scores
    found = confusion(scored(arrays["coco_gt"]), arrays["coco_pred"], 182)
    golden = numbers["cocostuff"]
    assert segmentation.mean_iou(found, rule="present") == pytest.approx(
        golden["Mean IoU"], rel=1e-12
    )
    assert segmentation.pixel_accuracy(found, rule="labelled") == pytest.approx(
        golden["Pixel Accuracy"], rel=1e-12
    )
    assert segmentation.mean_accuracy(found) == pytest.approx(
        golden["Mean Accuracy"], rel=1e-12
    )
    np.testing.assert_allclose(
        segmentation.class_iou(found), arrays["coco_class_iou"], rtol=1e-12
    )


def test_ade20k_scores_are_csails(golden_scores):
    arrays, numbers = golden_scores
    found = confusion(arrays["ade_gt"], arrays["ade_pred"], 150)
    golden = numbers["ade20k"]
    hits = np.diagonal(found.counts)
    np.testing.assert_array_equal(hits, arrays["ade_intersection"])
    union = found.counts.sum(0) + found.counts.sum(1) - hits
    np.testing.assert_array_equal(union, arrays["ade_union"])
    for rule, name in (
        ("all", "Mean IoU"),
        ("union", "Mean IoU over classes with union>0"),
    ):
        assert segmentation.mean_iou(found, rule=rule) == pytest.approx(
            golden[name], rel=1e-9
        )
    assert segmentation.pixel_accuracy(found, rule="labelled") == pytest.approx(
        golden["Accuracy"], rel=1e-9
    )


def test_cityscapes_scores_are_drns_and_accuracy_both_ways(golden_scores):
    arrays, numbers = golden_scores
    found = confusion(scored(arrays["city_gt"]), arrays["city_pred"], 19)
    golden = numbers["cityscapes"]
    np.testing.assert_array_equal(found.counts, arrays["city_hist"])
    iou = segmentation.class_iou(found)
    np.testing.assert_allclose(100 * iou, arrays["city_class_iu"], rtol=1e-12)
    assert np.isnan(iou).sum() == golden["nan classes"]
    scores = {
        "unrounded": 100 * segmentation.mean_iou(found, rule="union"),
        "accuracy over labelled": segmentation.pixel_accuracy(found, rule="labelled"),
        "accuracy counting 255 as wrong": segmentation.pixel_accuracy(
            found, rule="all_pixels"
        ),
    }
    for name, score in scores.items():
        assert score == pytest.approx(golden[name], rel=1e-12), name


def test_cityscapes_ids_become_train_ids(golden_scores):
    arrays, _ = golden_scores
    train_ids = scored(arrays["city_train_ids"])
    found = protocols.true_classes("cityscapes", 35)
    np.testing.assert_array_equal(found[arrays["city_label_ids"]], train_ids)
    assert found[34] == -1


def slow_scores(truth, predicted, num_classes):
    """All scores, class by class and pixel by pixel."""
    pixels = list(zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True))
    labelled = [(t, p) for t, p in pixels if t != -1]
    iou, accuracy = [], []
    for c in range(num_classes):
        hit = sum(t == c and p == c for t, p in labelled)
        either = sum(c in (t, p) for t, p in labelled)
        true = sum(t == c for t, _ in labelled)
        iou.append((hit, either, true))
        accuracy.append(hit / true if true else np.nan)
    correct = sum(t == p for t, p in labelled)

    def mean(values):
        return sum(values) / len(values) if values else np.nan

    return {
        "present": mean([hit / either for hit, either, true in iou if true]),
        "all": mean([hit / (either + 1e-10) for hit, either, _ in iou]),
        "union": mean([hit / either for hit, either, _ in iou if either]),
        "labelled": correct / len(labelled) if labelled else np.nan,
        "all_pixels": correct / len(pixels),
        "mean_accuracy": mean([value for value in accuracy if value == value]),
    }


@pytest.mark.parametrize(
    ("low", "high", "predicted_high"),
    [
        (-1, 5, 5),
        (0, 5, 5),  # nothing ignored
        (-1, 2, 5),  # classes absent from the truth
        (-1, 5, 2),  # classes that are never found
        (-1, 0, 5),  # all ignored
        (3, 4, 4),  # one class only
    ],
)
def test_scores_are_those_of_a_slow_reference(low, high, predicted_high):
    random = np.random.default_rng(high + 7 * predicted_high)
    truth = random.integers(low, high, (6, 5, 7))
    predicted = random.integers(0, predicted_high, truth.shape)
    agree = (random.random(truth.shape) < 0.5) & (truth >= 0)
    predicted = np.where(agree, truth, predicted)
    found = Confusion.empty(5)
    for start in (0, 4):
        found = found.update(truth[start : start + 4], predicted[start : start + 4])
    split = confusion(truth[:1], predicted[:1], 5).merge(
        confusion(truth[1:], predicted[1:], 5)
    )
    np.testing.assert_array_equal(split.counts, found.counts)
    assert split.ignored == found.ignored == (truth == -1).sum()
    assert found.counts.dtype == np.int64
    scores = {
        **{
            rule: segmentation.mean_iou(found, rule=rule)
            for rule in segmentation.MEAN_IOU_RULES
        },
        **{
            rule: segmentation.pixel_accuracy(found, rule=rule)
            for rule in segmentation.ACCURACY_RULES
        },
        "mean_accuracy": segmentation.mean_accuracy(found),
    }
    expected = slow_scores(truth, predicted, 5)
    assert scores.keys() == expected.keys()
    for name, score in scores.items():
        assert score == pytest.approx(expected[name], rel=1e-12, nan_ok=True), name


def test_what_fills_up_a_batch_does_not_count():
    truth = np.array([[[0, 1]], [[1, -1]], [[9, 9]]])
    predicted = np.array([[[0, 0]], [[1, 1]], [[9, 9]]])
    mask = np.array([True, True, False])
    found = confusion(truth, predicted, 2, mask=mask)
    np.testing.assert_array_equal(found.counts, [[1, 0], [1, 1]])
    assert found.ignored == 1


def test_other_labels_are_refused_with_their_value():
    zeros = np.zeros((1, 2, 2), int)
    with pytest.raises(ValueError, match=r"true layout has label 255.*ignored \(-1\)"):
        confusion(zeros + 255, zeros, 3)
    with pytest.raises(ValueError, match=r"predicted layout has label 3.*0 \.\. 2"):
        confusion(zeros, zeros + 3, 3)
    with pytest.raises(ValueError, match=r"\(1, 2, 2\), the predicted ones \(1, 2\)"):
        confusion(zeros, zeros[:, 0], 3)
    with pytest.raises(ValueError, match="'mean'; it is one of present, all, union"):
        segmentation.mean_iou(Confusion.empty(3), rule="mean")


def test_each_class_has_a_row_and_a_line_of_the_table():
    truth = np.array([[[0, 0, 0, 1]]])
    predicted = np.array([[[0, 0, 1, 1]]])
    rows = segmentation.class_rows(confusion(truth, predicted, 3), ["a", "sky", "c"])
    assert rows[1] == {
        "name": "sky",
        "iou": pytest.approx(50),
        "accuracy": pytest.approx(100),
        "share": pytest.approx(25),
    }
    table = segmentation.class_table(rows)
    header, *lines = table.splitlines()
    assert header.split() == ["class", "IoU", "accuracy", "pixels"]
    assert [line.split() for line in lines] == [
        ["a", "66.67", "66.67", "75.00"],
        ["sky", "50.00", "100.00", "25.00"],
        ["c", "-", "-", "0.00"],
    ]
    assert len(set(map(len, table.splitlines()))) == 1
