"""Styles by region: for a class, or for whatever pixels one is given to.

They follow from networks whose style joins the planes of the layout at every pixel
(OASIS): there a picture in one style is a picture in which all pixels have the same.
Where a style enters once, as the first layer's input, it is of the whole picture, and a
part of it cannot be asked for.

Letters: B number of pictures, H height, W width, C classes, N latent size, R regions.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax import data
from spade_jax.models.inputs import as_array, refuse_hidden
from spade_jax.models.sizes import SizeRule, shown

_PHOTOGRAPHS = " (A photograph is an array of integers, 0 to 255.)"


class Regions(NamedTuple):
    """Which pixels of a label map have which style.

    Attributes:
      numbers: int32 `[H, W]`, rows of `styles`.
      styles: float32 `[R, N]`; behind those in use zeros, so that there are few R.
    """

    numbers: np.ndarray
    styles: np.ndarray


def is_by_region(style: Any) -> bool:
    """Whether a style is given by class, or by pixel, `[H, W, N]` or `[B, H, W, N]`.

    Photographs have integers.
    """
    if isinstance(style, Mapping):
        return True
    style = as_array(style)
    is_array = isinstance(style, np.ndarray)
    return is_array and style.ndim > 2 and jnp.issubdtype(style.dtype, jnp.floating)


def check_follows(*, latent_size: int | None, starts_from_latent: bool) -> None:
    """Refuses styles by region where they do not follow from the network.

    Args:
      latent_size: N, or None of a model without styles.
      starts_from_latent: whether its generator makes its start grid of a style.

    Raises:
      ValueError: with the reason.
    """
    if latent_size is None:
        raise ValueError(
            "This model starts from the layout alone (config.generator.latent='none'):"
            " leave style out."
        )
    if starts_from_latent:
        raise ValueError(
            "A style by region does not follow from this model: its first layer, which"
            " is dense, makes the start of the whole picture of one style. Give one"
            " style a picture, or take a model whose style joins the layout at every"
            " pixel (config.generator.name='oasis', config.generator.latent='noise')."
            f"{_PHOTOGRAPHS}"
        )


def of_classes(
    style: Mapping[Any, Any],
    labels: Sequence[np.ndarray],
    *,
    classes: Sequence[str],
    rest: Sequence[np.ndarray],
    given: Callable[[Any], np.ndarray],
) -> list[Regions]:
    """Gives pixels the style of their class.

    Args:
      style: of classes, by name or id. That of None is of all others.
      labels: ids `[H, W]` of each label map.
      classes: names of the ids.
      rest: `[1, N]` for each label map, of classes without a style.
      given: makes of what is given float32 `[B, N]`.

    Raises:
      ValueError: a class is not known, is given twice, has several styles, or is in no
        label map.
    """
    number_of = np.zeros(len(classes), np.int32)
    styles, base = [], None
    for key, value in style.items():
        latents = given(value)
        if len(latents) != 1:
            raise ValueError(
                f"style[{key!r}] holds {len(latents)} styles: a class has one."
            )
        if key is None:
            base = latents
            continue
        class_id = _class_id(key, classes)
        if number_of[class_id]:
            raise ValueError(
                f"style holds class {class_id} ({classes[class_id]!r}) twice: by name"
                " and by number. Leave one out."
            )
        if not any((label == class_id).any() for label in labels):
            raise ValueError(
                f"style[{key!r}]: no pixel of the label map is of class {class_id}"
                f" ({classes[class_id]!r}). Leave it out, or paint some."
            )
        styles.append(latents)
        number_of[class_id] = len(styles)
    found = []
    for i, label in enumerate(labels):
        latents = np.concatenate([rest[i] if base is None else base, *styles])
        found.append(Regions(number_of[label], _filled_up(latents)))
    return found


def of_pixels(
    style: np.ndarray | jax.Array, *, latent_size: int, count: int
) -> list[Regions]:
    """Finds the regions of one style each.

    Args:
      style: floating `[H, W, N]`, or `[B, H, W, N]`.
      latent_size: N.
      count: label maps.

    Returns:
      Of each label map.

    Raises:
      ValueError: there are not as many as label maps, nor one, or numbers are not
        finite, hidden by a mask, or not N.
    """
    style = as_array(style)
    refuse_hidden(style, "style")
    maps = style[None] if style.ndim == 3 else style
    if maps.ndim != 4 or maps.shape[-1] != latent_size or not maps.size:
        raise ValueError(
            f"style is an array {list(style.shape)}: a style of each pixel is"
            f" [H, W, {latent_size}] or [B, H, W, {latent_size}], of this model's"
            f" {latent_size} numbers.{_PHOTOGRAPHS}"
        )
    if len(maps) not in (1, count):
        raise ValueError(
            f"{count} label maps and {len(maps)} maps of styles: give one of these, or"
            " one for each label map."
        )
    # Of what is too large for it infinity becomes, which is refused.
    with np.errstate(over="ignore"):
        maps = maps.astype(np.float32)
    if not np.isfinite(maps).all():
        _, row, column, _ = np.argwhere(~np.isfinite(maps))[0]
        raise ValueError(
            f"The style of row {row}, column {column} is not finite: a style is of"
            " finite numbers."
        )
    found = [_distinct(one) for one in maps]
    return found if len(found) == count else found * count


def fitted(
    regions: Regions,
    *,
    size: tuple[int, int],
    fit: SizeRule,
) -> Regions:
    """The regions of a label map, brought to the size that it was brought to.

    Args:
      regions: of the label map.
      size: (height, width) that the label map was of.
      fit: what was done to it.

    Raises:
      ValueError: they are of another size.
    """
    numbers = regions.numbers
    if numbers.shape != size:
        raise ValueError(
            f"style is of {shown(numbers.shape)} pixels and the label map of"
            f" {shown(size)} (width x height): a style of each pixel has the size of"
            " the label map."
        )
    black = np.zeros((*size, 3), np.uint8)
    example = data.Example(image=black, label=numbers, instance=None, name="style")
    return regions._replace(numbers=fit(example).label)


def _class_id(key: Any, classes: Sequence[str]) -> int:
    if isinstance(key, str):
        ids = [i for i, name in enumerate(classes) if name == key]
        if len(ids) == 1:
            return ids[0]
        if ids:
            raise ValueError(
                f"style[{key!r}]: classes {', '.join(map(str, ids))} of this model have"
                " this name. Give their numbers in place of it."
            )
        close = difflib.get_close_matches(key, classes, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"style[{key!r}]: this model has no class of this name.{hint} Its classes:"
            f" {', '.join(classes)}."
        )
    is_id = isinstance(key, int | np.integer) and not isinstance(key, bool)
    if is_id and 0 <= key < len(classes):
        return int(key)
    raise ValueError(
        f"style[{key!r}]: a class is told by its name, or by its number from 0 to"
        f" {len(classes) - 1}."
    )


def _distinct(styles: np.ndarray) -> Regions:
    """The regions of float32 `[H, W, N]`."""
    height, width, size = styles.shape
    # As one value each, which sorts much faster than rows of numbers.
    rows = np.ascontiguousarray(styles).view(f"V{4 * size}").ravel()
    _, first, numbers = np.unique(rows, return_index=True, return_inverse=True)
    return Regions(
        numbers.reshape(height, width).astype(np.int32),
        _filled_up(styles.reshape(-1, size)[first]),
    )


def _filled_up(styles: np.ndarray) -> np.ndarray:
    """With rows of zeros to a power of two: each number of rows is compiled once."""
    rows = 1 << (len(styles) - 1).bit_length()
    return np.pad(styles, ((0, rows - len(styles)), (0, 0)))
