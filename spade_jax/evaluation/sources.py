"""Which data a model is evaluated on, and which it was trained on."""

import contextlib
import logging
import os
from collections.abc import Iterator

import ml_collections

from spade_jax import build, data
from spade_jax.data.classes import ade20k, cityscapes, coco_stuff
from spade_jax.models.restore import saved_config

_log = logging.getLogger(__name__)

_PUBLISHED_CLASSES = {
    "ade20k": ade20k.CLASSES,
    "cityscapes": cityscapes.CLASSES,
    "coco_stuff": coco_stuff.CLASSES,
}


def config_of_model(
    workdir: str | os.PathLike[str],
    step: int | None,
    config: ml_collections.ConfigDict | None = None,
    data_root: str = "",
) -> ml_collections.ConfigDict:
    """A checkpoint's config, with the data of another one if that is given.

    Raises:
      CheckpointError: there is no such checkpoint.
      ValueError: the other data has layouts of other classes than the model's.
    """
    found = saved_config(workdir, step=step)
    if config is not None:
        _check_classes(found, config)
        found.data = config.data.copy_and_resolve_references()
    if data_root:
        found.data.root = data_root
    return found


def training_config(
    own_config: ml_collections.ConfigDict, config: ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
    """The config whose training pictures stand for those that a model was trained on.

    Args:
      own_config: of the model, with its own data: the one, if that is here.
      config: of the model, with the data it is evaluated on: the one otherwise.

    Raises:
      DataError: the training pictures of neither are.
    """
    try:
        build.source(own_config, own_config.data.train_split)
    except data.DataError as error:
        if own_config is config:
            raise
        build.source(config, config.data.train_split)
        _log.warning(
            "The pictures that the model was trained on are not here (%s). The training"
            " pictures of --config stand in for them: their number is taken for the"
            " model's, and averaged weights get their batch statistics.",
            error,
        )
        return config
    return own_config


@contextlib.contextmanager
def telling_where_from(
    config: ml_collections.ConfigDict, *, is_saved: bool
) -> Iterator[None]:
    """Adds to errors of the data where a checkpoint's evaluation has that from."""
    try:
        yield
    except data.DataError as error:
        if not is_saved:
            raise
        raise data.DataError(
            f"{error}\nThe checkpoint says config.data.source={config.data.source!r},"
            f" config.data.root={config.data.root!r}. In evaluation --data_root=DIR"
            " gives another root, and --config=configs/NAME.py [--config.data...=...]"
            " other data altogether.",
            kind=error.kind,
        ) from error


def dataset(config: ml_collections.ConfigDict) -> str:
    """The dataset, a value of `config.data.source`.

    Pictures in folders are a published dataset's if their classes are.
    """
    named = tuple(config.data.classes)
    if config.data.source == "folder":
        for dataset, classes in _PUBLISHED_CLASSES.items():
            if named == tuple(classes):
                return dataset
    return config.data.source


def _check_classes(
    saved: ml_collections.ConfigDict, given: ml_collections.ConfigDict
) -> None:
    """Refuses data of other layouts than a model's."""

    def layouts(config):
        # The files of other data may hold another number for "unknown".
        of = config.data
        return of.num_classes, of.unknown_label is None, of.instances

    if layouts(saved) != layouts(given):
        differing = [
            f"  config.data.{field}: {saved.data[field]!r} in the checkpoint,"
            f" {given.data[field]!r} in --config"
            for field in ("num_classes", "unknown_label", "instances")
            if saved.data[field] != given.data[field]
        ]
        raise ValueError(
            "The data of --config is not of the layouts that the model is for:\n"
            + "\n".join(differing)
            + "\nGive these fields the checkpoint's values, or other data."
        )
