"""Reading: a config in, a `Recipe` out; the one place where fields are checked."""

import contextlib
import difflib
import functools
import json
from collections.abc import Mapping
from typing import Any

import ml_collections

from spade_jax.recipe import library, parts
from spade_jax.recipe.fields import DESCRIBED, FIELDS, MAY_CHANGE, NEEDS, Values
from spade_jax.recipe.kinds import Open, Wrong
from spade_jax.recipe.parts import Recipe

# Characters of a value that messages show.
_SHOWN = 60
_GROUPS = {
    ".".join(path.split(".")[:depth])
    for path in FIELDS
    for depth in range(1, path.count(".") + 1)
}


def describe(config: ml_collections.ConfigDict | Mapping[str, Any]) -> Recipe:
    """Reads and checks a config.

    Args:
      config: every field of `configs/default.py`; see `from_json` for stored ones.

    Raises:
      ValueError: a field is missing or not known, has a value that cannot be, or fields
        do not fit together.
    """
    checked = _checked(_flat(_plain(config)))
    open_fields = _open(checked)
    stored = _nested(checked)
    fields = _nested(checked | {path: _defaults()[path] for path in open_fields})
    data = _part(parts.Data, fields["data"])
    return Recipe(
        seed=fields["seed"],
        init_gain=fields["init_gain"],
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
            profile_at=fields["profile_at"],
            sample_every=fields["sample_every"],
            num_samples=fields["num_samples"],
            checkpoint_every=fields["checkpoint_every"],
            newest=fields["keep_checkpoints"],
            every=fields["keep_every"],
            best=parts.Best.parse(fields["keep_best"]),
        ),
        segmenter=_part(parts.Segmenter, fields["segmenter"]),
        evaluation=_part(parts.Evaluation, fields["eval"]),
        fields=stored,
        open=open_fields,
    )


def closed(recipe: Recipe, *, looks: str) -> Recipe:
    """The recipe, if it leaves nothing open.

    Args:
      recipe: to be used where there are no pictures to look at.
      looks: who does not, for the message.

    Raises:
      ValueError: naming the fields.
    """
    left = [path for path in recipe.open if path not in DESCRIBED]
    if left:
        fields = ", ".join(f"config.{path}" for path in left)
        raise ValueError(
            f"{fields}: left open, to be found by looking at pictures, which {looks}"
            " does not. Give them, or another recipe."
        )
    return recipe


