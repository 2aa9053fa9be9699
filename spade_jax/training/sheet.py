"""The sheet of progress: layout | synthesised | real, of validation examples."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from spade_jax import assemble, data
from spade_jax.files import pictures
from spade_jax.recipe import Recipe


def example_batch(recipe: Recipe, *, platform: str) -> dict[str, Any]:
    """The validation examples that are shown, evenly spaced, with their `number`s.

    Args:
      recipe: of which the data, the seed and the size of the sheet count.
      platform: of the devices: "cpu", "gpu" or "tpu".

    Raises:
      DataError: the validation split is missing or wrong.
    """
    source = assemble.source(recipe.data, recipe.data.val_split)
    transform = data.one_size(
        source[0], assemble.preprocess(recipe.data, training=False)
    )
    data.check(source, transform=transform)
    count = min(recipe.keeping.num_samples, len(source))
    chosen = np.linspace(0, len(source) - 1, count, dtype=int)
    batch = next(
        data.batches(
            [source[int(i)] for i in chosen],
            batch_size=count,
            seed=recipe.seed,
            shuffle=False,
            transform=transform,
            finish=assemble.tabulator(
                recipe.architecture, recipe.compute, shards=1, platform=platform
            ),
        )
    )
    return {**batch, "number": chosen.astype(np.int32)}


def contact_sheet(
    synthesised: jax.Array,
    examples: Mapping[str, np.ndarray],
    *,
    palette: pictures.Palette,
) -> np.ndarray:
    """The sheet, uint8 `[H, W, 3]`.

    Args:
      synthesised: `[B, h, w, 3]` in [-1, 1].
      examples: `label` and `image` of as many.
      palette: a colour for each class id.
    """
    return pictures.grid(
        [
            pictures.paint(examples["label"], palette),
            pictures.to_uint8(jax.device_get(synthesised)),
            pictures.to_uint8(examples["image"]),
        ],
        per_row=2,
        at_least=128,
    )
