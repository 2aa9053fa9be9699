"""From a config to the things it describes.

The modules that compute take plain numbers and names; this is where they are read out
of a `ConfigDict` (see `configs/default.py`) for training, evaluation and prediction.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import ml_collections

from spade_jax import data, nets
from spade_jax.layout import Layout
from spade_jax.layout.neighbourhoods import plan_batch
from spade_jax.learning import perceptual as perceptual_weights
from spade_jax.learning.optimizers import Optimizers, adam_pair
from spade_jax.learning.state import Networks

# Where computing distinct neighbourhoods only was measured to be quicker: see the
# performance section of the README.
FACTORED_ON = ("cpu",)


def num_class_ids(config: ml_collections.ConfigDict) -> int:
    """Class ids a layout may hold: the named classes, and one for "unknown"."""
    return config.data.num_classes + (config.data.unknown_label is not None)


def networks(
    config: ml_collections.ConfigDict, *, axis_name: str | None = None
) -> Networks:
    """The networks of a config.

    Args:
      config: see `configs/default.py`.
      axis_name: over which the networks synchronise; None for one device.

    Raises:
      ValueError: a field names something that does not exist.
    """
    shared = {
        "num_classes": num_class_ids(config),
        "axis_name": axis_name,
        "dtype": jnp.dtype(config.dtype),
    }
    g, d, e = config.generator, config.discriminator, config.encoder
    _check_choice("generator.latent", g.latent, ("none", "vae", "noise"))
    _check_choice("generator.name", g.name, ("spade", "pix2pixhd", "concat"))
    latent_size = None if g.latent == "none" else g.latent_size
    if latent_size is not None and g.name != "spade":
        raise ValueError(
            f"config.generator.latent={g.latent!r} needs config.generator.name="
            f"'spade'; {g.name!r} starts from the layout ('none')."
        )
    if g.name == "spade":
        generator = nets.SPADEGenerator(
            width=g.width,
            upsampling=g.upsampling,
            norm=g.norm,
            hidden=g.hidden,
            latent_size=latent_size,
            grid=nets.start_grid(
                config.data.crop_size, config.data.aspect_ratio, g.upsampling
            ),
            remat=config.remat,
            **shared,
        )
    elif g.name == "pix2pixhd":
        generator = nets.Pix2PixHDGenerator(
            width=g.width,
            norm=g.norm,
            downsamplings=g.downsamplings,
            blocks=g.blocks,
            **shared,
        )
    else:
        generator = nets.ConcatGenerator(
            width=g.width, upsampling=g.upsampling, norm=g.norm, **shared
        )
    discriminator = nets.MultiscaleDiscriminator(
        num_scales=d.num_scales,
        num_layers=d.num_layers,
        width=d.width,
        norm=d.norm,
        **shared,
    )
    encoder = None
    if g.latent == "vae":
        encoder = nets.ImageEncoder(
            width=e.width,
            latent_size=g.latent_size,
            image_size=e.image_size,
            norm=e.norm,
            axis_name=axis_name,
            dtype=shared["dtype"],
        )
    return Networks(
        generator=generator,
        discriminator=discriminator,
        encoder=encoder,
        latent_size=latent_size,
    )


def example_layout(config: ml_collections.ConfigDict) -> Layout:
    """A layout of one picture of the config's size, for the shapes of things."""
    width = config.data.crop_size
    height = round(width / config.data.aspect_ratio)
    label = jnp.zeros((1, height, width), jnp.int32)
    edge = jnp.zeros((1, height, width), bool) if config.data.instances else None
    return Layout(label, edge)


def planner(
    config: ml_collections.ConfigDict,
    *,
    shards: int,
    platform: str,
    tight: bool = False,
) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
    """What adds a plan to batches, or None where layouts are computed densely.

    Args:
      config: see `configs/default.py`.
      shards: parts of a process's batch that are computed apart.
      platform: of the devices: "cpu", "gpu" or "tpu".
      tight: see `neighbourhoods.plan`.

    Raises:
      ValueError: see `is_factored`.
    """
    if not is_factored(config, platform=platform):
        return None
    generator = networks(config).generator
    return functools.partial(
        plan_batch,
        sizes=generator.scales(*example_layout(config).size),
        kernel_size=generator.kernel_size,
        shards=shards,
        tight=tight,
    )


