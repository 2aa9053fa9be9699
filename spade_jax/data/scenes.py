"""The embedded dataset: landscapes that this project draws itself, as a TFDS builder.

No download. `spade_jax.data.landscape.draw` makes scene number n, always the same, and
the splits take their numbers from ranges that do not meet. `load` draws the scenes
where they are not on disk yet.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import io
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from spade_jax.data.landscape import CLASSES, PALETTE, draw

_log = logging.getLogger(__name__)

# Scene numbers of `val` begin here, so that the splits share no scene at any size.
_FIRST_VAL_SEED = 1_000_000
# Fewer scenes than these are drawn sooner than another process has started.
_SCENES_PER_PROCESS = 32


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


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Landscapes with class ids and instances; see the module's docstring.

    Built with `tfds build`, or by `load`. Example number n of a split is its scene
    number n.
    """

    # To be raised whenever `draw` draws a scene differently: scenes on disk are found
    # by this number.
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [ScenesConfig()]
    # Nothing is downloaded, so there are no checksums for TFDS to look for beside this
    # file. (Where it looks, TFDS 4.9.10 imports a package that it does not require.)
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        return tfds.core.DatasetInfo(
            builder=self,
            description="Procedural landscapes drawn by spade_jax.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3)),
                    "label": tfds.features.Image(shape=(size, size, 1)),
                    "instance": tfds.features.Image(
                        shape=(size, size, 1), dtype=np.uint16
                    ),
                    "name": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict(
                classes=list(CLASSES),
                palette=np.asarray(PALETTE).tolist(),
                unknown_label=None,
            ),
            # Keeps the scenes in the order of their numbers.
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        config = self.builder_config
        val_seeds = range(_FIRST_VAL_SEED, _FIRST_VAL_SEED + config.num_val)
        return {
            "train": self._generate_examples(range(config.num_train)),
            "val": self._generate_examples(val_seeds),
        }

    def _generate_examples(
        self, seeds: Sequence[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        encode = functools.partial(_encode, size=self.builder_config.size)
        yield from enumerate(_map(encode, seeds))


def _map(
    function: Callable[[int], dict[str, Any]], seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """`map(function, seeds)`, by several processes if there is enough to do."""
    processes = min(os.cpu_count() or 1, len(seeds) // _SCENES_PER_PROCESS)
    if processes < 2:
        yield from map(function, seeds)
        return
    # Spawned, not forked: the threads of JAX and TensorFlow do not survive a fork.
    with concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        yield from pool.map(function, seeds, chunksize=8)


def _encode(seed: int, *, size: int) -> dict[str, Any]:
    """Draws a scene: its record, pictures as PNG bytes."""
    scene = draw(seed, height=size, width=size)
    return {
        "image": _png(scene.image),
        "label": _png(scene.label),
        "instance": _png(scene.instance.astype(np.uint16)),
        "name": f"scene_{seed:07d}",
    }


def _png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="png")
    return stream.getvalue()


def load(
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    size: int = 128,
    num_train: int = 2000,
    num_val: int = 200,
) -> Sequence[Mapping[str, Any]]:
    """Opens a split of the scenes, and draws all of them first if need be.

    Scenes are drawn into a temporary directory that is renamed once it is complete, so
    an interrupted build leaves nothing behind, and processes that build at the same
    time do not disturb one another. Many scenes are drawn by spawned processes, which
    import the main module: a script that calls this needs `if __name__ == "__main__"`.

    Args:
      split: "train" or "val".
      data_dir: where TFDS keeps its datasets. None: TFDS's own default.
      size: height and width of a scene in pixels.
      num_train: number of training scenes.
      num_val: number of validation scenes.

    Returns:
      Random access to dicts of image, label and instance (PNG bytes) and name (bytes),
      for `TfdsSource`.

    Raises:
      ValueError: there is no such split, or a number is out of its range.
    """
    if split not in ("train", "val"):
        raise ValueError(f"The scenes have no split {split!r}, only train and val.")
    config = ScenesConfig(size=size, num_train=num_train, num_val=num_val)
    builder = _builder(config, data_dir)
    if not builder.is_prepared():
        _build(builder, config)
        builder = _builder(config, data_dir)
    skip = tfds.decode.SkipDecoding()
    return builder.as_data_source(
        split, decoders={"image": skip, "label": skip, "instance": skip}
    )


def _builder(config: ScenesConfig, data_dir: str | os.PathLike[str] | None) -> Scenes:
    # TFDS's data sources have random access to array_record files only.
    return Scenes(config=config, data_dir=data_dir, file_format="array_record")


def _build(builder: Scenes, config: ScenesConfig) -> None:
    _log.info(
        "Drawing %d + %d scenes of %dx%d pixels into %s (this happens once) ...",
        config.num_train,
        config.num_val,
        config.size,
        config.size,
        builder.data_dir,
    )
    start = time.monotonic()
    try:
        builder.download_and_prepare()
    except OSError:
        # Another process may have been faster with the same scenes: its directory is
        # then in the way of ours.
        if not builder.is_prepared():
            raise
    _log.info("Drew the scenes in %.0f s.", time.monotonic() - start)
