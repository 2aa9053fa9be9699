"""Samples of label maps: their styles, and their pictures, several in one program.

Letters: B batch, H height, W width, N latent size.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from spade_jax import data
from spade_jax.files import pictures
from spade_jax.layout import Layout
from spade_jax.models import styles
from spade_jax.models.maps import Maps, PreparedMaps
from spade_jax.models.predictor import Predictor
from spade_jax.models.sizes import Fitted, SizeRule
from spade_jax.models.styles import Posterior

# Layouts at a time; more would only take memory.
_BATCH = 4

Latents = Callable[[Sequence[int], int], np.ndarray | None]
"""Makes of the numbers of B examples and of the sample latents `[B, N]`, or None."""


class Sampled(NamedTuple):
    """What is made of a label map.

    Attributes:
      number: of the map.
      layout: uint8 `[H, W, 3]`, in its colours.
      images: the samples, as large.
    """

    number: int
    layout: np.ndarray
    images: list[np.ndarray]


def latents(
    predictor: Predictor,
    *,
    photos: list[str],
    seed: int,
    num_samples: int,
    one_for_all: bool,
) -> Latents:
    """What the pictures of a model start from; see `predict`.

    Args:
      predictor: of the model.
      photos: of whose styles they are: of each example one, one of all, or none.
      seed, num_samples: see `predict`.
      one_for_all: whether all examples have the style of the first.
    """
    of_all = predictor.posterior(photos[0]) if len(photos) == 1 else None

    def posterior(numbers: Sequence[int]) -> Posterior | None:
        if of_all is not None or not photos:
            return of_all
        found = [predictor.posterior(photos[number]) for number in numbers]
        means, logvars = zip(*found, strict=True)
        return jnp.concatenate(means), jnp.concatenate(logvars)

    def of_examples(numbers, sample):
        if predictor.latent_size is None:
            return None
        of_photos = posterior(numbers)
        if of_photos is not None and num_samples == 1:
            # One picture in a style is that of the mean, as it is without chance.
            mean = np.asarray(of_photos[0])
            return np.broadcast_to(mean, (len(numbers), mean.shape[1]))
        return styles.drawn(
            [0] * len(numbers) if one_for_all else numbers,
            seed=seed,
            sample=sample,
            latent_size=predictor.latent_size,
            posterior=of_photos,
            aggregate=predictor.trained.aggregate,
        )

    return of_examples


def synthesised(
    predictor: Predictor,
    maps: Maps,
    latents: Latents,
    *,
    groups: dict[Fitted, list[int]],
    rule: SizeRule,
    num_samples: int,
) -> Iterator[Sampled]:
    """Synthesises label maps, several in one program.

    Args:
      predictor: of the model.
      maps: in their order.
      latents: of the pictures.
      groups: the maps' numbers, by what becomes of their sizes.
      rule: that says so.
      num_samples: pictures of each.
    """
    for fitted, numbers in groups.items():
        height, width = fitted.picture
        first = 0
        for batch in data.batches(
            _Some(maps, numbers),
            batch_size=min(_BATCH, len(numbers)),
            # Nothing is drawn.
            seed=0,
            shuffle=False,
            transform=rule,
            num_epochs=1,
            finish=functools.partial(_with_layout, predictor),
        ):
            layout, count = batch["layout"], len(batch["label"])
            prepared = PreparedMaps([layout], fitted.picture)
            # With several samples what depends on the layout alone is computed once.
            again = num_samples > 1 and predictor.has_modulations
            values = [predictor.synthesis.modulate(layout)] if again else None
            # The last batch is filled up with the first examples.
            of_batch = [numbers[(first + i) % len(numbers)] for i in range(count)]
            samples = [
                predictor.synthesis.synthesise(
                    prepared, [latents(of_batch, sample)], values=values
                )
                for sample in range(num_samples)
            ]
            painted = pictures.paint(batch["label"], predictor.palette)
            for i in np.flatnonzero(batch["mask"]):
                layout_shown = painted[i, :height, :width]
                images = [sample[i] for sample in samples]
                yield Sampled(of_batch[i], layout_shown, images)
            first += count


class _Some:
    """Some examples of a source, as a source."""

    def __init__(self, source: data.Source, numbers: Sequence[int]):
        self._source, self._numbers = source, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> data.Example:
        return self._source[self._numbers[index]]


def _with_layout(predictor: Predictor, batch: dict[str, Any]) -> dict[str, Any]:
    """Adds the batch's `layout`, in the threads that read."""
    layout = Layout(batch["label"], batch.get("edge"))
    layout = predictor.synthesis.with_tables(layout, size=layout.size, tight=True)
    return {**batch, "layout": layout}
