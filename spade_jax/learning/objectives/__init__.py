"""Objectives: what generator and discriminator minimise, an objective a file.

An `Objective` is pure functions. It knows its discriminator, and how to call it: the
updates (`spade_jax.learning.updates`) hand it fakes and take gradients of the sum of
the terms that it gives. What is logged are those terms, by the same names.

Terms are float32 scalars that have their weights already. Each is a mean over the
batch, so that the mean over devices of a device's value is the value of the whole
batch; what has to be known of the whole batch first, `Objective.prepare` finds out.

Letters: B batch, H height, W width, N latent size.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax

from spade_jax.learning.batch import Batch
from spade_jax.learning.state import Params, Stats

Terms = dict[str, jax.Array]
"""Weighted float32 scalars by name, to be summed and logged."""


class GeneratorTerms(Protocol):
    """What generator and encoder minimise.

    Called with keywords only:
      params: of the discriminator.
      stats: its statistics, which the terms may advance.
      fake: `[B, H, W, 3]` in [-1, 1], of the generator in training mode.
      latent: mean and log-variance `[B, N]` that the encoder made of the real
        pictures, or None without an encoder.
      batch: what the fakes were made from, with the real pictures.
      constants: a tree of arrays that no update changes (parameters of a pretrained
        network, say), or None.
      step: int32 scalar, iterations done: what a term draws, it draws from this.

    Returns the terms, and the discriminator's statistics after its forwards.
    """

    def __call__(
        self,
        *,
        params: Params,
        stats: Stats,
        fake: jax.Array,
        latent: tuple[jax.Array, jax.Array] | None,
        batch: Batch,
        constants: Any,
        step: jax.Array,
    ) -> tuple[Terms, Stats]: ...


class DiscriminatorTerms(Protocol):
    """What the discriminator minimises; its arguments are those of `GeneratorTerms`.

    The fakes are constants here. By the names' `d_` the logs tell whose terms they are.
    """

    def __call__(
        self,
        *,
        params: Params,
        stats: Stats,
        fake: jax.Array,
        batch: Batch,
        step: jax.Array,
    ) -> tuple[Terms, Stats]: ...


def unprepared(batch: Batch) -> Batch:
    """The batch as it is, for an objective that looks at no picture beside another."""
    return batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """What the two updates minimise.

    Attributes:
      generator_terms: of the update of generator and encoder.
      discriminator_terms: of the discriminator's.
      prepare: adds to a batch what terms have to know of the whole of it (weights that
        balance its classes, say), by a collective where devices share it. Done once an
        iteration, before the batch is taken apart (`accumulate`), so what it adds are
        arrays `[B, ...]`.
    """

    generator_terms: GeneratorTerms
    discriminator_terms: DiscriminatorTerms
    prepare: Callable[[Batch], Batch] = unprepared