def with_fields(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with other values.

    Args:
      recipe: unchanged.
      **changes: by the field's path, with `__` for the dots: `data__root="DIR"`.

    Raises:
      KeyError: there is no such field.
      ValueError: see `describe`.
    """
    for path in changes:
        if path.replace("__", ".") not in FIELDS:
            raise KeyError(path)
    return with_values(
        recipe, {path.replace("__", "."): value for path, value in changes.items()}
    )


def with_values(recipe: Recipe, values: Values) -> Recipe:
    """The recipe with other values, by the paths of their fields.

    Raises:
      ValueError: see `describe`.
    """
    return describe(_nested({**_flat(recipe.fields), **values}))


def check_changes(kept: Recipe, given: Recipe, *, where: str) -> None:
    """Refuses to go on with a run by other fields than those that may change.

    Args:
      kept: the recipe that the run keeps.
      given: the same with what is to change.
      where: the run is, for messages.

    Raises:
      ValueError: listing each field that may not change, with both values.
    """
    theirs, ours = _flat(kept.fields), _flat(given.fields)
    wrong = [
        f"  config.{path}: {_shown(theirs[path])} in the run, not {_shown(ours[path])}"
        for path in FIELDS
        if ours[path] != theirs[path] and path not in MAY_CHANGE
    ]
    if wrong:
        raise ValueError(
            f"{where} goes on by the config that it keeps, of which this may not"
            " change:\n"
            + "\n".join(wrong)
            + "\nLeave it out, or train into another --workdir with --config=FILE. (May"
            f" change: {', '.join(path for path in FIELDS if path in MAY_CHANGE)}.)"
        )


def to_json(recipe: Recipe) -> str:
    """The config as a checkpoint keeps it; see `from_json`."""
    return json.dumps(recipe.fields)


def from_json(text: str, *, where: str) -> Recipe:
    """The recipe of a stored config, checked as one that is given.

    Fields that were not there when it was written have their defaults, which stand for
    what was done before them.

    Args:
      text: of `to_json`, of this version or an older one.
      where: it was stored, for messages.

    Raises:
      ValueError: it is no config, has a field that is not known, names a file of
        colours, or see `describe`.
    """
    try:
        stored = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The config in {where} is no JSON: {error}") from error
    if not isinstance(stored, dict):
        raise ValueError(f"The config in {where} is no set of fields.")
    try:
        given = _flat(stored)
    except ValueError as error:
        raise ValueError(f"The config in {where} cannot be used: {error}") from error
    if unknown := [path for path in given if path not in FIELDS]:
        raise ValueError(
            f"The config in {where} has a field config.{_cut(unknown[0])}, which this"
            " version of spade_jax does not know: it was written by a newer one. Update"
            " spade_jax."
        )
    # What it was trained by has taken the colours into its palette. A path would be
    # opened on whatever machine reads the config, which may come from anywhere.
    if given.get("data.label_colors", "") not in ("", "palette"):
        raise ValueError(
            f"The config in {where} names a file outside of it by"
            " config.data.label_colors: there it may be '' or 'palette'."
        )
    try:
        return describe(_nested({**_defaults(), **given}))
    except ValueError as error:
        raise ValueError(f"The config in {where} cannot be used: {error}") from error


def _part(kind: type, fields: Mapping[str, Any]) -> Any:
    """A description of those fields that it has."""
    names = kind.__dataclass_fields__
    values = {name: fields[name] for name in names}
    if kind is parts.Data:
        # The only part within a part.
        values["scenes"] = _part(parts.Scenes, values["scenes"])
    return kind(**values)


def _plain(config: ml_collections.ConfigDict | Mapping[str, Any]) -> Mapping[str, Any]:
    """Nested dicts, with tuples as they are."""
    return config.to_dict() if isinstance(config, ml_collections.ConfigDict) else config


def _flat(fields: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Values by the fields' paths; whatever is in no known group by its own.

    Raises:
      ValueError: a group of fields is something else.
    """
    found = {}
    for name, value in fields.items():
        path = f"{within}{name}"
        if path not in _GROUPS:
            found[path] = value
        elif isinstance(value, Mapping):
            found |= _flat(value, f"{path}.")
        else:
            raise ValueError(
                f"config.{path}={_shown(value)} must be a group of fields."
            )
    return found


@functools.cache
def _defaults() -> Values:
    return _flat(library.default_config().to_dict())


def _nested(values: Values) -> dict[str, Any]:
    """The opposite of `_flat`."""
    fields: dict[str, Any] = {}
    for path, value in values.items():
        *groups, name = path.split(".")
        node = fields
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    return fields


def _checked(values: Values) -> dict[str, Any]:
    """The values as a recipe keeps them, in the order of `FIELDS`.

    Raises:
      ValueError: see `describe`.
    """
    if unknown := [path for path in values if path not in FIELDS]:
        close = difflib.get_close_matches(unknown[0], FIELDS, n=1)
        hint = f" Did you mean config.{close[0]}?" if close else ""
        raise ValueError(
            f"There is no field config.{_cut(unknown[0])}: configs/default.py has them"
            f" all.{hint}"
        )
    if missing := [path for path in FIELDS if path not in values]:
        raise ValueError(
            f"config.{missing[0]} is missing: a config has every field of"
            " configs/default.py."
        )
    checked = {}
    for path, kind in FIELDS.items():
        try:
            checked[path] = kind.read(values[path])
        except Wrong as wrong:
            raise ValueError(_told(path, values[path], wrong)) from wrong
    known = {p: v for p, v in checked.items() if p not in _open(checked)}
    for need in NEEDS:
        # What needs a field that is left open is asked when that has been found.
        with contextlib.suppress(KeyError):
            if fault := need.fault(known):
                raise ValueError(fault)
    return checked


def _open(values: Values) -> tuple[str, ...]:
    """Paths of the fields that are left open; see `Recipe.open`."""
    left = {p for p, k in FIELDS.items() if isinstance(k, Open) and values[p] is None}
    if left:
        left |= {path for path in DESCRIBED if values[path] in (None, (), "")}
    return tuple(path for path in FIELDS if path in left)


def _told(path: str, value: Any, wrong: Wrong) -> str:
    default, says = _defaults()[path], FIELDS[path].says
    takes = "" if says in str(wrong) else f" It takes {says}."
    # Some are whole sentences.
    what = str(wrong).removesuffix(".")
    return f"config.{path}={_shown(value)} {what}.{takes} The default is {default!r}."


def _shown(value: Any) -> str:
    try:
        return _cut(repr(value))
    except (ValueError, RecursionError):  # more digits or depth than Python writes
        return f"a {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
