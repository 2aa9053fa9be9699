import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from spade_jax.devices import mesh
from spade_jax.nets.norm import (
    BatchNorm,
    Norm,
    NormSpec,
    instance_norm,
    parse_norm,
    parse_spade_norm,
)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("spectralspadesyncbatch3x3", NormSpec("syncbatch", True, 3)),
        ("spadesyncbatch3x3", NormSpec("syncbatch", False, 3)),
        ("spadesync_batch1x1", NormSpec("syncbatch", False, 1)),
        ("spectralspadebatch7x7", NormSpec("batch", True, 7)),
        ("spadeinstance5x5", NormSpec("instance", False, 5)),
        ("spectralspadeinstance11x11", NormSpec("instance", True, 11)),
        ("spectralcladesyncbatch", NormSpec("syncbatch", True, by_class=True)),
        (
            "cladeicpesync_batch",
            NormSpec("syncbatch", False, by_class=True, positions=True),
        ),
    ],
)
def test_spade_norm_names(name, spec):
    assert parse_spade_norm(name) == spec


@pytest.mark.parametrize(
    "name",
    [
        "",
        "spectralinstance",
        "spadesyncbatch",
        "spadesyncbatch3x5",
        "spadesyncbatch4x4",
        "spadenone3x3",
        "spectral spadebatch3x3",
        "spadebatch3x3x3",
        "SpadeBatch3x3",
        "cladesyncbatch3x3",
        "cladenone",
        "icpecladebatch",
    ],
)
def test_bad_spade_norm_names(name):
    message = f"SPADE norm '{name}' is not understood.*'spectralspadesyncbatch3x3'"
    with pytest.raises(ValueError, match=message):
        parse_spade_norm(name)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("spectralinstance", NormSpec("instance", True)),
        ("instance", NormSpec("instance", False)),
        ("spectralsyncbatch", NormSpec("syncbatch", True)),
        ("sync_batch", NormSpec("syncbatch", False)),
        ("batch", NormSpec("batch", False)),
        ("spectral", NormSpec("none", True)),
        ("spectralnone", NormSpec("none", True)),
        ("none", NormSpec("none", False)),
        ("", NormSpec("none", False)),
    ],
)
def test_norm_names(name, spec):
    assert parse_norm(name) == spec


@pytest.mark.parametrize("name", ["layer", "spadebatch3x3", "instancespectral"])
def test_bad_norm_names(name):
    with pytest.raises(
        ValueError, match=f"norm '{name}' is not understood.*'spectrali"
    ):
        parse_norm(name)


def random_images(shape=(8, 3, 5, 4)):
    random = np.random.default_rng(0)
    scale = np.arange(1, shape[-1] + 1)
    return (random.standard_normal(shape) * scale + 3 * scale).astype(np.float32)


STATS = {
    "mean": np.array([1.0, -2.0, 0.0, 0.5], np.float32),
    "var": np.array([2.0, 0.5, 1.0, 3.0], np.float32),
    "count": np.array(4, np.int32),
}


def test_batch_norm_in_training():
    """Biased variance to normalise by, unbiased in the running average, as torch."""
    x = random_images()
    y, updated = BatchNorm(synchronised=False).apply(
        {"batch_stats": STATS}, x, train=True, mutable=["batch_stats"]
    )
    flat = x.reshape(-1, 4).astype(np.float64)
    mean = flat.mean(0)
    biased = ((flat - mean) ** 2).sum(0) / len(flat)
    unbiased = ((flat - mean) ** 2).sum(0) / (len(flat) - 1)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(biased + 1e-5), atol=1e-5)
    running = updated["batch_stats"]
    np.testing.assert_allclose(
        running["mean"], 0.9 * STATS["mean"] + 0.1 * mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        running["var"], 0.9 * STATS["var"] + 0.1 * unbiased, rtol=1e-5
    )
    assert running["count"] == 5


def test_batch_norm_in_evaluation():
    """Uses the running averages and leaves them alone."""
    x = random_images()
    variables = {
        "batch_stats": STATS,
        "params": {"scale": np.full(4, 3.0), "bias": np.arange(4.0)},
    }
    module = BatchNorm(affine=True)
    y, updated = module.apply(variables, x, train=False, mutable=["batch_stats"])
    expected = (x - STATS["mean"]) / np.sqrt(STATS["var"] + 1e-5) * 3 + np.arange(4)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert not updated.get("batch_stats") or all(
        np.array_equal(updated["batch_stats"][k], STATS[k]) for k in STATS
    )


