"""Scores of a segmenter on real pictures, and a sheet of what it sees in them.

Letters: B batch, H height, W width.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from spade_jax import assemble, data
from spade_jax.files import pictures
from spade_jax.metrics import own_segmenter, protocols, segmentation
from spade_jax.recipe import Data, Recipe

_SHEET = 8  # pictures


class RealScores(NamedTuple):
    """What a segmenter makes of the real pictures.

    Attributes:
      confusion: of all of them, true and seen.
      examples: some of them: `image` float32 `[B, H, W, 3]` in [-1, 1], `label` and
        `seen`, integers `[B, H, W]`.
    """

    confusion: segmentation.Confusion
    examples: Mapping[str, np.ndarray]

    @property
    def values(self) -> dict[str, float]:
        """The scores by name, 0 to 1."""
        rules = protocols.find("own", "any")
        return {
            "mean_iou": segmentation.mean_iou(self.confusion, rule=rules.mean_iou),
            "accuracy": segmentation.pixel_accuracy(
                self.confusion, rule=rules.accuracy
            ),
        }


def make_score(
    recipe: Recipe, real: data.Source, description: own_segmenter.Description
) -> Callable[[Mapping[str, Any], Callable[[int], None]], RealScores]:
    """Builds the scoring of a segmenter's variables.

    It is called with them, and with what is told how many pictures it has looked at.

    Args:
      recipe: of which the data, the size of the segmenter's batch and the seed count.
      real: the pictures.
      description: of the segmenter.
    """
    classify = _classifier(description)

    def score(variables: Mapping[str, Any], at: Callable[[int], None]) -> RealScores:
        confusion, examples = segmentation.Confusion.empty(description.num_classes), {}
        count = 0
        for batch in _batches(recipe, real):
            seen = np.asarray(classify(variables, batch["image"]))
            confusion = confusion.update(
                np.array(description.truth)[batch["label"]], seen, mask=batch["mask"]
            )
            count += int(batch["mask"].sum())
            at(count)
            if not examples:
                examples = {name: batch[name] for name in ("image", "label")}
                examples["seen"] = seen
        return RealScores(confusion, examples)

    return score


def contact_sheet(
    of: Data,
    description: own_segmenter.Description,
    examples: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The sheet, real | layout | seen: uint8 `[H, W, 3]`.

    Args:
      of: the data, whose colours are shown.
      description: of the segmenter.
      examples: see `RealScores`.
    """
    palette = pictures.full_palette(of.palette, of.num_ids)
    few = {name: values[:_SHEET] for name, values in examples.items()}
    return pictures.grid(
        [
            pictures.to_uint8(few["image"]),
            pictures.paint(few["label"], palette),
            pictures.paint(np.array(description.ids)[few["seen"]], palette),
        ],
        per_row=2,
        at_least=128,
    )


def _classifier(description: own_segmenter.Description) -> Callable[..., jax.Array]:
    """A function from variables and pictures in [-1, 1] to classes, as a user's is."""

    @jax.jit
    def classify(variables, image):
        segmenter = own_segmenter.OwnSegmenter(description, variables, sha256="")
        return segmenter.see((image + 1) / 2).logits.argmax(-1)

    return classify


def _batches(recipe: Recipe, source: data.Source) -> Iterable[dict[str, np.ndarray]]:
    return data.batches(
        source,
        batch_size=min(recipe.segmenter.batch_size, len(source)),
        seed=recipe.seed,
        shuffle=False,
        transform=assemble.preprocess(recipe.data, training=False),
        num_epochs=1,
    )
