"""What the parity tests share: the goldens, the tolerances, and how errors are taken.

The goldens are numbers of the official PyTorch code (`../shared/goldens`, whose README
describes them). Without that directory the few of them in `numbers/` are compared with,
and the tests that need others are skipped. With PARITY_TABLE=1 in the environment the
run ends with a table of the largest error of each file.
"""

import dataclasses
import hashlib
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax import assemble
from spade_jax.convert import abstract_variables, from_official, nvlabs_options
from spade_jax.data.transforms import edges, to_float
from spade_jax.kernels import choose
from spade_jax.layout import Layout

# The largest error allowed, by kind. An error is the largest difference of an array,
# divided by the golden's largest value where that exceeds 1 (always, for gradients).
# "Noise" is what the reference in float32 is off from itself in float64; the numbers
# here are some times that, as ours comes on top, from other orders of summation.
TOLERANCES = {
    # Pictures, block outputs, features, latents. Noise 7e-6.
    "output": 3e-5,
    # Spectral vectors and running statistics after one forward.
    "buffer": 2e-6,
    # Means of many float32 terms.
    "loss": 2e-6,
    # Of a loss, with respect to its own input.
    "loss gradient": 5e-6,
    # Of iteration 0, before the update. Noise 3e-6; with VAE and VGG 2e-4.
    "gradient": 2e-5,
    "gradient vae": 2e-3,
    # D's sees fakes of the updated G, and Adam with beta1 = 0 turns the signs of G's
    # gradients, rounding noise included, into steps. Noise 3e-6; with VAE 4e-2.
    "gradient D": 1e-4,
    "gradient D vae": 1e-1,
    "loss D": 1e-5,
    # Runs in float64, whose golden arrays are rounded to float32: half a unit in the
    # last place is 6e-8.
    "float64 array": 1e-7,
    "float64 gradient": 1e-7,
    # The losses are not rounded. A perturbation of 1e-14 grows to 1e-11 at most.
    "float64 loss": 1e-10,
    # Of 255: float32 noise of 2.4e-6 decides where a value is truncated to an integer.
    "PNG": 1 / 255,
}

_errors: dict[tuple[str, str], float] = {}


class Golden(NamedTuple):
    """A golden file.

    Attributes:
      name: of the file, without suffix.
      arrays: by key.
      meta: the JSON beside them.
    """

    name: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays under `prefix/`, by the rest of their keys."""
        prefix += "/"
        return {
            key.removeprefix(prefix): value
            for key, value in self.arrays.items()
            if key.startswith(prefix)
        }


def pytest_terminal_summary(terminalreporter):
    if os.environ.get("PARITY_TABLE"):
        terminalreporter.section("largest error of each golden file")
        for (name, kind), error in sorted(_errors.items()):
            allowed = TOLERANCES[kind]
            terminalreporter.line(f"| {name} | {kind} | {error:.1e} | {allowed:.0e} |")


@pytest.fixture(autouse=True)
def _gradients_by_rows(request, monkeypatch):
    """What is factored here takes kernels' gradients by rows of pixels as well.

    These pay for larger networks only, and others are as XLA makes them.
    """
    chosen = getattr(request.node, "callspec", None)
    if chosen is not None and chosen.params.get("factored"):
        monkeypatch.setattr(choose, "gradient_by_rows_pays", lambda *_: True)
        monkeypatch.setattr(choose, "gradient_rows", lambda *_, **__: 3)


@pytest.fixture(autouse=True)
def _highest_precision():
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture
def golden(golden):
    """`golden(name)` loads a file."""
    return lambda name: Golden(name, *golden(name))


@pytest.fixture
def compare():
    """`compare(kind, name, what, ours, theirs)` asserts and records an error.

    `kind` is a key of `TOLERANCES`, `name` that of the golden file.
    """

    def check(kind, name, what, ours, theirs):
        ours = np.asarray(ours, np.float64)
        theirs = np.asarray(theirs, np.float64)
        assert ours.shape == theirs.shape, what
        scale = np.abs(theirs).max()
        if "gradient" not in kind:
            scale = max(scale, 1.0)
        error = np.abs(ours - theirs).max() / scale
        key = (name, kind)
        _errors[key] = max(_errors.get(key, 0.0), error)
        # One level of 255 is allowed even where it is not exactly 1 / 255.
        assert error <= TOLERANCES[kind] * (1 + 1e-9), f"{name} {what}: {error:.2e}"

    return check


@pytest.fixture
def model():
    """`model(golden)`: the recipe and networks of a golden's official options."""

    def make(golden, dtype="float32"):
        recipe = nvlabs_options.recipe_from_options(
            golden.meta["opt"], name=golden.name
        )
        # float64 is for tests alone: configs cannot ask for it.
        compute = dataclasses.replace(recipe.compute, dtype=dtype)
        return recipe, assemble.networks(recipe.architecture, compute)

    return make