def test_batch_norm_variance_does_not_cancel():
    """A mean far above the deviation, where E[x^2] - E[x]^2 would be rubbish."""
    x = 3000 + random_images()
    y, _ = BatchNorm().apply(
        {"batch_stats": STATS}, x, train=True, mutable=["batch_stats"]
    )
    assert np.asarray(y).std((0, 1, 2)) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("synchronised", [True, False])
def test_batch_norm_before_up_sampling_is_that_after_it(synchronised):
    x = random_images()
    module = BatchNorm(synchronised=synchronised)
    variables = module.init(jax.random.key(0), x, train=True)
    apply = functools.partial(
        module.apply, variables, train=True, mutable=["batch_stats"]
    )
    small, small_stats = apply(x, repeats=4)
    large, large_stats = apply(x.repeat(2, 1).repeat(2, 2))
    np.testing.assert_allclose(small.repeat(2, 1).repeat(2, 2), large, atol=1e-5)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
        small_stats,
        large_stats,
    )


def test_batch_norm_of_one_value_is_refused():
    with pytest.raises(ValueError, match=r"more than one value per feature.*larger"):
        BatchNorm().apply(
            {"batch_stats": STATS},
            np.zeros((1, 1, 1, 4)),
            train=True,
            mutable=["batch_stats"],
        )


def on_devices(num_devices, module, x):
    """(output, statistics) of a training forward shared by devices."""

    def forward(x):
        return module.apply(
            {"batch_stats": STATS}, x, train=True, mutable=["batch_stats"]
        )

    call = jax.shard_map(
        forward,
        mesh=mesh.make_mesh(jax.devices()[:num_devices]),
        in_specs=PartitionSpec("data"),
        out_specs=(PartitionSpec("data"), PartitionSpec()),
        check_vma=False,
    )
    y, updated = jax.jit(call)(x)
    return np.asarray(y), jax.device_get(updated["batch_stats"])


def test_synchronised_batch_norm_sees_the_batch_of_all_devices():
    x = random_images()
    module = BatchNorm(axis_name="data")
    one, eight = (on_devices(n, module, x) for n in (1, 8))
    np.testing.assert_allclose(eight[0], one[0], atol=1e-5)
    np.testing.assert_allclose(eight[1]["mean"], one[1]["mean"], rtol=1e-5)
    np.testing.assert_allclose(eight[1]["var"], one[1]["var"], rtol=1e-5)
    # As officially, where the synchronised batch norm never counts.
    assert one[1]["count"] == eight[1]["count"] == 4


def test_batch_norm_a_device_sees_its_own_batch():
    """And the running averages are the mean over devices."""
    x = random_images()
    y, running = on_devices(8, BatchNorm(axis_name="data", synchronised=False), x)
    mean = x.mean((1, 2), keepdims=True)
    var = x.var((1, 2), keepdims=True)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-4)
    np.testing.assert_allclose(
        running["mean"], 0.9 * STATS["mean"] + 0.1 * mean.mean((0, 1, 2)), rtol=1e-5
    )
    unbiased = x.var((1, 2), ddof=1).mean(0)
    np.testing.assert_allclose(
        running["var"], 0.9 * STATS["var"] + 0.1 * unbiased, rtol=1e-5
    )
    assert running["count"] == 5


def test_instance_norm():
    x = random_images()
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    np.testing.assert_allclose(
        instance_norm(x), (x - mean) / np.sqrt(var + 1e-5), atol=1e-5
    )


@pytest.mark.parametrize("kind", ["batch", "syncbatch", "instance"])
def test_statistics_are_float32_for_bfloat16_inputs(kind):
    """64 x 64 ones and one other value: a bfloat16 sum would lose it."""
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16).at[0, 0, 0].set(65)
    module = Norm(kind)
    variables = module.init(jax.random.key(0), x, train=False)
    y, updated = module.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    # mean 1 + 64 / 4096 and deviation very nearly 1.
    assert float(y[0, 0, 0, 0]) == pytest.approx(64, rel=0.01)
    assert all(
        leaf.dtype in (jnp.float32, jnp.int32) for leaf in jax.tree.leaves(updated)
    )
    if updated:
        mean = updated["batch_stats"]["batch"]["mean"]
        assert float(mean[0]) == pytest.approx(0.1 * (1 + 64 / 4096), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "affine", "params"),
    [
        ("none", True, []),
        ("instance", True, []),
        ("syncbatch", True, ["bias", "scale"]),
        ("batch", False, []),
    ],
)
def test_only_batch_norms_learn(kind, affine, params):
    """And SPADE's do not either: there the modulation is what is learned."""
    x = random_images()
    variables = Norm(kind, affine=affine).init(jax.random.key(0), x, train=False)
    assert sorted(variables.get("params", {}).get("batch", {})) == params
    if kind == "none":
        assert Norm(kind).apply({}, x, train=True) is x
