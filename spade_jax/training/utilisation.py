"""Utilisation: at how many steps a second devices would be at their peak."""

from jax.sharding import Mesh

from spade_jax import assemble
from spade_jax.plan import counted
from spade_jax.plan.peaks import peak_flops
from spade_jax.recipe import Recipe, with_fields


def peak_steps_per_second(
    recipe: Recipe, devices: Mesh, *, perceptual: str
) -> float | None:
    """Steps a second in which the model's arithmetic alone would fill the devices.

    That arithmetic is what the model needs, so that computing blocks again for less
    memory does not count (Chowdhery et al., PaLM, 2022, appendix B). Steps a second
    over this number are the model FLOP/s utilisation, MFU.

    Args:
      recipe: what is trained.
      devices: that train it.
      perceptual: the network of the perceptual loss: "vgg19", "vgg16" or "none".

    Returns:
      None where no peak of such devices is known, where steps are not all alike
      (`discriminator_steps`), and where the layouts decide on the arithmetic
      (`factored`).
    """
    device = devices.devices.flat[0]
    peak = peak_flops(device.device_kind, dtype=recipe.compute.dtype)
    is_factored = assemble.factored(
        recipe.architecture, recipe.compute, platform=device.platform
    ).is_so
    if peak is None or is_factored or recipe.schedule.discriminator_steps > 1:
        return None
    needed = with_fields(recipe, remat=False, loss__perceptual_network=perceptual)
    flops = 2 * counted.count(needed).train_step * recipe.schedule.batch_size
    return devices.size * peak / flops
