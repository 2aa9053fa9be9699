import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from spade_jax import mesh


def test_mesh_is_one_axis_over_the_devices():
    everything = mesh.make_mesh()
    assert everything.axis_names == ("data",)
    assert everything.size == len(jax.devices()) == 8
    assert everything.axis_types == (AxisType.Auto,)
    some = mesh.make_mesh(jax.devices()[2:4])
    assert list(some.devices) == jax.devices()[2:4]


@pytest.mark.parametrize(("batch_size", "devices"), [(8, 8), (32, 8), (1, 1), (6, 2)])
def test_batches_that_can_be_shared(batch_size, devices):
    mesh.check_batch_size(batch_size, devices)


@pytest.mark.parametrize(
    ("batch_size", "devices", "choices"),
    [(12, 8, "use 8 or 16"), (4, 8, "use 8,"), (7, 2, "use 6 or 8"), (0, 2, "use 2,")],
)
def test_batches_that_cannot_be_shared(batch_size, devices, choices):
    message = (
        rf"config\.batch_size={batch_size} cannot be shared by {devices} devices\. It"
        rf" is the global batch: {choices}.* multiple of {devices}\."
    )
    with pytest.raises(ValueError, match=message):
        mesh.check_batch_size(batch_size, devices)


def test_batch_is_split_over_the_devices_in_order():
    devices = mesh.make_mesh(jax.devices()[:4])
    batch = {
        "image": np.arange(16.0, dtype=np.float32).reshape(8, 2),
        "edge": np.arange(8) % 2 == 0,
    }
    sharded = mesh.shard_batch(batch, devices)
    for name, array in sharded.items():
        np.testing.assert_array_equal(array, batch[name])
        assert array.dtype == batch[name].dtype
        shards = sorted(array.addressable_shards, key=lambda s: s.device.id)
        assert len(shards) == 4
        for i, shard in enumerate(shards):
            np.testing.assert_array_equal(shard.data, batch[name][2 * i : 2 * i + 2])


def test_strings_are_refused():
    message = r"batch's \['name'\] is of dtype <U1, .* leave it out of the batch"
    batch = {"label": np.zeros((2, 3), np.int32), "name": np.array(["a", "b"])}
    with pytest.raises(TypeError, match=message):
        mesh.shard_batch(batch, mesh.make_mesh(jax.devices()[:2]))


def numbered_batches(count):
    for number in range(count):
        yield {
            "image": np.full((8, 2), number, np.float32),
            "label": np.arange(8, dtype=np.int32) + number,
        }


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("size", [0, 1, 2])
def test_prefetch_gives_the_batches_in_order_split_over_the_devices(count, size):
    devices = mesh.make_mesh()
    found = list(mesh.prefetch(numbered_batches(count), devices, size=size))
    assert len(found) == count
    for batch, expected in zip(found, numbered_batches(count), strict=True):
        sharded = mesh.shard_batch(expected, devices)
        assert batch.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(batch[name], expected[name])
            assert batch[name].sharding == sharded[name].sharding
            assert len(batch[name].addressable_shards) == 8


@pytest.mark.parametrize("size", [0, 1, 2])
def test_prefetch_is_always_as_far_ahead_as_asked(size):
    read = []

    def source():
        for number, batch in enumerate(numbered_batches(6)):
            read.append(number)
            yield batch

    ahead = [
        len(read) - 1 - number
        for number, _ in enumerate(mesh.prefetch(source(), mesh.make_mesh(), size=size))
    ]
    assert ahead == [min(size, 5 - number) for number in range(6)]


@pytest.mark.parametrize("good", [0, 1, 2, 5])
def test_prefetch_passes_an_error_on_after_the_batches_before_it(good):
    def source():
        yield from numbered_batches(good)
        raise KeyError("broken picture")

    prefetched = mesh.prefetch(source(), mesh.make_mesh(), size=2)
    found = [next(prefetched)["image"][0, 0].item() for _ in range(good)]
    assert found == list(range(good))
    with pytest.raises(KeyError, match="broken picture"):
        next(prefetched)


def test_prefetch_leaves_its_source_open():
    source = numbered_batches(9)
    prefetched = mesh.prefetch(source, mesh.make_mesh(), size=2)
    next(prefetched)
    prefetched.close()
    assert next(source)["image"][0, 0] == 3


def test_replicated():
    devices = mesh.make_mesh(jax.devices()[:3])
    array = jax.device_put(np.arange(4), mesh.replicated(devices))
    assert array.sharding.spec == PartitionSpec()
    assert [s.data.shape for s in array.addressable_shards] == [(4,)] * 3


def test_parallel_train_step_shares_the_batch_and_donates_the_state():
    def train_step(state, batch, scale=None, *, update_generator=True):
        """Adds the mean of the whole batch, and knows its own share only."""
        assert batch.shape == (2,)
        mean = jax.lax.pmean(batch.mean(), "data")
        mean = mean if scale is None else mean * scale
        return state + (mean if update_generator else 0.0), {"mean": mean}

    devices = mesh.make_mesh(jax.devices()[:4])
    parallel = mesh.parallel_train_step(train_step, devices)
    state = jax.device_put(jnp.ones(3), mesh.replicated(devices))
    batch = mesh.shard_batch({"x": np.arange(8, dtype=np.float32)}, devices)["x"]
    after, metrics = parallel(state, batch)
    assert after.tolist() == [4.5] * 3
    assert metrics["mean"] == 3.5
    assert state.is_deleted()
    assert not batch.is_deleted()
    assert after.sharding.is_fully_replicated
    after, metrics = parallel(after, batch, 2.0, update_generator=False)
    assert after.tolist() == [4.5] * 3
    assert metrics["mean"] == 7
