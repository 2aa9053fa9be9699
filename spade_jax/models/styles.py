"""Styles: the latents that pictures start from.

They are given, read from photographs, drawn, or lie on the way between two others.

Letters: B number of pictures, N latent size.
"""

import dataclasses
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.learning.latents import prior as standard
from spade_jax.models.aggregate import Aggregate, chosen
from spade_jax.models.inputs import (
    Picture,
    as_array,
    is_several,
    listed,
    refuse_hidden,
)
from spade_jax.nets.encoder import sample_latent

_NUMERIC = (int, float, np.ndarray, np.number)

Posterior = tuple[jax.Array, jax.Array]
"""Mean and log-variance of the distribution of styles, `[1, N]` each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Styles:
    """The styles of a model.

    Attributes:
      latent_size: N, or None for a model that starts from the layout alone.
      encoder: from a photograph to its posterior, or None for a model without one.
      aggregate: which styles the training pictures have, or None.
    """

    latent_size: int | None
    encoder: Callable[[Picture], Posterior] | None
    aggregate: Aggregate | None = None

    def posterior(self, photo: Picture) -> Posterior:
        """The distribution of a photograph's style.

        Raises:
          DataError: the photograph cannot be read.
          ValueError: the model has no encoder.
        """
        if self.encoder is None:
            raise ValueError(
                "The style of a photograph needs a model with an encoder"
                " (config.generator.latent='vae'); this one has none."
            )
        return self.encoder(photo)

    def encode(self, photo: Picture | Sequence[Picture]) -> np.ndarray:
        """The means of photographs: float32 `[N]` of one, `[B, N]` of several.

        Raises:
          Exception: see `posterior`.
        """
        several = listed(photo, one_picture=3)
        means = np.concatenate([np.asarray(self.posterior(one)[0]) for one in several])
        return means if is_several(photo, one_picture=3) else means[0]

    def given(self, style: Any) -> np.ndarray:
        """Latents or photographs as float32 `[B, N]`.

        Raises:
          ValueError: latents are of another size, or not finite, or a mask hides some;
            or see `encode`.
        """
        style = as_array(style)
        latents = _numbers(style)
        if latents is None:
            return np.atleast_2d(self.encode(style))
        refuse_hidden(style, "style")
        if latents.shape[1] != self.latent_size:
            raise ValueError(
                f"A style has {latents.shape[1]} numbers, but this model's have"
                f" {self.latent_size}."
            )
        # Of what is too large for it infinity becomes, which is refused.
        with np.errstate(over="ignore"):
            latents = latents.astype(np.float32)
        if not np.isfinite(latents).all():
            row, place = np.argwhere(~np.isfinite(latents))[0]
            raise ValueError(
                f"Number {place} of style {row} is {latents[row, place]}: a style is of"
                " finite numbers."
            )
        return latents

    def of_call(
        self, style: Any, *, seed: int, count: int, prior: str = "data"
    ) -> Sequence[Any]:
        """A latent `[1, N]` for each picture of a call, or one for all of them.

        Args:
          style: see `given`; None draws.
          seed: of the draws.
          count: label maps.
          prior: what is drawn from; see `aggregate.PRIORS`.

        Returns:
          [None] for a model that starts from the layout.

        Raises:
          ValueError: that model got a style, or `prior` is not known; or see `given`
            and `whole`.
        """
        seed = whole(seed)
        aggregate = chosen(self.aggregate, prior)
        if self.latent_size is None:
            if style is not None:
                raise ValueError(
                    "This model starts from the layout alone"
                    " (config.generator.latent='none'): leave style out."
                )
            return [None]
        if style is None:
            latents = drawn(
                range(count),
                seed=seed,
                latent_size=self.latent_size,
                aggregate=aggregate,
            )
        else:
            latents = self.given(style)
        return list(latents[:, None])

    def between(self, a: Any, b: Any, n: int) -> np.ndarray:
        """Styles from one that is given to another, both included: float32 `[n, N]`.

        Raises:
          ValueError: `n` is not whole or less than 2, or an end is not one style; or
            see `given`.
        """
        if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 2:
            raise ValueError(
                f"n={n!r} must be a whole number, at least 2: both ends are included."
            )
        ends = [self.given(end) for end in (a, b)]
        if any(len(end) != 1 for end in ends):
            raise ValueError("interpolate takes one style at each end.")
        (a,), (b,) = ends
        return along_arc(a, b, n)


def whole(number: Any, *, name: str = "seed") -> int:
    """What draws depend on, of Python, or a scalar of NumPy or JAX, as a number.

    Args:
      number: a seed, or which example or sample.
      name: of it, for messages.

    Raises:
      ValueError: it is not whole, or not in 0 .. 2**32 - 1, of which JAX would take the
        lowest 32 bits.
    """
    try:
        # Python counts with truth values.
        found = None if isinstance(number, bool) else operator.index(number)
    except TypeError:
        found = None
    if found is None or not 0 <= found < 2**32:
        raise ValueError(f"{name}={number!r} is no whole number from 0 to {2**32 - 1}.")
    return found


def _numbers(style: Any) -> np.ndarray | None:
    """A style that is given as numbers: floating `[B, N]`. None: it is a photograph.

    Pictures have integers, so that an array of two axes is never taken for the other.
    """
    if isinstance(style, Sequence) and not isinstance(style, str | bytes):
        rows = [np.asarray(x) for x in map(as_array, style) if isinstance(x, _NUMERIC)]
        if not rows or len(rows) < len(style) or len({x.shape for x in rows}) > 1:
            return None
        style = np.stack(rows)
    if not isinstance(style, np.ndarray) or style.ndim not in (1, 2):
        return None
    # JAX knows more kinds than NumPy, as bfloat16.
    is_whole = jnp.issubdtype(style.dtype, jnp.integer) and style.ndim == 1
    if not is_whole and not jnp.issubdtype(style.dtype, jnp.floating):
        return None
    return np.atleast_2d(style)


def drawn(
    numbers: Iterable[int],
    *,
    seed: int,
    sample: int = 0,
    latent_size: int,
    posterior: Posterior | None = None,
    aggregate: Aggregate | None = None,
) -> np.ndarray:
    """Draws a style for each example: float32 `[B, N]`.

    Args:
      numbers: of the examples.
      seed: of all draws.
      sample: of the several styles of an example.
      latent_size: N.
      posterior: to draw from; None: none of a photograph.
      aggregate: to draw from then; None: N(0, 1).
    """
    noise = np.stack(
        [standard(seed, number, sample, latent_size=latent_size) for number in numbers]
    )
    if posterior is None:
        return noise if aggregate is None else aggregate.placed(noise)
    return np.asarray(sample_latent(*posterior, noise))


def along_arc(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    """Points on the way from one to another, both included.

    Along the arc between their directions, with lengths in proportion, as draws from a
    normal distribution have nearly all the same length (White, "Sampling generative
    networks", 2016). Straight where there is no arc: from or to 0, and between equal or
    opposite directions.

    Args:
      a, b: float32 `[N]`.
      n: how many, at least 2.

    Returns:
      float32 `[n, N]`.
    """
    share = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    straight = (1 - share) * a + share * b
    if min(lengths) == 0:
        return straight
    one, other = a / lengths[0], b / lengths[1]
    angle = np.arccos(np.clip(one @ other, -1, 1))
    if np.sin(angle) < 1e-3:
        return straight
    arc = np.sin((1 - share) * angle) * one + np.sin(share * angle) * other
    length = (1 - share) * lengths[0] + share * lengths[1]
    return (length * arc / np.sin(angle)).astype(np.float32)
