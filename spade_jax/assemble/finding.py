"""Finding: the fields that a recipe left open, by a look at its pictures."""

import dataclasses
from collections.abc import Sequence

from spade_jax import recipe
from spade_jax.assemble.architecture import side_multiple
from spade_jax.assemble.data import root, source
from spade_jax.data import DataError
from spade_jax.data import survey as surveys
from spade_jax.progress import phase
from spade_jax.recipe import Recipe

# Pictures a device that one of 16 GB takes of the widest networks, as officially.
_A_DEVICE = 4
# Bytes, on the large side, of networks 64 wide: states of their weights, and what a
# picture of 256x256 needs on its way through an update.
_STATES, _PICTURE = 4 << 30, 2 << 30
# A discriminator learns fewer pictures by heart, unless it sees them augmented.
_MANY = 1000
_AUGMENT = "color,translation,cutout"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What was found for a recipe.

    Attributes:
      recipe: with what was found in place of what was open; some may be left, if there
        is a problem.
      lines: what was chosen and how to choose otherwise, for people.
      problem: why training would fail, as far as that shows at a glance, or None.
    """

    recipe: Recipe
    lines: Sequence[str]
    problem: DataError | None


def find(of: Recipe, *, shares: int, memory: int | None) -> Found:
    """Finds the fields that a recipe left open.

    Args:
      of: a recipe, of source "folder" if any is open.
      shares: parts of one size that the batch is divided into, by devices and by
        `config.accumulate`.
      memory: bytes of a device; None: not known.

    Raises:
      DataError: no directory is given, or `classes.txt` is wrong, or says something
        else than a given field.
      ValueError: what was found does not suit other fields.
    """
    if not of.open:
        return Found(recipe=of, lines=(), problem=None)
    given = {
        name: value
        for name, value in of.fields["data"].items()
        if f"data.{name}" not in of.open
    }
    d = of.data
    if not d.root:
        source(d, d.train_split)  # Says so.
    here = root(d)
    with phase(
        f"Looking at the pictures in {d.root}",
        usually="seconds for some hundred",
        unit="pictures",
    ) as looking:
        choice = surveys.choose(
            here,
            tuple(dict.fromkeys((d.train_split, d.val_split))),
            given=given,
            multiple=side_multiple(of.architecture),
            most_pixels=d.most_pixels,
            threads=d.workers or None,
            progress=lambda done, total: looking.at(done),
        )
    found = {f"data.{name}": value for name, value in choice.fields.items()}
    fitted = recipe.with_values(of, found)
    notes = [
        (says, tuple(f"data.{name}" for name in names)) for says, names in choice.notes
    ]
    if "batch_size" in of.open:
        size = batch_size(choice.examples, fitted, shares=shares, memory=memory)
        fitted = recipe.with_fields(fitted, batch_size=size)
        notes.append((f"{size} of {choice.examples} pictures a step", ("batch_size",)))
    if "loss.augment" in of.open:
        augment = _AUGMENT if choice.examples < _MANY else ""
        fitted = recipe.with_fields(fitted, loss__augment=augment)
        says = "few pictures, which the discriminator sees augmented"
        says = says if augment else "enough pictures to see them as they are"
        notes.append((says, ("loss.augment",)))
    lines = [f"Looked at the pictures in {d.root}, and chose:"]
    for says, paths in notes:
        chosen = [_flag(fitted, path) for path in paths if path in of.open]
        lines.append(f"  {says}" if chosen else f"  {says} (as given)")
        lines += [f"      {' '.join(chosen)}"] if chosen else []
    lines.append("To have it otherwise, give such a field on the command line.")
    return Found(recipe=fitted, lines=lines, problem=choice.problem)


def _flag(of: Recipe, path: str) -> str:
    value = of.field(path)
    return f"--config.{path}={'ID' if value is None else value or repr(value)}"


def batch_size(examples: int, of: Recipe, *, shares: int, memory: int | None) -> int:
    """Pictures of a batch that fits the devices, and the pictures that there are.

    Args:
      examples: to train on.
      of: a recipe, of which the size of pictures and the generator's width count.
      shares, memory: see `find`.
    """
    height, width = of.data.size
    wide = of.architecture.generator.width / 64
    each = _A_DEVICE
    if memory is not None:
        left = memory - _STATES * wide**2
        each = int(left // (_PICTURE * wide * height * width / 256**2))
    return shares * max(1, min(_A_DEVICE, each, examples // shares))
