import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from spade_jax.devices import batches, mesh
from spade_jax.devices.parallel import parallel_train_step


def test_mesh_is_over_the_devices():
    everything = mesh.make_mesh()
    assert everything.axis_names == ("data", "spatial")
    assert dict(everything.shape) == {"data": len(jax.devices()), "spatial": 1}
    assert everything.axis_types == (AxisType.Auto,) * 2
    some = mesh.make_mesh(jax.devices()[2:6], spatial=2)
    assert some.devices.tolist() == [jax.devices()[2:4], jax.devices()[4:6]]
    assert mesh.local_shares(some) == 2


@pytest.mark.parametrize("spatial", [0, 3, 16])
def test_devices_that_cannot_be_grouped(spatial):
    message = (
        rf"config\.spatial={spatial} does not divide the 8 .*: use 1 or 2 or 4 or 8"
    )
    with pytest.raises(ValueError, match=message):
        mesh.make_mesh(spatial=spatial)


@pytest.mark.parametrize(
    ("batch_size", "devices", "options"),
    [
        (8, 8, {}),
        (32, 8, {"accumulate": 2}),
        (1, 1, {"height": 5}),
        (6, 2, {"accumulate": 3}),
    ],
)
def test_batches_that_can_be_shared(batch_size, devices, options):
    mesh.check_batch(batch_size, mesh.make_mesh(jax.devices()[:devices]), **options)


@pytest.mark.parametrize(
    ("batch_size", "devices", "spatial", "accumulate", "message"),
    [
        (12, 8, 1, 1, "by 8 devices. .*: use 8 or 16, .* multiple of 8"),
        (4, 8, 1, 1, "by 8 devices. .*: use 8, .* multiple of 8"),
        (7, 2, 1, 1, "by 2 devices. .*: use 6 or 8, .* multiple of 2"),
        (0, 2, 1, 1, "by 2 devices. .*: use 2, .* multiple of 2"),
        (3, 8, 4, 1, "by 2 groups of 4. .*: use 2 or 4, .* multiple of 2"),
        (8, 4, 1, 3, "by 4 devices in config.accumulate=3 parts. .*: use 12, .* of 12"),
    ],
)
def test_batches_that_cannot_be_shared(
    batch_size, devices, spatial, accumulate, message
):
    shared = mesh.make_mesh(jax.devices()[:devices], spatial=spatial)
    message = rf"config\.batch_size={batch_size} cannot be shared {message}"
    with pytest.raises(ValueError, match=message):
        mesh.check_batch(batch_size, shared, accumulate=accumulate)


def test_pictures_that_cannot_be_shared():
    shared = mesh.make_mesh(jax.devices()[:4], spatial=4)
    with pytest.raises(ValueError, match=r"config\.spatial=4 .* pictures that are 66"):
        mesh.check_batch(4, shared, height=66)
    with pytest.raises(ValueError, match=r"config\.accumulate=0 must be 1 or more"):
        mesh.check_batch(4, shared, accumulate=0)


def test_pictures_are_split_over_both_axes():
    shared = mesh.make_mesh(jax.devices()[:4], spatial=2)
    label = np.arange(2 * 4 * 3).reshape(2, 4, 3)
    batch = {"label": label, "tables": {"count": np.arange(4).reshape(2, 2)}}
    sharded = batches.shard_batch(batch, shared)
    for i, shard in enumerate(sharded["label"].addressable_shards):
        rows = slice(2 * (i % 2), 2 * (i % 2) + 2)
        np.testing.assert_array_equal(shard.data, label[i // 2 : i // 2 + 1, rows])
    for i, shard in enumerate(sharded["tables"]["count"].addressable_shards):
        np.testing.assert_array_equal(shard.data, batch["tables"]["count"][[i // 2]])


def test_batch_is_split_over_the_devices_in_order():
    devices = mesh.make_mesh(jax.devices()[:4])
    batch = {
        "image": np.arange(16.0, dtype=np.float32).reshape(8, 2),
        "edge": (np.arange(8) % 2 == 0)[:, None],
    }
    sharded = batches.shard_batch(batch, devices)
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
        batches.shard_batch(batch, mesh.make_mesh(jax.devices()[:2]))


def numbered_batches(count):
    for number in range(count):
        yield {
            "image": np.full((8, 2), number, np.float32),
            "label": np.full((8, 2), number, np.int32),
        }


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("size", [0, 1, 2])
def test_prefetch_gives_the_batches_in_order_split_over_the_devices(count, size):
    devices = mesh.make_mesh()
    found = list(batches.prefetch(numbered_batches(count), devices, size=size))
    assert len(found) == count
    for batch, expected in zip(found, numbered_batches(count), strict=True):
        sharded = batches.shard_batch(expected, devices)
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
        for number, _ in enumerate(
            batches.prefetch(source(), mesh.make_mesh(), size=size)
        )
    ]
    assert ahead == [min(size, 5 - number) for number in range(6)]


@pytest.mark.parametrize("good", [0, 1, 2, 5])
def test_prefetch_passes_an_error_on_after_the_batches_before_it(good):
    def source():
        yield from numbered_batches(good)
        raise KeyError("broken picture")

    prefetched = batches.prefetch(source(), mesh.make_mesh(), size=2)
    found = [next(prefetched)["image"][0, 0].item() for _ in range(good)]
    assert found == list(range(good))
    with pytest.raises(KeyError, match="broken picture"):
        next(prefetched)


def test_prefetch_leaves_its_source_open():
    source = numbered_batches(9)
    prefetched = batches.prefetch(source, mesh.make_mesh(), size=2)
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
    parallel = parallel_train_step(train_step, devices)
    state = jax.device_put(jnp.ones(3), mesh.replicated(devices))
    batch = batches.shard_batch({"x": np.arange(8, dtype=np.float32)}, devices)["x"]
    after, metrics = parallel(state, batch)
    assert after.tolist() == [4.5] * 3
    assert metrics["mean"] == 3.5
    assert state.is_deleted()
    assert not batch.is_deleted()
    assert after.sharding.is_fully_replicated
    after, metrics = parallel(after, batch, 2.0, update_generator=False)
    assert after.tolist() == [4.5] * 3
    assert metrics["mean"] == 7
