"""Which data a model is evaluated on, and which it was trained on."""

import contextlib
import logging
from collections.abc import Iterator

from spade_jax import assemble, data
from spade_jax.data.classes import ade20k, cityscapes, coco_stuff
from spade_jax.recipe import Data, Recipe, with_values

_log = logging.getLogger(__name__)

_PUBLISHED_CLASSES = {
    "ade20k": ade20k.CLASSES,
    "cityscapes": cityscapes.CLASSES,
    "coco_stuff": coco_stuff.CLASSES,
}


def with_data(
    recipe: Recipe, other: Recipe | None = None, *, data_root: str = ""
) -> Recipe:
    """The recipe of a model, with the data of another one if that is given.

    Args:
      recipe: of the model.
      other: whose data to take; None for the model's own.
      data_root: where that is; empty: where its recipe says.

    Raises:
      ValueError: the other data has layouts of other classes than the model's, or of
        another size than the only one that it makes.
    """
    changes = {}
    if other is not None:
        _check_fits(recipe, other.data)
        changes = {f"data.{name}": value for name, value in other.field("data").items()}
    if data_root:
        changes["data.root"] = data_root
    return with_values(recipe, changes) if changes else recipe


def training_recipe(its_own: Recipe, evaluated: Recipe) -> Recipe:
    """The recipe whose training pictures stand for those that a model was trained on.

    Args:
      its_own: of the model, with its own data: the one, if that is here.
      evaluated: of the model, with the data it is evaluated on: the one otherwise.

    Raises:
      DataError: the training pictures of neither are.
    """
    try:
        assemble.source(its_own.data, its_own.data.train_split)
    except data.DataError as error:
        if its_own is evaluated:
            raise
        assemble.source(evaluated.data, evaluated.data.train_split)
        _log.warning(
            "The pictures that the model was trained on are not here (%s). The training"
            " pictures of --config stand in for them: their number is taken for the"
            " model's, and averaged weights get their batch statistics.",
            error,
        )
        return evaluated
    return its_own


@contextlib.contextmanager
def telling_where_from(of: Data, *, is_saved: bool) -> Iterator[None]:
    """Adds to errors of the data where a checkpoint's evaluation has that from.

    Args:
      of: the data.
      is_saved: whether the checkpoint says so.
    """
    try:
        yield
    except data.DataError as error:
        if not is_saved:
            raise
        raise data.DataError(
            f"{error}\nThe checkpoint says config.data.source={of.source!r},"
            f" config.data.root={of.root!r}. In evaluation --data_root=DIR"
            " gives another root, and --config=configs/NAME.py [--config.data...=...]"
            " other data altogether.",
            kind=error.kind,
        ) from error


def dataset(of: Data) -> str:
    """The dataset, a value of `config.data.source`.

    Pictures in folders are a published dataset's if their classes are.
    """
    if of.source == "folder":
        for dataset, classes in _PUBLISHED_CLASSES.items():
            if of.classes == tuple(classes):
                return dataset
    return of.source


def _check_fits(model: Recipe, given: Data) -> None:
    """Refuses data of other layouts than a model's."""
    saved, fields = model.data, []

    def layouts(of: Data):
        # The files of other data may hold another number for "unknown".
        return of.num_classes, of.unknown_label is None, of.instances

    if layouts(saved) != layouts(given):
        fields += ["num_classes", "unknown_label", "instances"]
    if model.architecture.starts_from_latent and saved.size != given.size:
        fields += ["crop_size", "aspect_ratio"]
    differing = [
        f"  config.data.{field}: {getattr(saved, field)!r} in the checkpoint,"
        f" {getattr(given, field)!r} in --config"
        for field in fields
        if getattr(saved, field) != getattr(given, field)
    ]
    if differing:
        raise ValueError(
            "The data of --config is not of the layouts that the model is for:\n"
            + "\n".join(differing)
            + "\nGive these fields the checkpoint's values, or other data."
        )
