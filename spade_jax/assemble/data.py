"""A recipe's data: sources, the colours of label pictures, preprocessing."""

from spade_jax import data, recipe
from spade_jax.files.places import AnyPath, in_bucket, place
from spade_jax.files.staging import staged
from spade_jax.recipe import Data, Recipe


def root(of: Data) -> str:
    """Where the data is on this machine; what is in a bucket is copied first.

    Raises:
      DataError: the bucket has nothing there.
      Exception: see `spade_jax.files.staging.staged`.
    """
    if not in_bucket(of.root):
        return of.root
    try:
        if of.source == "folder":
            return str(staged(of.root))
        # Others may be kept beside it.
        return str(staged(f"{of.root.rstrip('/')}/{of.source}").parent)
    except FileNotFoundError as error:
        raise data.DataError(
            f"config.data.root={of.root}: {error} Copy the data there (gcloud storage"
            " rsync -r DIR gs://BUCKET/PATH), or give where it is."
        ) from error


def picture_folders(of: Data) -> dict[str, AnyPath]:
    """The folders of pictures that are read, by their names in messages.

    Only those that are there, and those of built datasets are none.
    """
    if of.source != "folder":
        return {}
    above = place(of.root)
    return {
        f"config.data.root ({folder.name})": folder
        for split in (of.train_split, of.val_split)
        for field in ("img", "label", "inst")
        if (folder := above / f"{split}_{field}").is_dir()
    }


def training_pictures(of: Data, count: int) -> str:
    """What is trained on in words, as "50 pictures of photos (train)".

    Args:
      of: the data.
      count: how many pictures its training split has.
    """
    pictures = f"{count:,} picture{'' if count == 1 else 's'}"
    return f"{pictures} of {of.root or of.source} ({of.train_split})"


def source(of: Data, split: str) -> data.Source:
    """Opens a split.

    Raises:
      DataError: the data is missing, or plainly wrong.
      ValueError: `config.data.source` is not known.
    """
    return data.open_source(
        of.source,
        split,
        root=root(of),
        manual_dir=of.manual_dir,
        num_classes=of.num_classes,
        unknown_label=of.unknown_label,
        instances=of.instances,
        colors=label_colors(of),
        palette=of.palette,
        size=of.scenes.size,
        num_train=of.scenes.num_train,
        num_val=of.scenes.num_val,
    )


def label_colors(of: Data) -> data.ColorTable | None:
    """The classes' colours in label pictures, or None where these hold ids.

    Raises:
      DataError: the palette is missing or wrong.
      ValueError: `config.data.color_tolerance` is negative.
    """
    if not of.label_colors:
        return None
    colors, names, title = of.palette, of.classes, "config.data.palette"
    if of.label_colors != "palette":
        title = of.label_colors
        colors, names = data.read_palette(title)
    return data.color_table(
        colors,
        names=names,
        num_classes=of.num_classes,
        unknown_label=of.unknown_label,
        tolerance=of.color_tolerance,
        title=title,
    )


def with_palette(whole: Recipe) -> Recipe:
    """The recipe with the colours and names of its palette file, if it names one.

    A checkpoint keeps its recipe, and so needs no other file.

    Raises:
      DataError: the file is missing or wrong.
    """
    if whole.data.label_colors == "palette":
        return whole
    table = label_colors(whole.data)
    if table is None:
        return whole
    return recipe.with_fields(
        whole,
        data__palette=table.colors,
        data__classes=table.names,
        data__label_colors="palette",
    )


def preprocess(of: Data, *, training: bool) -> data.Preprocess:
    """The preprocessing of examples.

    Outside training nothing is drawn: nothing is mirrored, pictures are loaded at the
    size of the crop (the official test options), and where that leaves them larger than
    the crop, it is their middle.
    """
    return data.Preprocess(
        mode=of.preprocess_mode,
        load_size=of.load_size if training else of.crop_size,
        crop_size=of.crop_size,
        aspect_ratio=of.aspect_ratio,
        flip=of.flip and training,
        pad_crop=of.pad_crop,
        centre=not training,
    )


def sees_all(of: Data) -> bool:
    """Whether `preprocess` outside training keeps all of a picture, whatever its size.

    If not, it is the middle of those that are larger than the crop.
    """
    return of.preprocess_mode == "resize_and_crop" or "crop" not in of.preprocess_mode


def resize(size: tuple[int, int]) -> data.Preprocess:
    """What brings whole pictures to a (height, width), whatever their aspect ratio."""
    height, width = size
    return data.Preprocess(
        mode="fixed",
        load_size=width,
        crop_size=width,
        aspect_ratio=width / height,
        flip=False,
    )