def is_factored(config: ml_collections.ConfigDict, *, platform: str) -> bool:
    """Whether modulations are computed once a distinct neighbourhood.

    Args:
      config: see `configs/default.py`.
      platform: of the devices: "cpu", "gpu" or "tpu".

    Raises:
      ValueError: `config.factored` is True for a generator without SPADE, or with
        `config.spatial`.
    """
    factored, name = config.factored, config.generator.name
    if factored and name != "spade":
        raise ValueError(
            f"config.factored=True needs config.generator.name='spade'; {name!r} has no"
            " modulations."
        )
    if factored and config.spatial > 1:
        raise ValueError(
            f"config.factored=True needs config.spatial=1, not {config.spatial}: tables"
            " of neighbourhoods are not shared by devices."
        )
    if factored is None:
        return name == "spade" and platform in FACTORED_ON and config.spatial == 1
    return factored


def optimizers(
    config: ml_collections.ConfigDict, *, steps_per_epoch: int
) -> Optimizers:
    """Adam for each network, with the official learning rates."""
    o = config.optimizer
    return adam_pair(
        learning_rate=o.learning_rate,
        ttur=o.ttur,
        beta1=o.beta1,
        beta2=o.beta2,
        epsilon=o.epsilon,
        epochs=config.num_epochs,
        decay_epochs=config.decay_epochs,
        steps_per_epoch=steps_per_epoch,
    )


def num_steps(config: ml_collections.ConfigDict, num_examples: int) -> int:
    """The iterations of a whole run on so many training examples."""
    if config.num_steps is not None:
        return config.num_steps
    steps_per_epoch = max(1, num_examples // config.batch_size)
    return (config.num_epochs + config.decay_epochs) * steps_per_epoch


def source(config: ml_collections.ConfigDict, split: str) -> data.Source:
    """Opens a split of the config's data.

    Raises:
      DataError: the data is missing, or plainly wrong.
      ValueError: `config.data.source` is not known.
    """
    d = config.data
    return data.open_source(
        d.source,
        split,
        root=os.path.expanduser(d.root),
        manual_dir=os.path.expanduser(d.manual_dir),
        num_classes=d.num_classes,
        unknown_label=d.unknown_label,
        instances=d.instances,
        colors=label_colors(config),
        size=d.scenes.size,
        num_train=d.scenes.num_train,
        num_val=d.scenes.num_val,
    )


def label_colors(config: ml_collections.ConfigDict) -> data.ColorTable | None:
    """The classes' colours in label pictures, or None where these hold ids.

    Raises:
      DataError: the palette is missing or wrong.
      ValueError: `config.data.color_tolerance` is negative.
    """
    d = config.data
    if not d.label_colors:
        return None
    colors, names, title = d.palette, d.classes, "config.data.palette"
    if d.label_colors != "palette":
        title = os.path.expanduser(d.label_colors)
        colors, names = data.read_palette(title)
    return data.color_table(
        colors,
        names=names,
        num_classes=d.num_classes,
        unknown_label=d.unknown_label,
        tolerance=d.color_tolerance,
        title=title,
    )


def with_palette(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The config with the colours and names of its palette file, if it names one.

    A checkpoint keeps its config, and so needs no other file.

    Raises:
      DataError: the file is missing or wrong.
    """
    if config.data.label_colors in ("", "palette"):
        return config
    table = label_colors(config)
    config = config.copy_and_resolve_references()
    config.data.update(
        palette=table.colors, classes=table.names, label_colors="palette"
    )
    return config


def preprocess(config: ml_collections.ConfigDict, *, training: bool) -> data.Preprocess:
    """The config's preprocessing.

    Outside training nothing is mirrored, and pictures are loaded at the size of the
    crop, so that all of a picture is seen (the official test options).
    """
    d = config.data
    return data.Preprocess(
        mode=d.preprocess_mode,
        load_size=d.load_size if training else d.crop_size,
        crop_size=d.crop_size,
        aspect_ratio=d.aspect_ratio,
        flip=d.flip and training,
        pad_crop=d.pad_crop,
    )


def perceptual(
    config: ml_collections.ConfigDict,
) -> perceptual_weights.PerceptualNetwork | None:
    """The feature network of the perceptual loss, or None where it is off."""
    if not config.loss.perceptual:
        return None
    return perceptual_weights.load(
        config.loss.perceptual_network,
        vgg_file=os.path.expanduser(config.loss.vgg_file),
    )


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"config.{field}={value!r} is not one of {', '.join(choices)}."
        )