@pytest.fixture
def variables():
    """`variables(module, state_dict, edges=...)`: converted, in the asked dtype."""

    def convert(module, state_dict, *, edges=False, dtype=np.float32):
        abstract = abstract_variables(module, edges=edges)
        converted = from_official(module, abstract, state_dict)
        return jax.tree.map(
            lambda x: x.astype(dtype) if x.dtype == np.float32 else x, converted
        )

    return convert


@pytest.fixture
def not_reproducible():
    """`not_reproducible(keys, zero)`: keys of G that rounding noise decides.

    `zero` are those whose gradient is zero in theory: a bias before a batch norm has no
    gradient but rounding noise, which Adam turns into full steps. Nothing sees the bias
    but the running mean of that norm, and of further ones along the residual
    connections.
    """

    def find(keys, zero):
        found, shifted = set(zero), "fc.bias" in zero
        blocks = dict.fromkeys(k.split(".conv_0.")[0] for k in keys if ".conv_0." in k)
        for block in blocks:
            norms = set()
            if shifted:
                norms |= {f"{block}.norm_0.", f"{block}.norm_s."}
            if f"{block}.conv_0.bias" in zero:
                norms.add(f"{block}.norm_1.")
            found |= {
                key
                for key in keys
                if key.startswith(tuple(norms)) and key.endswith("running_mean")
            }
            if f"{block}.conv_s.weight_orig" in keys:
                shifted = f"{block}.norm_s.mlp_beta.bias" in zero
            shifted = shifted or f"{block}.conv_1.bias" in zero
        return found

    return find


@pytest.fixture
def nhwc():
    """`nhwc(image_u8)`: a golden's pictures, normalised in float32 as theirs were."""
    return lambda image_u8: to_float(np.moveaxis(image_u8, 1, -1))


@pytest.fixture
def vgg19(golden):
    """torchvision's state dict of the random VGG19 that the goldens used."""
    meta = golden("vgg19_random").meta
    random = np.random.RandomState(meta["seed"])
    state_dict = {}
    # Index of each convolution in torchvision's `features`, and its features.
    layers = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 16: 256}
    layers |= dict.fromkeys((19, 21, 23, 25, 28), 512)
    inputs = 3
    for index, outputs in layers.items():
        weight = random.randn(outputs, inputs, 3, 3) * np.sqrt(2.0 / (inputs * 9))
        state_dict[f"features.{index}.weight"] = weight.astype(np.float32)
        bias = random.randn(outputs) * 0.05
        state_dict[f"features.{index}.bias"] = bias.astype(np.float32)
        inputs = outputs
    for key, value in state_dict.items():
        digest = hashlib.sha256(value.tobytes()).hexdigest()
        assert digest == meta["checksums"][key]["sha256"], key
    return state_dict


@pytest.fixture
def layout():
    """`layout(label, instance)` of a golden's `[B, 1, H, W]` arrays."""

    def make(label, instance=None):
        edge = None
        if instance is not None:
            edge = np.stack([edges(x) for x in instance[:, 0]])
        return Layout(jnp.asarray(label[:, 0], jnp.int32), edge)

    return make
