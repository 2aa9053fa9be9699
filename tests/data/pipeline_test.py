from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from spade_jax.data.error import DataError
from spade_jax.data.example import Example
from spade_jax.data.folder import FolderSource
from spade_jax.data.pipeline import _told, batches
from spade_jax.data.transforms import Preprocess, edges, to_float


class Numbers:
    """Ten-odd examples whose every pixel is the example's number."""

    def __init__(self, length: int, *, instances: bool = False):
        self.length = length
        self.instances = instances

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        label = np.full((2, 3), index, np.int32)
        return Example(
            image=np.repeat(label[..., None], 3, -1).astype(np.uint8),
            label=label,
            instance=np.arange(6).reshape(2, 3) if self.instances else None,
            name=f"number {index}",
        )


def unchanged(example: Example, rng: np.random.Generator) -> Example:
    return example


def with_draw(example: Example, rng: np.random.Generator) -> Example:
    """Puts a random number into the last row of the label."""
    label = example.label.copy()
    label[-1] = rng.integers(1_000_000)
    return example._replace(label=label)


def take(count: int | None, source, **kwargs) -> list[dict[str, np.ndarray]]:
    arguments = {"seed": 0, "shuffle": True, "transform": with_draw, "names": True}
    iterator = batches(source, **(arguments | kwargs))
    found = list(itertools.islice(iterator, count))
    iterator.close()
    return found


def numbers(found: list[dict[str, np.ndarray]]) -> np.ndarray:
    """The examples' numbers, in order."""
    return np.concatenate([batch["label"][:, 0, 0] for batch in found])


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
            assert a[key].dtype == b[key].dtype


def test_batch_has_the_documented_arrays():
    source = Numbers(4, instances=True)
    (batch,) = take(1, source, batch_size=4, transform=unchanged, shuffle=False)
    assert batch.keys() == {"image", "label", "edge", "name"}
    assert batch["image"].dtype == np.float32
    assert batch["label"].dtype == np.int32
    assert batch["edge"].dtype == bool
    assert batch["name"].tolist() == [source[i].name for i in range(4)]
    for i in range(4):
        np.testing.assert_array_equal(batch["image"][i], to_float(source[i].image))
        np.testing.assert_array_equal(batch["label"][i], source[i].label)
        np.testing.assert_array_equal(batch["edge"][i], edges(source[i].instance))


def test_optional_arrays_are_absent():
    (batch,) = take(1, Numbers(4), batch_size=2, names=False)
    assert batch.keys() == {"image", "label"}


def test_finish_sees_each_batch_before_its_images_are_floats():
    def finish(batch):
        assert batch["image"].dtype == np.uint8
        return batch | {"largest": batch["image"].max(axis=(1, 2, 3))}

    arguments = {"batch_size": 2, "shuffle": False}
    found = take(2, Numbers(4), finish=finish, **arguments)
    assert [batch.pop("largest").tolist() for batch in found] == [[0, 1], [2, 3]]
    assert_same(found, take(2, Numbers(4), **arguments))


def test_every_epoch_is_a_new_order_of_all_examples():
    epochs = numbers(take(15, Numbers(10), batch_size=2)).reshape(3, 10)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_every_epoch_draws_anew():
    draws = np.stack(
        [batch["label"][:, -1, 0] for batch in take(3, Numbers(6), batch_size=6)]
    )
    assert len(np.unique(draws)) == draws.size


def test_order_and_draws_depend_on_the_seed():
    first, same, other = (
        take(5, Numbers(20), batch_size=4, seed=seed) for seed in (1, 1, 2)
    )
    assert_same(first, same)
    assert (numbers(first) != numbers(other)).any()


def test_without_shuffle_the_order_is_that_of_the_source():
    found = numbers(take(5, Numbers(5), batch_size=2, shuffle=False))
    np.testing.assert_array_equal(found, np.arange(10) % 5)


def test_a_batch_may_hold_two_epochs():
    found = numbers(take(5, Numbers(10), batch_size=4))
    assert sorted(found[:10]) == sorted(found[10:]) == list(range(10))


@pytest.mark.parametrize(
    ("process_count", "workers", "start"),
    [
        (1, 0, 0),
        (1, 0, 1),
        (1, 0, 7),
        (1, 1, 0),
        (1, 3, 3),
        (2, 0, 0),
        (2, 0, 3),
        pytest.param(2, 2, 3, marks=pytest.mark.long),
        (4, 0, 3),
    ],
)
def test_order_of_three_epochs_is_one_for_any_processes_workers_and_restore(
    make_folder, process_count, workers, start
):
    """`start` is the batch that a restored run goes on with, amid an epoch or 0."""
    source = FolderSource(
        make_folder(10, instances=True), "train", num_classes=4, instances=True
    )
    arguments = {
        "batch_size": 4,
        "transform": Preprocess(mode="crop", load_size=1, crop_size=6),
    }
    # 3 epochs of 10 examples in 7.5 batches of 4: one process, threads, from the start.
    whole = take(8, source, **arguments)
    names = np.concatenate([batch["name"] for batch in whole])[:30].reshape(3, 10)
    everything = [source[i].name for i in range(10)]
    assert [sorted(epoch) for epoch in names] == [everything] * 3
    assert len({tuple(epoch) for epoch in names}) == 3

    shares = [
        take(
            8 - start,
            source,
            process_index=index,
            process_count=process_count,
            workers=workers,
            start_batch=start,
            **arguments,
        )
        for index in range(process_count)
    ]
    together = [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for parts in zip(*shares, strict=True)
    ]
    found = np.concatenate([batch["name"] for batch in together])[: 30 - 4 * start]
    assert found.tolist() == names.flatten()[4 * start :].tolist()
    # The pictures too, and so the geometry drawn for each.
    assert_same(together, whole[start:])


