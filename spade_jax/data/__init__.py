"""Data: sources of examples, the official preprocessing, and the Grain pipeline.

In come files: pictures in folders, datasets that TFDS has built, or none at all, for
the scenes that are drawn here. Out come `Example`s, one by one, and dicts of NumPy
arrays, batch by batch. What is wrong with the files ends in a `DataError`. There is no
JAX here: numbers of processes are arguments. Only the sources that TFDS builds need it,
and TensorFlow, to be installed.

    source = open_source("folder", "train", root="my_pictures", num_classes=12)
    transform = Preprocess(mode="resize_and_crop", load_size=286, crop_size=256)
    check(source, transform=transform)
    for batch in batches(
        source, batch_size=8, seed=0, shuffle=True, transform=transform
    ):
        ...

May import: PIL, absl, grain, tensorflow_datasets, `progress`.
"""

from spade_jax.data.colors import ColorTable, color_table, read_palette
from spade_jax.data.decode import decode_image, decode_map
from spade_jax.data.error import DataError
from spade_jax.data.example import Example, Source, check
from spade_jax.data.folder import FolderSource
from spade_jax.data.ids import class_ids
from spade_jax.data.pipeline import batches
from spade_jax.data.sources import BUILT, SOURCES, open_source
from spade_jax.data.transforms import (
    EDGE_RULE,
    MODES,
    Geometry,
    OneSize,
    Preprocess,
    apply,
    draw_geometry,
    edges,
    one_size,
    resized,
    to_float,
)

__all__ = [
    "BUILT",
    "EDGE_RULE",
    "MODES",
    "SOURCES",
    "ColorTable",
    "DataError",
    "Example",
    "FolderSource",
    "Geometry",
    "OneSize",
    "Preprocess",
    "Source",
    "apply",
    "batches",
    "check",
    "class_ids",
    "color_table",
    "decode_image",
    "decode_map",
    "draw_geometry",
    "edges",
    "one_size",
    "open_source",
    "read_palette",
    "resized",
    "to_float",
]
