"""Scores of a generator, with functions for networks."""

import dataclasses

import numpy as np
import pytest

from spade_jax.evaluation import evaluator as evaluators
from spade_jax.evaluation.nearness import mean_difference
from spade_jax.metrics import frechet, kernel, protocols, segmentation
from spade_jax.metrics.observers import Observers
from spade_jax.progress import Phase

COUNT, SIZE = 11, 8
TRUTH = np.array([0, 1, 2, -1], np.int32)
OWN = protocols.find("own", "any")
CITYSCAPES = protocols.find("paper", "cityscapes")


def colours(images):
    """Three features: the mean colour."""
    return images.mean((1, 2))


def brightest(images):
    """Class 0 is red, 1 green, 2 blue."""
    return images.argmax(-1)


OBSERVERS = Observers(colours, brightest, TRUTH, ("red", "green", "blue"), {})


@pytest.fixture(scope="module")
def dataset():
    """Layouts of ids 0 .. 3, 3 being unknown, and pictures in the classes' colours."""
    random = np.random.default_rng(0)
    label = random.integers(0, 4, (COUNT, SIZE, SIZE)).astype(np.int32)
    label[:, 0] = 3
    colour = np.concatenate([np.eye(3), np.zeros((1, 3))])[label]
    image = colour * random.uniform(0.2, 1, (COUNT, 1, 1, 1)) * 2 - 1
    return {"image": image.astype(np.float32), "label": label}


