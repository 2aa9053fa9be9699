"""The family: which fields belong to SPADE, OASIS and CLADE, and which go together."""

from collections.abc import Mapping
from typing import Any

from spade_jax.recipe.parts import picture_size

_UNET_HALVINGS = 6
_UNET_NORMS = ("spectral", "spectralnone", "none", "")


def check(fields: Mapping[str, Any]) -> None:
    """Checks that options of one family were not given to another.

    Args:
      fields: of a config, every one.

    Raises:
      ValueError: naming the fields, their values and the remedy.
    """
    generator = fields["generator"]
    if generator["name"] == "oasis" and generator["upsampling"] != "normal":
        raise ValueError(
            f"config.generator.upsampling={generator['upsampling']!r} is of generators"
            " 'spade' and 'concat'; 'oasis' has one decoder: leave it 'normal'."
        )
    if fields["factored"] and "clade" in generator["norm"]:
        raise ValueError(
            f"config.factored=True needs a SPADE norm; {generator['norm']!r} looks its"
            " modulations up by class anyway: leave config.factored out."
        )
    if fields["discriminator"]["name"] == "unet":
        _check_unet(fields)
    else:
        _check_multiscale(fields["loss"])


def _check_multiscale(loss: Mapping[str, Any]) -> None:
    for name in ("balance_classes", "ignored_ids", "labelmix"):
        if loss[name]:
            off = {"balance_classes": False, "ignored_ids": (), "labelmix": 0.0}[name]
            raise ValueError(
                f"config.loss.{name}={loss[name]!r} needs"
                " config.discriminator.name='unet'; with 'multiscale' leave it"
                f" {off!r}."
            )


def _check_unet(fields: Mapping[str, Any]) -> None:
    loss, data = fields["loss"], fields["data"]
    norm = fields["discriminator"]["norm"]
    if norm not in _UNET_NORMS:
        raise ValueError(
            f"config.discriminator.norm={norm!r} needs"
            " config.discriminator.name='multiscale'; 'unet' has 'spectral' or 'none'."
        )
    if loss["feature_matching"]:
        raise ValueError(
            f"config.loss.feature_matching={loss['feature_matching']} needs"
            " config.discriminator.name='multiscale'; with 'unet' set it to 0."
        )
    if loss["gan"] != "hinge":
        raise ValueError(
            f"config.loss.gan={loss['gan']!r} needs"
            " config.discriminator.name='multiscale'; 'unet' has a cross entropy of its"
            " own: leave it 'hinge'."
        )
    if fields["generator"]["latent"] == "vae":
        raise ValueError(
            "config.generator.latent='vae' needs"
            " config.discriminator.name='multiscale'; with 'unet' there is no term that"
            " keeps styles near the prior: choose 'none' or 'noise'."
        )
    if loss["labelmix"] < 0:
        raise ValueError(
            f"config.loss.labelmix={loss['labelmix']} must be 0 (off) or more."
        )
    num_ids = data["num_classes"] + (data["unknown_label"] is not None)
    for class_id in loss["ignored_ids"]:
        if not 0 <= class_id < num_ids:
            raise ValueError(
                f"config.loss.ignored_ids={tuple(loss['ignored_ids'])} has"
                f" {class_id}, but ids are 0 to {num_ids - 1}."
            )
    size, multiple = (
        picture_size(data["crop_size"], data["aspect_ratio"]),
        2**_UNET_HALVINGS,
    )
    if any(side % multiple for side in size):
        raise ValueError(
            f"config.data.crop_size={data['crop_size']} and"
            f" config.data.aspect_ratio={data['aspect_ratio']} make pictures"
            f" {size[1]} wide and {size[0]} high, which the discriminator 'unet'"
            f" cannot halve {_UNET_HALVINGS} times. Choose them so that both sides are"
            f" multiples of {multiple}."
        )
