"""Does a GPU compute the right numbers: against recordings, and against the CPU.

In float32 with the products' highest precision, as the tests demand of the CPU, in
float32 as it comes, where GPUs may take TensorFloat-32, and in bfloat16. Allowed is
what rounding explains, and errors are relative to the largest number where that is over
1.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import layouts
from benchmarks.variants import Problem
from spade_jax import nets
from spade_jax.convert import (
    abstract_variables,
    from_official,
    official_shapes,
    to_official,
)
from spade_jax.data import to_float
from spade_jax.layout import Layout

Row = dict[str, Any]

_NUMBERS = pathlib.Path(__file__).parents[2] / "tests" / "parity" / "numbers"
# Name of the precision -> dtype, precision of products, what is allowed of an output
# and of a buffer (see tests/parity/conftest.py), and of gradients as a whole.
PRECISIONS = {
    "float32, highest": ("float32", "highest", 3e-5, 2e-6, 1e-4),
    "float32": ("float32", None, 1e-2, 1e-2, 5e-2),
    "bfloat16": ("bfloat16", None, 1e-1, 2e-2, 3e-1),
}
_BLOCK = "up_3"


def block() -> Iterator[Row]:
    """A SPADE block in training mode, recorded from the official code."""
    arrays, meta = _recorded("generator_block")
    opt = meta["opt"]
    for precision, (dtype, products, output, buffer, _) in PRECISIONS.items():
        module = nets.SPADEGenerator(
            opt["label_nc"],
            width=opt["ngf"],
            norm=opt["norm_G"],
            latent_size=opt["z_dim"],
            grid=nets.start_grid(opt["crop_size"], opt["aspect_ratio"], "normal"),
            dtype=jnp.dtype(dtype),
        )
        abstract = abstract_variables(module)
        # The rest of the generator has no part in it.
        weights: dict[str, np.ndarray] = {
            key: np.zeros(shape, np.float32)
            for key, shape in official_shapes(module, abstract).items()
        }
        before = from_official(module, abstract, weights | _part(arrays, "G/"))
        scene = Layout(jnp.asarray(arrays["label"][:, 0], jnp.int32))

        def compute(generator, x, scene=scene):
            known = getattr(generator, _BLOCK)
            return known(x, known.modulations(scene), train=True, upsample=True)

        def run(v, x, module=module, compute=compute):
            return module.apply(
                v, x, method=compute, mutable=["spectral", "batch_stats"]
            )

        with _precision(products):
            image, advanced = jax.jit(run)(before, np.moveaxis(arrays["input"], 1, -1))
        ours = np.moveaxis(np.asarray(image, np.float32), -1, 1)[..., ::2, ::2]
        yield _row("block", precision, _error(ours, arrays["output"]), output)
        after = to_official(module, {**before, **advanced})
        errors = [_error(after[k], x) for k, x in _part(arrays, "G_after/").items()]
        yield _row("block, buffers", precision, max(errors), buffer)


def features() -> Iterator[Row]:
    """VGG19, recorded from torchvision's, with weights that are drawn again."""
    arrays, meta = _recorded("vgg19_random")
    image = to_float(np.moveaxis(arrays["image_u8"], 1, -1))
    weights = _vgg19(meta["seed"])
    for precision, (dtype, products, output, _, _) in PRECISIONS.items():
        module = nets.VGG("vgg19", dtype=jnp.dtype(dtype))
        variables = from_official(module, abstract_variables(module), weights)
        with _precision(products):
            found = jax.jit(module.apply)(variables, image)
        errors = []
        for stage, feature in enumerate(found, start=1):
            theirs = arrays[f"relu{stage}_1"]
            # Of the larger features every second or fourth row and column is there.
            step = feature.shape[1] // theirs.shape[2]
            ours = np.moveaxis(np.asarray(feature, np.float32), -1, 1)
            errors.append(_error(ours[..., ::step, ::step], theirs))
        yield _row("VGG19", precision, max(errors), output)


def networks(problem: Problem) -> Iterator[Row]:
    """A small generator's pictures and gradients, dense and factored.

    They are compared with the same program in float32 on this machine's CPU.
    """
    (layout,) = layouts.draw(
        size=problem.size, num_classes=problem.num_classes, limit=1
    ).values()
    ways = {"dense": layout, "factored": problem.tabulated(layout)}
    with jax.default_device(jax.devices("cpu")[0]), _precision("highest"):
        expected = _picture_and_gradient(problem, layout)
    for precision, (dtype, products, output, _, gradient) in PRECISIONS.items():
        computed = dataclasses.replace(problem, dtype=dtype)
        for way, seen in ways.items():
            with _precision(products):
                found = _picture_and_gradient(computed, seen)
            # Three times what one block is allowed: there are seven.
            error = _error(found[0], expected[0])
            yield _row(f"generator, {way}", precision, error, 3 * output)
            error = _whole_error(found[1], expected[1])
            yield _row(f"its gradient, {way}", precision, error, gradient)


def _picture_and_gradient(problem: Problem, layout: Layout) -> tuple[Any, Any]:
    module = problem.networks["generator"]
    held = problem.variables("generator")
    mark = np.random.default_rng(1).standard_normal((problem.size,) * 2 + (3,))

    def loss(params, rest, layout):
        image, _ = module.apply(
            {"params": params, **rest}, layout, train=True, mutable=list(rest)
        )
        return (image * mark.astype(np.float32)).mean(), image

    params = held.pop("params")
    gradients, image = jax.jit(jax.grad(loss, has_aux=True))(params, held, layout)
    return jax.device_get((image, gradients))


def _recorded(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(_NUMBERS / f"{name}.npz") as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("meta")))


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    found = {k: x for k, x in arrays.items() if k.startswith(prefix)}
    return {key.removeprefix(prefix): value for key, value in found.items()}


def _vgg19(seed: int) -> dict[str, np.ndarray]:
    """The weights of the recording, under torchvision's names."""
    random = np.random.RandomState(seed)
    layers = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 16: 256}
    layers |= dict.fromkeys((19, 21, 23, 25, 28), 512)
    found, inputs = {}, 3
    for index, outputs in layers.items():
        weight = random.randn(outputs, inputs, 3, 3) * np.sqrt(2.0 / (inputs * 9))
        found[f"features.{index}.weight"] = weight.astype(np.float32)
        bias = random.randn(outputs) * 0.05
        found[f"features.{index}.bias"] = bias.astype(np.float32)
        inputs = outputs
    return found


def _error(ours: Any, theirs: Any) -> float:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1.0))


def _whole_error(ours: Any, theirs: Any) -> float:
    """|ours - theirs| / |theirs|, of all arrays together."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    apart, size = 0.0, 0.0
    for a, b in pairs:
        apart += float(np.square(np.asarray(a, np.float64) - b).sum())
        size += float(np.square(np.asarray(b, np.float64)).sum())
    return (apart / size) ** 0.5


def _row(name: str, precision: str, error: float, allowed: float) -> Row:
    # NaN is not within anything.
    return {
        "what": "parity",
        "variant": name,
        "precision": precision,
        "error": error,
        "allowed": allowed,
        "right": bool(error <= allowed),
    }


def _precision(products: str | None) -> contextlib.AbstractContextManager[Any]:
    if products is None:
        return contextlib.nullcontext()
    return jax.default_matmul_precision(products)
