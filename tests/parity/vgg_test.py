"""VGG19 against torchvision's, with random weights."""

import jax
import numpy as np

from spade_jax import nets


def test_vgg19(golden, vgg19, variables, nhwc, compare):
    file = golden("vgg19_random")
    module = nets.VGG("vgg19")
    weights = variables(module, vgg19)
    image = nhwc(file.arrays["image_u8"])
    features = jax.jit(module.apply)(weights, image)
    for stage, feature in enumerate(features, start=1):
        theirs = file.arrays[f"relu{stage}_1"]
        # The numbers that come with the project are every other one, or fewer.
        step = feature.shape[1] // theirs.shape[2]
        ours = np.moveaxis(feature, -1, 1)[..., ::step, ::step]
        compare("output", file.name, f"relu{stage}_1", ours, theirs)
