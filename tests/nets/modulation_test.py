"""The factored modulation is the dense one: values and gradients."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spade_jax.data import decode_map, edges
from spade_jax.kernels import onednn
from spade_jax.kernels.choose import TABLE_ROWS, TableRows
from spade_jax.layout import Layout
from spade_jax.layout.neighbourhoods import tabulate
from spade_jax.nets import SPADEGenerator
from spade_jax.nets.factored import Kernel
from spade_jax.nets.modulation import ModulationWeights, modulate

CLASSES, HIDDEN, FEATURES = 5, 4, (3, 6)
SHAPE = (2, 9, 12)


def weights_of(kernel_size, *, edges, noise_size=0, seed=0):
    """Of two SPADEs that see one layout."""
    random = np.random.default_rng(seed)

    def kernel(inputs, outputs):
        shape = (kernel_size, kernel_size, inputs, outputs)
        scale = 1 / np.sqrt(np.prod(shape[:-1]))
        return Kernel(
            scale * random.standard_normal(shape), random.standard_normal(outputs)
        )

    found = [
        ModulationWeights(
            kernel(noise_size + CLASSES + edges, HIDDEN),
            kernel(HIDDEN, f),
            kernel(HIDDEN, f),
        )
        for f in FEATURES
    ]
    return jax.tree.map(lambda x: x.astype(np.float32), found)


def value_of(weights, layout, *, rows):
    """A scalar of modulations, and these."""
    found = modulate(
        layout,
        weights,
        num_classes=CLASSES,
        dtype=weights[0].gamma.kernel.dtype,
        rows=rows,
    )
    pixels = [m.at_pixels() for m in found]
    # Every value has a weight of its own.
    scalar = sum(
        (jnp.sin(x) * jnp.arange(x.size).reshape(x.shape) / x.size).sum()
        for x in jax.tree.leaves(pixels)
    )
    return scalar, pixels


def value_and_gradients(*, rows=TABLE_ROWS):
    """A jitted function of (weights, layout): modulations, and gradients of them."""
    value = functools.partial(value_of, rows=rows)
    return jax.jit(jax.value_and_grad(value, has_aux=True))


def assert_each_near(ours, theirs):
    """Every array to 1e-4 of its largest value.

    Or, as a bias before a norm has gradients of rounding errors, to 1e-6 of the largest
    value of all.
    """
    largest = max(np.abs(y).max() for y in jax.tree.leaves(theirs))
    for (path, x), y in zip(
        jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True
    ):
        near = 1e-4 * max(np.abs(y).max(), 1e-2 * largest)
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(x, y, rtol=0, atol=near, err_msg=name)


@st.composite
def layouts(draw, *, edges):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["one class", "patches", "noise", "no class"]))
    label = random.integers(0, CLASSES, SHAPE).astype(np.int32)
    if kind == "one class":
        label[:] = draw(st.integers(0, CLASSES - 1))
    elif kind == "patches":
        label = label[:, ::3, ::4].repeat(3, 1).repeat(4, 2)
    elif kind == "no class":
        # Ids that are no classes have no plane.
        label[0, :3] = draw(st.sampled_from([-1, CLASSES, 99]))
    share = draw(st.sampled_from([0.0, 0.05, 0.5]))
    # Only a pixel of a class is an edge in data.
    edge = (random.random(SHAPE) < share) & (label >= 0) & (label < CLASSES)
    return Layout(label, edge if edges else None)


# Every one of each by turns; all with all are long.
DAILY = {(1, False, 32), (3, True, 1024), (3, False, 32), (5, True, 32)}


@pytest.mark.parametrize(
    ("kernel_size", "edges", "chunk"),
    [
        pytest.param(*case, marks=[] if case in DAILY else pytest.mark.long)
        for case in itertools.product((1, 3, 5), (False, True), (32, 1024))
    ],
)
def test_factored_equals_dense(relative_error, kernel_size, edges, chunk):
    weights = weights_of(kernel_size, edges=edges)
    compute = value_and_gradients(rows=TableRows(chunk, chunk + 1))

    @settings(max_examples=12, deadline=None)
    @given(layouts(edges=edges))
    def equal(layout):
        tabulated = tabulate(layout, [layout.size], kernel_size=kernel_size)
        (_, dense), of_dense = compute(weights, layout)
        (_, factored), of_factored = compute(weights, tabulated)
        assert relative_error(factored, dense) < 1e-5
        assert_each_near(of_factored, of_dense)

    equal()


def test_gradients_are_right_in_float64(relative_error):
    with jax.enable_x64(True):
        weights = jax.tree.map(np.float64, weights_of(3, edges=True))
        random = np.random.default_rng(1)
        layout = Layout(
            random.integers(0, 2, SHAPE).astype(np.int32), random.random(SHAPE) < 0.1
        )
        tabulated = tabulate(layout, [layout.size], kernel_size=3)
        compute = value_and_gradients()
        (_, dense), of_dense = compute(weights, layout)
        (_, factored), of_factored = compute(weights, tabulated)
        assert relative_error(factored, dense) < 1e-13
        assert relative_error(of_factored, of_dense) < 1e-12


@pytest.mark.parametrize(
    ("by_region", "kernel_size"),
    [
        (False, 1),
        (True, 3),
        pytest.param(False, 3, marks=pytest.mark.long),
        pytest.param(True, 1, marks=pytest.mark.long),
    ],
)
def test_noise_of_each_picture_or_region(by_region, kernel_size, relative_error):
    """It is under the taps within the picture: less of it counts at the border."""
    with jax.enable_x64(True):
        random = np.random.default_rng(1)
        label = random.integers(0, 2, SHAPE).astype(np.int32)
        label[1] = label[0]  # alike, but for the noise
        edge = np.stack([random.random(SHAPE[1:]) < 0.1] * 2)
        noise = random.standard_normal((5 if by_region else 2, 3))
        regions = random.integers(0, 5, SHAPE).astype(np.int32) if by_region else None
        weights = jax.tree.map(
            np.float64, weights_of(kernel_size, edges=True, noise_size=3)
        )
        layout = Layout(label, edge, noise=noise, regions=regions)
        tabulated = tabulate(layout, [layout.size], kernel_size=kernel_size, apart=True)
        shared = tabulate(layout, [layout.size], kernel_size=kernel_size)
        counts = [t.neighbourhoods.count[0] for t in (tabulated, shared)]
        if by_region:
            assert (counts[0] > counts[1]).all()
        else:
            np.testing.assert_array_equal(counts[0], 2 * counts[1])

        @jax.jit
        def compute(weights, noise, layout):
            def value(weights, noise):
                return value_of(weights, layout._replace(noise=noise), rows=TABLE_ROWS)

            return jax.value_and_grad(value, (0, 1), has_aux=True)(weights, noise)

        (_, dense), of_dense = compute(weights, noise, layout)
        (_, factored), of_factored = compute(weights, noise, tabulated)
        assert relative_error(factored, dense) < 1e-13
        assert relative_error(of_factored, of_dense) < 1e-12


def test_real_layouts(shared, relative_error):
    weights = weights_of(3, edges=True)
    compute = value_and_gradients()
    for stem in ("000000000139", "000000001490"):
        part = slice(60, 180, 2), slice(100, 260, 2)
        folder = shared / "coco_stuff_sample"
        label = decode_map(folder / "val_label" / f"{stem}.png", where=stem)[part]
        instance = decode_map(folder / "val_inst" / f"{stem}.png", where=stem)[part]
        layout = Layout((label % CLASSES)[None], edges(instance)[None])
        tabulated = tabulate(layout, [layout.size], kernel_size=3)
        count = tabulated.neighbourhoods.count[0, 1]
        assert count < 0.8 * label.size
        (_, dense), of_dense = compute(weights, layout)
        (_, factored), of_factored = compute(weights, tabulated)
        assert relative_error(factored, dense) < 1e-5
        assert_each_near(of_factored, of_dense)


def test_bfloat16_products_of_tables_are_summed_in_float32(monkeypatch):
    """As CPUs have instructions for; without oneDNN they are slow to give bfloat16."""
    monkeypatch.setattr(onednn, "serves", lambda: False)
    weights = weights_of(3, edges=False)
    layout = tabulate(Layout(np.zeros((1, 5, 5), np.int32)), [(5, 5)], kernel_size=3)
    compute = functools.partial(
        modulate, num_classes=CLASSES, dtype=jnp.dtype("bfloat16")
    )
    found = jax.eval_shape(compute, layout, weights)
    assert {x.gamma.dtype for x in found} == {jnp.dtype("bfloat16")}
    text = jax.jit(compute).lower(layout, weights).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 4  # of gamma and beta, in two SPADEs
    assert all(re.search(r"xbf16>\) -> tensor<\w+xf32>", line) for line in products)


def test_tables_for_other_shards_are_refused():
    layout = Layout(np.zeros(SHAPE, np.int32))
    tabulated = tabulate(layout, [layout.size], kernel_size=3, shards=2)
    with pytest.raises(ValueError, match="tabulated for 2 devices, but seen by one"):
        modulate(
            tabulated,
            weights_of(3, edges=False),
            num_classes=CLASSES,
            dtype=jnp.float32,
        )


@pytest.mark.parametrize(
    ("norm", "edges", "size"),
    [
        ("spectralspadesyncbatch3x3", True, (16, 24)),
        pytest.param("spadeinstance3x3", False, (16, 32), marks=pytest.mark.long),
        pytest.param("spectralspadebatch1x1", True, (16, 16), marks=pytest.mark.long),
        pytest.param("spadesyncbatch5x5", True, (24, 16), marks=pytest.mark.long),
    ],
)
def test_generator_is_the_same_with_tables(
    two_stages, fill, make_batch, relative_error, norm, edges, size
):
    """`tests/parity/` has whole generators, of every way to enlarge."""
    generator = SPADEGenerator(
        CLASSES, width=2, hidden=3, norm=norm, upsampling=two_stages
    )
    batch = make_batch(2, *size, CLASSES, edges=edges)
    layout = Layout(batch["label"], batch.get("edge"))
    tabulated = tabulate(
        layout, generator.scales(*size), kernel_size=generator.kernel_size
    )
    assert {f"{h}x{w}" for h, w in generator.scales(*size)} == tabulated.tables.keys()
    init = functools.partial(generator.init, train=False)
    variables = fill(jax.eval_shape(init, jax.random.key(0), layout))
    params = variables.pop("params")

    @jax.jit
    def run(params, layout):
        def objective(params):
            image, stats = generator.apply(
                {"params": params, **variables},
                layout,
                train=True,
                mutable=list(variables),
            )
            return (image * batch["image"]).sum(), (image, stats)

        return jax.grad(objective, has_aux=True)(params)

    gradients, (image, stats) = run(params, tabulated)
    expected_gradients, (expected, expected_stats) = run(params, layout)
    assert_each_near({"image": image, **stats}, {"image": expected, **expected_stats})
    assert_each_near(gradients, expected_gradients)

    @jax.jit
    def given_modulations(layout):
        known = generator.apply({"params": params}, layout, method="modulations")
        apply = functools.partial(
            generator.apply, {"params": params, **variables}, layout, train=False
        )
        return apply(modulations=known), apply()

    cached, whole = given_modulations(tabulated)
    assert relative_error(cached, whole) < 1e-6
