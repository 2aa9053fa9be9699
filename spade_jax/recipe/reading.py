"""Reading: a config in, a `Recipe` out; the one place where fields are checked."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import ml_collections

from spade_jax.recipe import family, library, parts
from spade_jax.recipe.parts import Recipe

_CHOICES = {
    "generator.latent": ("none", "vae", "noise"),
    "generator.name": ("spade", "pix2pixhd", "concat", "oasis"),
    "discriminator.name": ("multiscale", "unet"),
    "loss.gan": ("hinge", "ls", "original", "w"),
    "loss.perceptual_network": ("auto", "vgg19", "vgg16", "none"),
}
_POSITIVE = (
    "batch_size",
    "log_every",
    "sample_every",
    "checkpoint_every",
    "num_samples",
    "discriminator_steps",
    "segmenter.batch_size",
    "segmenter.num_steps",
    "segmenter.log_every",
    "segmenter.evaluate_every",
)


def describe(config: ml_collections.ConfigDict | Mapping[str, Any]) -> Recipe:
    """Reads and checks a config.

    Args:
      config: every field of `configs/default.py`; see `complete` for stored ones.

    Raises:
      ValueError: a field has a value that cannot be, or fields do not fit together.
    """
    fields = _plain(config)
    _check(fields)
    data = _part(parts.Data, fields["data"])
    return Recipe(
        seed=fields["seed"],
        data=data,
        architecture=parts.Architecture(
            generator=_part(parts.Generator, fields["generator"]),
            discriminator=_part(parts.Discriminator, fields["discriminator"]),
            encoder=_part(parts.Encoder, fields["encoder"]),
            num_ids=data.num_ids,
            edges=data.instances,
            crop_size=data.crop_size,
            aspect_ratio=data.aspect_ratio,
        ),
        compute=_part(parts.Compute, fields),
        loss=_part(parts.Loss, fields["loss"]),
        optimizer=_part(parts.Optimizer, fields["optimizer"]),
        schedule=_part(parts.Schedule, fields),
        keeping=parts.Keeping(
            log_every=fields["log_every"],
            sample_every=fields["sample_every"],
            num_samples=fields["num_samples"],
            checkpoint_every=fields["checkpoint_every"],
            newest=fields["keep_checkpoints"],
            every=fields["keep_every"],
            best=parts.Best.parse(fields["keep_best"]),
        ),
        segmenter=_part(parts.Segmenter, fields["segmenter"]),
        evaluation=_part(parts.Evaluation, fields["eval"]),
        fields=fields,
    )


def with_fields(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with other values.

    Args:
      recipe: unchanged.
      **changes: by the field's path, with `__` for the dots: `data__root="DIR"`.

    Raises:
      ValueError: see `describe`.
    """
    fields = copy.deepcopy(dict(recipe.fields))
    for path, value in changes.items():
        *parents, name = path.split("__")
        node = fields
        for parent in parents:
            node = node[parent]
        if name not in node:
            raise KeyError(path)
        node[name] = value
    return describe(fields)


def complete(stored: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """A stored config with every field that there is today.

    Fields that were not there when it was written have their defaults, which stand for
    what was done before them.

    Args:
      stored: nested dicts, as JSON gives them.
      where: it was stored, for messages.

    Raises:
      ValueError: it has a field that is not known, or a value of another type.
    """
    config = library.default_config()
    _check_known(stored, config, where=where)
    try:
        config.update(stored)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"The config in {where} cannot be read: {error}") from error
    return _plain(config)


def to_json(recipe: Recipe) -> str:
    """The config as a checkpoint keeps it; see `from_json`."""
    return json.dumps(recipe.fields)