def test_workers_pass_errors_on(make_folder):
    root = make_folder(2)
    (root / "train_img" / "001.png").write_bytes(b"")
    source = FolderSource(root, "train", num_classes=4)
    transform = Preprocess(mode="crop", load_size=1, crop_size=6)
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"train_img/001\.png: cannot read"):
            take(3, source, batch_size=1, transform=transform, workers=workers)


def test_a_worker_that_is_killed_is_told(monkeypatch):
    """As Grain (0.2) says it, which a killed process takes seconds to show."""

    class Iterator:
        closed = False

        def __iter__(self):
            yield {"label": 1}
            raise RuntimeError(
                "Worker process was terminated unexpectedly with exit code -9."
            )

        def close(self):
            self.closed = True

    of_grain = Iterator()
    found = _told(of_grain, workers=3)
    assert next(found) == {"label": 1}
    message = r"config\.data\.workers=3 processes .* ended from outside.*code -9"
    with pytest.raises(DataError, match=message):
        next(found)
    assert of_grain.closed


def test_evaluation_reads_every_example_once_and_masks_the_rest():
    found = take(None, Numbers(10), batch_size=4, num_epochs=1, shuffle=False, seed=0)
    assert len(found) == 3
    assert [batch["mask"].tolist() for batch in found] == [
        [True] * 4,
        [True] * 4,
        [True, True, False, False],
    ]
    mask = np.concatenate([batch["mask"] for batch in found])
    np.testing.assert_array_equal(numbers(found)[mask], np.arange(10))
    assert mask.dtype == bool


def test_evaluation_of_fewer_examples_than_processes():
    arguments = {"num_epochs": 1, "shuffle": False, "process_count": 4}
    shares = [
        take(None, Numbers(1), batch_size=8, process_index=index, **arguments)
        for index in range(4)
    ]
    assert [len(share) for share in shares] == [1] * 4
    masks = [share[0]["mask"].tolist() for share in shares]
    assert masks == [[True, False]] + [[False, False]] * 3


def test_evaluation_of_whole_batches_masks_nothing():
    found = take(None, Numbers(6), batch_size=3, num_epochs=2)
    assert len(found) == 4
    assert all(batch["mask"].all() for batch in found)
    assert sorted(numbers(found)) == sorted([*range(6), *range(6)])


def test_sizes_that_differ_are_named():
    class Growing(Numbers):
        def __getitem__(self, index):
            label = np.zeros((4, 4 + index), np.int32)
            image = np.zeros((4, 4 + index, 3), np.uint8)
            return Example(image, label, None, f"number {index}")

    message = (
        r"differ in size: number 0 is 4x4, number 1 is 5x4 \(width x height\) "
        r"once preprocessed.*config\.data\.preprocess_mode"
    )
    arguments = {"shuffle": False, "transform": unchanged}
    with pytest.raises(DataError, match=message):
        take(1, Growing(3), batch_size=3, **arguments)
    shapes = [b["label"].shape for b in take(3, Growing(3), batch_size=1, **arguments)]
    assert shapes == [(1, 4, 4), (1, 4, 5), (1, 4, 6)]


def test_batch_size_must_be_divisible():
    message = (
        r"batch size 6 is not divisible by the 4 processes\. Set config\.batch_size to "
        r"4 or 8, or run 1, 2, 3, 6 processes"
    )
    with pytest.raises(ValueError, match=message):
        take(1, Numbers(4), batch_size=6, process_count=4)
    with pytest.raises(ValueError, match=r"batch size 1 .* to 2, or run 1 processes"):
        take(1, Numbers(4), batch_size=1, process_count=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"process_index": 2, "process_count": 2}, "process_index=2 is not one of 2"),
        ({"process_index": -1}, "process_index=-1 is not one of 1"),
        ({"start_batch": -1}, "start_batch=-1 must not be negative"),
        ({"workers": -1}, "workers=-1 .* must not be negative"),
    ],
)
def test_numbers_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        take(1, Numbers(4), batch_size=2, **arguments)


def test_empty_source():
    with pytest.raises(DataError, match=r"Numbers.* has no examples"):
        take(1, Numbers(0), batch_size=2)


def test_preprocess_is_picklable():
    transform = Preprocess(mode="crop", load_size=1, crop_size=6)
    assert pickle.loads(pickle.dumps(transform)) == transform
