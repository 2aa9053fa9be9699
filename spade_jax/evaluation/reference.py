"""The real pictures that synthesised ones are compared with, in statistics.

They come from a file in pytorch-fid's format, or are computed from a split and kept in
the work dir: `WORKDIR/eval/reference-FINGERPRINT.npz`.
"""

import functools
import hashlib
import json
import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from spade_jax import assemble, data, files
from spade_jax.devices import distributed
from spade_jax.evaluation import evaluator as evaluators
from spade_jax.evaluation import examples, result
from spade_jax.evaluation.evaluator import Reference
from spade_jax.metrics import frechet
from spade_jax.metrics.observers import Observers
from spade_jax.metrics.protocols import Protocol
from spade_jax.progress import phase
from spade_jax.recipe import Data, Recipe


def read(
    file: str | os.PathLike[str],
    observers: Observers,
    size: tuple[int, int],
    *,
    called: str,
) -> Reference:
    """Reads statistics that were made elsewhere.

    Args:
      file: see `frechet.read_statistics`.
      observers: that will look at the synthesised pictures.
      size: of these, (height, width).
      called: what messages call the file.

    Raises:
      ValueError: the file is missing, or of another network's features.
    """
    statistics = frechet.read_statistics(file)
    blank = np.zeros((1, *size, 3), np.float32)
    expected, found = observers.features(blank).shape[1], len(statistics.mean)
    if found != expected:
        raise ValueError(
            f"{called}={os.fspath(file)} has {found} features a picture, but the"
            f" network of this protocol {expected}: it is of another network, or of"
            " another segmenter. Give statistics of the same one, or leave it out to"
            " have them computed."
        )
    return Reference(statistics)


def of_split(
    recipe: Recipe,
    protocol: Protocol,
    observers: Observers,
    *,
    workdir: str | os.PathLike[str],
    devices: Mesh,
) -> Reference:
    """Reads, or computes once, those of the protocol's split of a recipe's data.

    To be called by all processes.

    Args:
      recipe: of which the data, the size of a batch and the seed count.
      protocol: that says which split, and at which size.
      observers: that look at the pictures.
      workdir: where they are kept.
      devices: that share each batch.

    Raises:
      DataError: the split is missing or wrong, or has too few pictures.
    """
    of = recipe.data
    split = {"val": of.val_split, "train": of.train_split}[protocol.reference_split]
    source = distributed.together(functools.partial(open_split, of, split))
    transform = examples.transform(of, size=protocol.size)
    is_middle = protocol.size is None and not assemble.sees_all(of)
    fingerprint = _fingerprint(
        source,
        (repr(transform), *(["middle"] if is_middle else [])),
        dataset=of.source,
        split=split,
        network=observers.description.get(protocol.features),
    )
    file = result.directory(workdir) / f"reference-{fingerprint}.npz"
    of_features = file.with_suffix(".npy")
    keep = len(source) <= evaluators.KEPT_FEATURES
    # Computing is for all processes together, so the first one decides.
    if multihost_utils.broadcast_one_to_all(np.int32(file.is_file())):
        kept = None
        if keep:
            with files.reading(of_features) as here:
                kept = np.load(here, allow_pickle=False)
        with files.reading(file) as here:
            return Reference(frechet.read_statistics(here), kept)
    with phase(
        f"Looking at the {len(source)} real pictures of {split}",
        usually="minutes, once: what is found is kept",
        total=len(source),
        unit="pictures",
    ) as looking:
        found = evaluators.reference_of(
            examples.once(
                source,
                transform,
                devices,
                batch_size=recipe.schedule.batch_size,
                seed=recipe.seed,
            ),
            observers.features,
            keep=keep,
            name=f"The reference set, {split!r},",
            at=looking.at,
        )
    if jax.process_index() == 0:
        if found.features is not None:
            with (
                files.replacing(of_features) as unfinished,
                unfinished.open("wb") as written,
            ):
                np.save(written, found.features)
        # Last, as where it is the features are looked for, too.
        frechet.write_statistics(file, found.statistics)
    return found


def open_split(of: Data, split: str) -> data.Source:
    """Opens a split for a Frechet distance.

    Raises:
      DataError: it is missing or wrong, or has too few pictures.
    """
    source = assemble.source(of, split)
    if len(source) < 2:
        raise data.DataError(
            f"The split {split!r} has {len(source)} picture, and a Frechet distance"
            " needs at least 2. Check config.data.root and config.data.val_split."
        )
    return source


def _fingerprint(
    source: data.Source,
    transform: tuple[str, ...],
    *,
    dataset: str,
    split: str,
    network: Any,
) -> str:
    """A hash of all that reference statistics depend on; of the pictures only three."""
    digest = hashlib.sha256()
    told = [dataset, split, len(source), *transform, network]
    digest.update(json.dumps(told, sort_keys=True).encode())
    for i in {0, len(source) // 2, len(source) - 1}:
        digest.update(source[i].image.tobytes())
    return digest.hexdigest()[:16]