def from_json(text: str, *, where: str) -> Recipe:
    """The recipe of a stored config.

    Args:
      text: of `to_json`, of this version or an older one.
      where: it was stored, for messages.

    Raises:
      ValueError: it is no config, or see `complete` and `describe`.
    """
    try:
        stored = json.loads(text)
    except ValueError as error:
        raise ValueError(f"The config in {where} is no JSON: {error}") from error
    if not isinstance(stored, dict):
        raise ValueError(f"The config in {where} is no set of fields.")
    return describe(complete(stored, where=where))


def _part(kind: type, fields: Mapping[str, Any]) -> Any:
    """A description of those fields that it has."""
    names = kind.__dataclass_fields__
    values = {name: _frozen(name, fields[name]) for name in names}
    return kind(**values)


def _frozen(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        # The only part within a part.
        return _part(parts.Scenes, value)
    if isinstance(value, list | tuple):
        return tuple(tuple(v) if isinstance(v, list | tuple) else v for v in value)
    return value


def _plain(config: ml_collections.ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts, with tuples as they are."""
    if isinstance(config, ml_collections.ConfigDict):
        return config.to_dict()
    return copy.deepcopy(dict(config))


def _check_known(
    stored: Mapping[str, Any],
    known: ml_collections.ConfigDict,
    *,
    where: str,
    path: str = "",
) -> None:
    for name, value in stored.items():
        if name not in known:
            raise ValueError(
                f"The config in {where} has a field config.{path}{name}, which this"
                " version of spade_jax does not know: it was written by a newer one."
                " Update spade_jax."
            )
        group = known[name]
        if isinstance(group, ml_collections.ConfigDict):
            if not isinstance(value, Mapping):
                raise ValueError(
                    f"The config in {where} has config.{path}{name}={value!r}, which"
                    " must be a group of fields."
                )
            _check_known(value, group, where=where, path=f"{path}{name}.")


def _check(fields: Mapping[str, Any]) -> None:
    for path, choices in _CHOICES.items():
        value = _value(fields, path)
        if value not in choices:
            raise ValueError(
                f"config.{path}={value!r} is not one of {', '.join(choices)}."
            )
    for path in _POSITIVE:
        value = _value(fields, path)
        if value < 1:
            raise ValueError(f"config.{path}={value} must be 1 or more.")
    if fields["keep_checkpoints"] < 1:
        raise ValueError(
            f"config.keep_checkpoints={fields['keep_checkpoints']} must be at least 1:"
            " a run goes on from its newest checkpoint."
        )
    for path in ("keep_every", "eval.every"):
        _check_saved(path, _value(fields, path), fields["checkpoint_every"])
    _check_generator(fields)
    family.check(fields)
    widths = fields["segmenter"]["widths"]
    if not widths or min(widths) < 1:
        raise ValueError(
            f"config.segmenter.widths={tuple(widths)} must be numbers of features, one"
            " for each scale, for example (32, 64, 128)."
        )


def _check_saved(path: str, every: int, checkpoint_every: int) -> None:
    if every % checkpoint_every:
        raise ValueError(
            f"config.{path}={every} must be a multiple of"
            f" config.checkpoint_every={checkpoint_every}, or 0: other iterations are"
            " not saved."
        )


def _check_generator(fields: Mapping[str, Any]) -> None:
    name, latent = fields["generator"]["name"], fields["generator"]["latent"]
    if latent != "none" and name != "spade" and (name, latent) != ("oasis", "noise"):
        raise ValueError(
            f"config.generator.latent={latent!r} needs config.generator.name='spade';"
            f" {name!r} starts from the layout ('none')."
        )
    if fields["factored"] and name not in ("spade", "oasis"):
        raise ValueError(
            f"config.factored=True needs config.generator.name='spade'; {name!r} has no"
            " modulations."
        )
    if fields["factored"] and fields["spatial"] > 1:
        raise ValueError(
            f"config.factored=True needs config.spatial=1, not {fields['spatial']}:"
            " tables of neighbourhoods are not shared by devices."
        )


def _value(fields: Mapping[str, Any], path: str) -> Any:
    for name in path.split("."):
        fields = fields[name]
    return fields
