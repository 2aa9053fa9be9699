"""Differentiable augmentation of what the discriminator sees, for little data.

With a few hundred pictures the discriminator learns them by heart. Zhao et al.
(*Differentiable Augmentation for Data-Efficient GAN Training*, NeurIPS 2020) show it
real and synthesised pictures through the same random transformation T, in both updates;
gradients of the generator pass through T, so that what it makes is not augmented. T is
the paper's: colour (brightness, saturation, contrast), translation by up to an eighth
of each side, and cutout of a square of half of it, with zeros where nothing is.

A discriminator of layouts and pictures sees pairs, so a layout is moved and cut as its
pictures are; colour is of pictures alone. The paper draws T for each picture. Here a
layout's real and synthesised picture share a draw: each of them has T's distribution,
so the expected losses are the paper's, features can be matched place for place, and a
mixture of both (LabelMix) is cut along the layout of both. Updates draw anew.

Letters: B batch, H height, W width.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from spade_jax.learning.batch import Batch

KINDS = ("color", "translation", "cutout")
"""The transformations, in the order in which they are applied."""

# What is where nothing is; a label that is none has no plane.
_BLANK: dict[str, Any] = {"image": 0, "label": -1, "edge": False, "pixel_weight": 0}
_REACH = 1 / 8
_HOLE = 1 / 2


class Augment(Protocol):
    """Makes of a batch and its fakes `[B, H, W, 3]` what the discriminator sees.

    Called with the iteration and 'generator' or 'discriminator', for the update that
    asks. The batch has `place` (see `spade_jax.learning.batch.with_places`).

    Returns the batch that `augmented` describes, and the fakes.
    """

    def __call__(
        self, batch: Batch, fake: jax.Array, *, step: jax.Array, purpose: str
    ) -> tuple[Batch, jax.Array]: ...


class Draws(NamedTuple):
    """What T does to each of B layouts and their pictures.

    Attributes:
      brightness: `[B]`, is added: uniform in -0.5 .. 0.5.
      saturation: `[B]`, factor of the distance from grey: uniform in 0 .. 2.
      contrast: `[B]`, factor of the distance from the mean: uniform in 0.5 .. 1.5.
      shift: int32 `[B, 2]`, rows down and columns to the right.
      hole: int32 `[B, 2]`, the first row and column of the square, which may begin
        before the picture and end behind it: its centre is anywhere in the picture.
    """

    brightness: jax.Array
    saturation: jax.Array
    contrast: jax.Array
    shift: jax.Array
    hole: jax.Array


def seeded_augment(*, seed: int, kinds: Iterable[str]) -> Augment:
    """T by (seed, iteration, update, place in the batch of all devices).

    Args:
      seed: of the run.
      kinds: some of `KINDS`.

    Raises:
      ValueError: one is not known.
    """
    kinds = frozenset(kinds)
    if unknown := kinds - {*KINDS}:
        raise ValueError(
            f"config.loss.augment: {min(unknown)!r} is not one of {', '.join(KINDS)}."
        )

    def augment(batch, fake, *, step, purpose):
        # Beside the noises of an iteration, which fold in 0 and 1, and its coins, 2.
        number = 3 + ("generator", "discriminator").index(purpose)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), number)
        keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(batch["place"])
        height, width = batch["label"].shape[1:]
        return augmented(batch, fake, draw(keys, size=(height, width)), kinds=kinds)

    return augment


def draw(keys: jax.Array, *, size: tuple[int, int]) -> Draws:
    """Draws T for each of B keys, for pictures of (height, width)."""

    def of_one(key):
        colors = jax.random.uniform(jax.random.fold_in(key, 0), (3,))
        shift, hole = (
            jax.random.uniform(jax.random.fold_in(key, i), (2,)) for i in (1, 2)
        )
        sides = jnp.array(size)
        reach = jnp.array(_parts_of(size, _REACH))
        half = jnp.array(_parts_of(size, _HOLE)) // 2
        return Draws(
            brightness=colors[0] - 0.5,
            saturation=2 * colors[1],
            contrast=colors[2] + 0.5,
            shift=jnp.floor(shift * (2 * reach + 1)).astype(jnp.int32) - reach,
            hole=jnp.floor(hole * (sides + 1)).astype(jnp.int32) - half,
        )

    return jax.vmap(of_one)(keys)


def augmented(
    batch: Batch, fake: jax.Array, draws: Draws, *, kinds: Iterable[str]
) -> tuple[Batch, jax.Array]:
    """Applies T to layouts and their pictures, real and synthesised.

    Args:
      batch: with `image`, `label` and what else each pixel has: `edge`, `pixel_weight`.
      fake: `[B, H, W, 3]`.
      draws: of B.
      kinds: some of `KINDS`.

    Returns:
      A batch of these arrays, and the fakes. Where nothing is pictures are 0, labels
      -1 and edges False. `seen`, `[B, H, W]`, is 0 there and elsewhere one number a
      picture, of which the mean over the picture is 1.
    """
    seen_batch = {name: batch[name] for name in _BLANK if name in batch}
    if "color" in kinds:
        seen_batch["image"] = _colored(seen_batch["image"], draws)
        fake = _colored(fake, draws)
    arrays = {**seen_batch, "fake": fake, "seen": jnp.ones_like(fake[..., 0])}
    blanks = {**_BLANK, "fake": 0, "seen": 0}
    if "translation" in kinds:
        arrays = {
            name: _shifted(x, draws.shift, blank=blanks[name])
            for name, x in arrays.items()
        }
    if "cutout" in kinds:
        hole = _hole(draws.hole, size=(fake.shape[1], fake.shape[2]))
        arrays = {
            name: jnp.where(_like(hole, x), jnp.asarray(blanks[name], x.dtype), x)
            for name, x in arrays.items()
        }
    seen = arrays.pop("seen")
    # Which is never 0: at least half of the pixels are there.
    arrays["seen"] = seen / seen.mean((1, 2), keepdims=True)
    return arrays, arrays.pop("fake")


def _parts_of(size: tuple[int, int], share: float) -> tuple[int, int]:
    """A share of (height, width) in pixels; halves are rounded up, as by the paper."""
    height, width = size
    return int(height * share + 0.5), int(width * share + 0.5)


def _colored(image: jax.Array, draws: Draws) -> jax.Array:
    brightness, saturation, contrast = (
        x.astype(image.dtype)[:, None, None, None] for x in draws[:3]
    )
    image = image + brightness
    grey = image.mean(-1, keepdims=True)
    image = grey + saturation * (image - grey)
    mean = image.mean((1, 2, 3), keepdims=True)
    return mean + contrast * (image - mean)


def _shifted(x: jax.Array, shift: jax.Array, *, blank: Any) -> jax.Array:
    """`[B, H, W, ...]`, each picture moved by its `[2]`, within the reach."""
    down, right = _parts_of((x.shape[1], x.shape[2]), _REACH)

    def of_one(x, shift):
        flat = [(0, 0)] * (x.ndim - 2)
        margins = [(down, down), (right, right), *flat]
        padded = jnp.pad(x, margins, constant_values=blank)
        start = (down - shift[0], right - shift[1], *[0] * len(flat))
        return jax.lax.dynamic_slice(padded, start, x.shape)

    return jax.vmap(of_one)(jnp.asarray(x), shift)


def _hole(first: jax.Array, *, size: tuple[int, int]) -> jax.Array:
    """Bool `[B, H, W]`, true within the squares that begin at `[B, 2]`."""
    rows, columns = (
        (jnp.arange(side) >= start[:, None]) & (jnp.arange(side) < start[:, None] + cut)
        for side, cut, start in zip(size, _parts_of(size, _HOLE), first.T, strict=True)
    )
    return rows[:, :, None] & columns[:, None, :]


def _like(mask: jax.Array, x: jax.Array) -> jax.Array:
    return mask if x.ndim == mask.ndim else mask[..., None]
