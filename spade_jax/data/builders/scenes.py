"""The drawn dataset: scenes of open country, made here without a download.

`spade_jax.data.scenes.draw` makes scene number n, always the same, and the splits
take their numbers from ranges that do not meet.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from spade_jax.data.builders import base
from spade_jax.data.scenes import CLASSES, PALETTE, draw

# Scene numbers of `val` begin here, so that the splits share no scene at any size.
_FIRST_VAL_SEED = 1_000_000


@dataclasses.dataclass(kw_only=True)
class ScenesConfig(tfds.core.BuilderConfig):
    """How large the scenes are and how many there are.

    Attributes:
      size: height and width in pixels.
      num_train: number of training scenes, at most a million.
      num_val: number of validation scenes.
    """

    # The name is part of the path on disk, so it tells apart whatever differs there.
    name: str = dataclasses.field(init=False)
    size: int = 128
    num_train: int = 2000
    num_val: int = 200

    def __post_init__(self) -> None:
        if not (self.size > 0 < self.num_val and 0 < self.num_train <= _FIRST_VAL_SEED):
            raise ValueError(
                f"Cannot draw {self.num_train} and {self.num_val} scenes of "
                f"{self.size} pixels: all three must be positive, and the first at "
                f"most {_FIRST_VAL_SEED}."
            )
        self.name = f"{self.size}px_{self.num_train}_{self.num_val}"


class Scenes(base.LayoutBuilder):
    """Drawn scenes with class ids and instances; see the module's docstring.

    Example number n of a split is its scene number n.
    """

    # To be raised whenever `draw` draws a scene differently: scenes on disk are found
    # by this number.
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [ScenesConfig()]
    CLASSES: ClassVar = dict(zip(CLASSES, PALETTE, strict=True))
    INSTANCES = True
    DESCRIPTION = "Procedural landscapes drawn by spade_jax."

    def _splits(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        config = self.builder_config
        assert isinstance(config, ScenesConfig)
        val_seeds = range(_FIRST_VAL_SEED, _FIRST_VAL_SEED + config.num_val)
        return {
            "train": self._generate_examples(range(config.num_train), config.size),
            "val": self._generate_examples(val_seeds, config.size),
        }

    def _generate_examples(
        self, seeds: Sequence[int], size: int
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        make = functools.partial(_draw_record, size=size)
        yield from enumerate(base.parallel_map(make, seeds))


def _draw_record(seed: int, *, size: int) -> dict[str, Any]:
    scene = draw(seed, height=size, width=size)
    return base.record(
        image=base.png(scene.image),
        label=scene.label,
        instance=scene.instance.astype(np.uint16),
        name=f"scene_{seed:07d}",
    )


def load(
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    size: int = 128,
    num_train: int = 2000,
    num_val: int = 200,
) -> Sequence[Mapping[str, Any]]:
    """Opens a split of the scenes, and draws all of them first if need be.

    Args:
      split: "train" or "val".
      data_dir: where TFDS keeps its datasets. None: TFDS's own default.
      size: height and width of a scene in pixels.
      num_train: number of training scenes.
      num_val: number of validation scenes.

    Returns:
      What `base.load` does.

    Raises:
      ValueError: there is no such split, or a number is out of its range.
    """
    config = ScenesConfig(size=size, num_train=num_train, num_val=num_val)
    return base.load(
        lambda: Scenes(config=config, data_dir=data_dir, file_format="array_record"),
        split,
    )