def batches_of(dataset, size):
    """Batches of a size, the last one filled up."""
    numbers = np.arange(-(-COUNT // size) * size).reshape(-1, size)
    for number in numbers:
        batch = {name: values[number % COUNT] for name, values in dataset.items()}
        yield {
            **batch,
            "truth": TRUTH[batch["label"]],
            "mask": number < COUNT,
            "number": number,
        }


def others_of(dataset):
    """Pictures that differ a little from those of the dataset."""
    return {**dataset, "image": 0.99 * dataset["image"]}


def make(dataset, *, size=4, protocol=OWN, observers=OBSERVERS, keep=True):
    return evaluators.Evaluator(
        protocol=protocol,
        observers=observers,
        reference=evaluators.reference_of(
            batches_of(dataset, size), colours, keep=keep, name="real"
        ),
        batches=lambda: batches_of(dataset, size),
        others=lambda: batches_of(others_of(dataset), size),
        nearness={"l1": mean_difference},
    )


def generate(batch):
    """Every third picture is upside down, in other colours."""
    image = np.where(
        (batch["number"] % 3 == 0)[:, None, None, None],
        batch["image"][:, ::-1],
        batch["image"],
    )
    return 0.8 * image - 0.1


def test_scores_are_those_of_the_whole_set(dataset):
    found = make(dataset).scores(generate)
    fake = generate({**dataset, "number": np.arange(COUNT)})
    real = (dataset["image"] + 1) / 2

    def statistics(images):
        features = colours(images).astype(np.float64)
        return frechet.Statistics(features.mean(0), np.cov(features.T), len(features))

    confusion = segmentation.Confusion.empty(3).update(
        TRUTH[dataset["label"]], brightest(((fake + 1) / 2 * 255).astype(np.uint8))
    )
    expected_distance = frechet.frechet_distance(
        statistics((fake + 1) / 2), statistics(real)
    )
    expected_kernel = kernel.kernel_distance(colours((fake + 1) / 2), colours(real))
    assert found.pictures == COUNT
    assert tuple(found.values) == make(dataset).names
    assert found.values == pytest.approx(
        {
            "fd_own": expected_distance,
            "kd_own": expected_kernel.mean,
            "kd_own_deviation": expected_kernel.deviation,
            "mean_iou": 100 * segmentation.mean_iou(confusion, rule="union"),
            "accuracy": 100 * segmentation.pixel_accuracy(confusion, rule="labelled"),
            "labelled_accuracy": 100
            * segmentation.pixel_accuracy(confusion, rule="labelled"),
            "mean_accuracy": 100 * segmentation.mean_accuracy(confusion),
            "l1": np.abs(fake - dataset["image"]).mean(),
        },
        rel=1e-5,
    )
    np.testing.assert_array_equal(found.confusion.counts, confusion.counts)
    assert 0 < found.values["accuracy"] < 100


@pytest.mark.parametrize("size", [1, 3, COUNT, 16])
def test_ragged_batches_change_nothing(dataset, size):
    expected = make(dataset, size=4).scores(generate)
    found = make(dataset, size=size).scores(generate)
    assert found.values == pytest.approx(expected.values, rel=1e-6, abs=1e-9)
    np.testing.assert_array_equal(found.confusion.counts, expected.confusion.counts)
    assert found.confusion.ignored == expected.confusion.ignored


def test_generators_see_neither_the_truth_nor_the_mask(dataset):
    seen = set()

    def sample(batch):
        seen.update(batch)
        return batch["image"]

    make(dataset).scores(sample)
    assert seen == {"image", "label", "number"}


def test_diversity_is_the_mean_of_the_layouts(dataset):
    def diversity(batch):
        assert set(batch) == {"image", "label", "number"}
        return batch["number"].astype(np.float32)

    evaluator = make(dataset)
    found = evaluator.scores(generate, diversity=diversity)
    assert found.values.pop("diversity") == np.arange(COUNT).mean()
    assert tuple(found.values) == evaluator.names


def test_real_pictures_are_the_ceiling(dataset):
    evaluator = make(dataset)
    found = evaluator.scores(lambda batch: batch["image"])
    assert found.values["fd_own"] == pytest.approx(0, abs=1e-12)
    assert found.values["mean_iou"] == 100
    # Of other pictures, because these are the reference.
    others = make(others_of(dataset)).reference.statistics
    expected = frechet.frechet_distance(others, evaluator.reference.statistics)
    assert evaluator.ceiling == pytest.approx(
        {name: found.values[name] for name in evaluator.ceiling} | {"fd_own": expected}
    )
    assert expected > 1e-6


def test_real_comes_before_synthesised_before_untrained(dataset):
    evaluator = make(dataset)

    def grey(batch):
        return np.zeros_like(batch["image"])

    real = evaluator.ceiling
    synthesised, untrained = (evaluator.scores(f).values for f in (generate, grey))
    for name in ("mean_iou", "accuracy"):
        assert real[name] > synthesised[name] > untrained[name]
    assert real["fd_own"] < synthesised["fd_own"] < untrained["fd_own"]


def test_ignored_pixels_are_wrong_where_the_protocol_says_so(dataset):
    protocol = dataclasses.replace(OWN, accuracy="all_pixels")
    found = make(dataset, protocol=protocol).scores(lambda batch: batch["image"])
    labelled = (TRUTH[dataset["label"]] >= 0).mean()
    assert found.values["accuracy"] == pytest.approx(100 * labelled)
    assert found.values["labelled_accuracy"] == 100


def test_pictures_are_quantised_and_enlarged_as_the_protocol_says(dataset):
    shown, segmented = [], []

    def features(images):
        shown.append(images)
        return colours(images)

    def classes(images):
        segmented.append(images)
        return brightest(images)

    def batches():
        for batch in batches_of(dataset, 4):
            truth = batch["truth"].repeat(2, 1).repeat(2, 2)
            yield {**batch, "truth": truth}

    small = protocols.SegmenterSpec("own", size=(2 * SIZE, 2 * SIZE))
    evaluator = dataclasses.replace(
        make(dataset),
        protocol=dataclasses.replace(CITYSCAPES, segmenter=small, square_root="eigh"),
        observers=OBSERVERS._replace(features=features, classes=classes),
        batches=batches,
    )
    found = evaluator.scores(lambda batch: np.full_like(batch["image"], 0.5))
    # 0.75 * 255 = 191.25, truncated.
    assert {value for image in shown for value in np.unique(image)} == {
        np.float32(191 / 255)
    }
    assert {images.shape[1:] for images in segmented} == {(16, 16, 3)}
    assert {images.dtype for images in segmented} == {np.dtype(np.uint8)}
    assert "fid" in found.values
    assert "kid" in found.values


def test_statistics_from_a_file_give_no_kernel_distance(dataset):
    evaluator = make(dataset, keep=False)
    found = evaluator.scores(generate)
    assert tuple(found.values) == evaluator.names
    assert "fd_own" in found.values
    assert "kd_own" not in found.values


def test_few_pictures_are_told(dataset):
    def wide(images):
        return images.reshape(len(images), -1)

    evaluator = dataclasses.replace(
        make(dataset),
        observers=OBSERVERS._replace(features=wide),
        reference=evaluators.reference_of(
            batches_of(dataset, 4), wide, keep=False, name="real"
        ),
    )
    warnings = evaluator.scores(generate).warnings
    assert [warning.partition(" has ")[0] for warning in warnings] == [
        "The synthesised set",
        "The reference set",
    ]
    assert make(dataset).scores(generate).warnings == ()
    before = dataclasses.replace(evaluator, warnings=("Of another size.",))
    assert before.scores(generate).warnings == ("Of another size.", *warnings)


def test_pictures_that_cannot_be_compared(dataset):
    def sample(batch):
        nan = (batch["number"] == 6)[:, None, None, None]
        return np.where(nan, np.nan, batch["image"])

    with pytest.raises(ValueError, match="not finite of layout 6"):
        make(dataset).scores(sample)
    one = ({**batch, "mask": batch["number"] < 1} for batch in batches_of(dataset, 4))
    with pytest.raises(ValueError, match="real has 1 picture"):
        evaluators.reference_of(one, colours, keep=False, name="real")


def test_each_look_at_the_pictures_is_announced(dataset, caplog):
    caplog.set_level("INFO", "spade_jax")
    evaluator = dataclasses.replace(make(dataset), num_pictures=COUNT)
    with pytest.MonkeyPatch.context() as patch:
        counts = []
        patch.setattr(Phase, "at", lambda self, done: counts.append(done))
        evaluator.scores(generate)
        assert evaluator.ceiling
    begun = [record.told for record in caplog.records]
    assert [told["phase"] for told in begun] == [
        "Synthesising pictures, and looking at them",
        "Comparing the sets of features",
        "Looking at the real pictures of the same layouts",
        "Looking at other real pictures",
    ]
    assert [told.get("total") for told in begun] == [COUNT, None, COUNT, COUNT]
    # Batches of four, the last filled up, which `Phase.at` takes off.
    assert counts == [4, 8, 12, 4, 8, 12, 4, 8, COUNT]
