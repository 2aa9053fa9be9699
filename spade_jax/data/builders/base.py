"""What the builders share: one record format, one way to build and to open.

A record holds the files' own bytes where it can: the photograph as it came, the maps as
PNG. Letters: H, W are height and width in pixels.
"""

from __future__ import annotations

import collections
import concurrent.futures
import errno
import functools
import importlib
import io
import itertools
import json
import logging
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download.extractor import ExtractError

from spade_jax.data.builders import origin
from spade_jax.data.error import DataError, listed
from spade_jax.data.pairing import extensions, list_pictures, unpaired
from spade_jax.progress import phase

_log = logging.getLogger(__name__)

# Fewer records than these are made sooner than another process has started.
RECORDS_PER_PROCESS = 32
# Records that wait for the writer, for each process that makes them.
_WAITING_PER_PROCESS = 16

_Item = TypeVar("_Item")


class LayoutBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Photographs with class ids, possibly with instances.

    A dataset's builder names its classes, tells in `_splits` of each split what yields
    (number, `record`), and what it is made of.
    Splits are "train" and "val", and "test" where the dataset publishes its labels.

    Attributes:
      CLASSES: from the name of class 0, 1, ... to its (red, green, blue) in 0..255.
      UNKNOWN_LABEL: the stored id of pixels without a class, or None.
      INSTANCES: whether records hold an instance map.
      MADE_OF: files and folders of the downloaded ones that it is built from, whichever
        of them there are.
      PUBLISHED: splits and how many pictures they have where they are whole, as far
        as it is known.
      DESCRIPTION: what the dataset is, for people.
      HOMEPAGE: where it comes from.
      CITATION: whom to cite.
    """

    CLASSES: ClassVar[Mapping[str, tuple[int, int, int]]]
    UNKNOWN_LABEL: ClassVar[int | None] = None
    INSTANCES: ClassVar[bool] = False
    MADE_OF: ClassVar[tuple[str, ...]] = ()
    PUBLISHED: ClassVar[tuple[tuple[str, int], ...]] = ()
    DESCRIPTION: ClassVar[str | None]
    HOMEPAGE: ClassVar[str | None] = None
    CITATION: ClassVar[str | None] = None

    # TFDS downloads nothing here, so there are no checksums to look for beside the
    # builder's file. (Where it looks, TFDS 4.9.10 imports a package that it does not
    # require.)
    url_infos = None

    def __init__(self, **arguments: Any):
        try:
            super().__init__(**arguments)
        # Parsers of TFDS have exceptions of their own.
        except Exception as error:
            # Once it knows where, it reads what is there.
            knows_where = getattr(self, "_data_dir", None) is not None
            if isinstance(error, OSError) or not knows_where:
                raise
            raise _damaged(self._data_dir, error) from error

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.Image(shape=(None, None, 1)),
            "name": tfds.features.Text(),
        }
        if self.INSTANCES:
            features["instance"] = tfds.features.Image(
                shape=(None, None, 1), dtype=np.uint16
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(
                classes=list(self.CLASSES),
                palette=[list(colour) for colour in self.CLASSES.values()],
                unknown_label=self.UNKNOWN_LABEL,
            ),
            # Keeps the records in the order in which they are yielded.
            disable_shuffling=True,
        )

    def _log_download_bytes(self) -> None:
        """Says nothing: there is no download. Overrides TFDS's."""

    def _log_download_done(self) -> None:
        """Says nothing; see above."""

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Iterator[tuple[int, dict[str, Any]]]]:
        if self.MADE_OF:
            metadata = self.info.metadata
            assert isinstance(metadata, dict)
            metadata["made_of"] = origin.describe(dl_manager.manual_dir, self.MADE_OF)
        return self._splits(dl_manager)

    def _splits(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Iterator[tuple[int, dict[str, Any]]]]:
        """From each split to its (number, record)s."""
        raise NotImplementedError


def record(
    *,
    image: str | os.PathLike[str] | bytes,
    label: np.ndarray | bytes,
    name: str,
    instance: np.ndarray | bytes | None = None,
) -> dict[str, Any]:
    """A record as TFDS stores it.

    Args:
      image: the photograph's file, or its encoded bytes; kept as they are.
      label: uint8 [H, W], or an encoded one-channel picture of that; kept as it is.
      name: of the example, unique in its split.
      instance: uint16 [H, W], or encoded; None without instances.
    """
    if not isinstance(image, bytes):
        image = pathlib.Path(image).read_bytes()
    maps = {"label": label, "instance": instance}
    encoded = {
        field: png(value) if isinstance(value, np.ndarray) else value
        for field, value in maps.items()
        if value is not None
    }
    return {"image": image, "name": name, **encoded}


class Pair(NamedTuple):
    """A photograph and its maps.

    Attributes:
      name: the photograph's path below its folder, without the extension.
      files: from "image", "label" and "instance" to files.
    """

    name: str
    files: Mapping[str, pathlib.Path]


def pair_record(pair: Pair) -> dict[str, Any]:
    """The record of a photograph and its label picture, both kept as they are."""
    return record(
        image=pair.files["image"],
        label=pair.files["label"].read_bytes(),
        name=pair.name,
    )


def png(array: np.ndarray) -> bytes:
    """Encodes uint8 or uint16 [H, W], or uint8 [H, W, 3], as PNG."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="png")
    return stream.getvalue()


def parallel_map(
    function: Callable[[_Item], dict[str, Any]], items: Sequence[_Item]
) -> Iterator[dict[str, Any]]:
    """`map(function, items)`, by several processes if there is enough to do.

    Args:
      function: of an item; picklable, and so are the items.
      items: their results come in their order.
    """
    with phase(
        f"Making {len(items)} records", total=len(items), unit="records"
    ) as making:
        for done, made in enumerate(_mapped(function, items), 1):
            making.at(done)
            yield made


def _mapped(
    function: Callable[[_Item], dict[str, Any]], items: Sequence[_Item]
) -> Iterator[dict[str, Any]]:
    processes = min(os.cpu_count() or 1, len(items) // RECORDS_PER_PROCESS)
    if processes < 2:
        yield from map(function, items)
        return
    # Spawned, not forked: the threads of JAX and TensorFlow do not survive a fork.
    with concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        rest = iter(items)
        waiting = collections.deque(
            pool.submit(function, item)
            for item in itertools.islice(rest, processes * _WAITING_PER_PROCESS)
        )
        while waiting:
            done = waiting.popleft()
            waiting.extend(
                pool.submit(function, item) for item in itertools.islice(rest, 1)
            )
            yield done.result()


def find_folder(
    download_manager: tfds.download.DownloadManager,
    folder: str,
    *,
    archives: Sequence[str] = (),
    inside: str | None = None,
) -> pathlib.Path:
    """Where a folder of the downloaded files is: unpacked by the user, or by us.

    Args:
      download_manager: knows the manual directory, and unpacks.
      folder: path below the manual directory, for example "gtFine/train".
      archives: names of archives, any of which holds the folder; the first that is
        there is unpacked (into TFDS's download directory).
      inside: path of the folder in the archives. None: `folder`.

    Raises:
      DataError: neither the folder nor an archive is there, or the archive is damaged.
    """
    manual = pathlib.Path(download_manager.manual_dir)
    if (manual / folder).is_dir():
        return manual / folder
    for archive in archives:
        if (manual / archive).is_file():
            return _unpack(download_manager, manual / archive, inside or folder)
    wanted = " nor ".join([f"the folder {folder}", *archives])
    raise DataError(f"In {manual} there is neither {wanted}.")


def _unpack(
    download_manager: tfds.download.DownloadManager, archive: pathlib.Path, folder: str
) -> pathlib.Path:
    try:
        unpacked = pathlib.Path(download_manager.extract(archive))
    except ExtractError as error:
        if _tells_of_a_full_disk(error.__cause__):
            raise _full(pathlib.Path(download_manager.download_dir)) from error
        raise DataError(
            f"Cannot unpack {archive}: {error.__cause__!r}. It is damaged or not "
            "complete: download it again."
        ) from error
    _check_unpacked(archive, unpacked)
    if not (unpacked / folder).is_dir():
        raise DataError(
            f"{archive} holds no folder {folder}. Is it the archive that the "
            f"instructions name? If so, download it again, and remove {unpacked}."
        )
    return unpacked / folder


def _check_unpacked(archive: pathlib.Path, unpacked: pathlib.Path) -> None:
    """Refuses what was unpacked from another archive of the same name.

    TFDS knows what it has unpacked by the archive's name alone.

    Raises:
      DataError: it was.
    """
    note = unpacked.with_name(f"{unpacked.name}.from.json")
    now = origin.describe(archive.parent, [archive.name])["parts"]
    if not note.exists():
        note.write_text(json.dumps(now), encoding="utf-8")
        return
    try:
        then = json.loads(note.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{note}, which says what {unpacked} was unpacked from, is damaged "
            f"({error}). Remove both, so that {archive} is unpacked again."
        ) from error
    if then != now:
        raise DataError(
            f"{unpacked} was unpacked from another {archive.name} than {archive} is "
            f"now. Remove it, and {note}, so that this one is unpacked."
        )


def pairs(*, image: pathlib.Path, **maps: pathlib.Path) -> list[Pair]:
    """Photographs and maps of the same name, sorted by it.

    Args:
      image: a folder of photographs; what is in the folders below it counts, too.
      **maps: from a field ("label", "instance") to its folder of maps.

    Raises:
      DataError: a folder is empty, or a file is without its partner.
    """
    folders = {"image": image, **maps}
    files = {
        field: list_pictures(folder, extensions(field))
        for field, folder in folders.items()
    }
    for here, there, alone in unpaired(files):
        raise DataError(
            f"{len(alone)} pictures of {folders[here]} have no {there} of the "
            f"same name in {folders[there]}: {listed(alone)}."
        )
    return [
        Pair(name, {field: folders[field] / files[field][name] for field in folders})
        for name in sorted(files["image"])
    ]


def find_builder(
    name: str, *, data_dir: str | os.PathLike[str] | None = None
) -> Callable[[], LayoutBuilder]:
    """What makes the builder of a dataset, for `load`.

    Args:
      name: a module of `spade_jax.data.builders` and the name of the builder in it.
      data_dir: where TFDS keeps its datasets. None: TFDS's own default.
    """
    module = importlib.import_module(f"spade_jax.data.builders.{name}")
    (builder,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and getattr(value, "name", None) == name
    )
    return functools.partial(builder, data_dir=data_dir, file_format="array_record")


def load(
    make_builder: Callable[[], LayoutBuilder],
    split: str,
    *,
    manual_dir: str | os.PathLike[str] | None = None,
) -> Sequence[Mapping[str, Any]]:
    """Opens a split of a dataset, and builds the dataset first if need be.

    It is built in a temporary directory that is renamed once it is complete, so an
    interrupted build leaves nothing behind, and processes that build at the same time
    do not disturb one another. Building may spawn processes, which import the main
    module: a script that calls this needs `if __name__ == "__main__"`.

    Args:
      make_builder: makes the dataset's builder, of file format "array_record", the
        only one with random access. TFDS looks at what is on disk when one is made.
      split: one of the builder's splits.
      manual_dir: where the downloaded files lie, for a builder that needs them and
        has not built yet. If it has, they must be those that it was built from.

    Returns:
      Random access to records, pictures still encoded, for `TfdsSource`.

    Raises:
      DataError: the files to build from are not there or wrong, and the message has the
        builder's instructions; or it was built from others; or what was built is
        damaged.
      ValueError: there is no such split.
    """
    builder = make_builder()
    built = builder.is_prepared()
    if not built:
        _build(builder, manual_dir)
        builder = make_builder()
    try:
        opened = _opened(builder, split, manual_dir=manual_dir if built else None)
    # TFDS reads some of its own files no sooner.
    except json.JSONDecodeError as error:
        raise _damaged(builder.data_dir, error) from error
    if not built:
        _tell_what_lacks(builder)
    return opened


def _tell_what_lacks(builder: LayoutBuilder) -> None:
    """Says so where a dataset was built of a part of what is published.

    It may be on purpose, or an archive that was unpacked by half.
    """
    for split, published in builder.PUBLISHED:
        found = builder.info.splits[split].num_examples
        if found < published:
            _log.warning(
                "%s has %s of the %s pictures that are published as its %r. If that is"
                " not on purpose, unpack the archives again, remove %s and give the"
                " same command again.",
                builder.name,
                f"{found:,}",
                f"{published:,}",
                split,
                builder.data_dir,
            )


def _opened(
    builder: LayoutBuilder,
    split: str,
    *,
    manual_dir: str | os.PathLike[str] | None,
) -> Sequence[Mapping[str, Any]]:
    """A split of what is built; see `load`."""
    if builder.MADE_OF and manual_dir:
        origin.check(
            (builder.info.metadata or {}).get("made_of"),
            manual_dir,
            builder.MADE_OF,
            built=str(builder.data_dir),
        )
    if not builder.info.splits:
        raise _damaged(builder.data_dir, "it has no splits")
    if split not in builder.info.splits:
        raise ValueError(
            f"{builder.name} has no split {split!r}, only "
            f"{' and '.join(builder.info.splits)}."
        )
    features = builder.info.features
    assert isinstance(features, tfds.features.FeaturesDict)
    # TFDS's decorator hides the parameters.
    open_split: Any = builder.as_data_source
    return open_split(split, decoders=_undecoded(features))


def _damaged(built: str | os.PathLike[str], error: object) -> DataError:
    return DataError(
        f"{os.fspath(built)}, where the dataset was built, is damaged or not whole "
        f"({error}). Remove that directory, so that it is built again."
    )


def _tells_of_a_full_disk(error: BaseException | None) -> bool:
    """Whether it does; TensorFlow and ArrayRecord have words of their own for that."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (
        type(error).__name__ == "ResourceExhaustedError"
        or os.strerror(errno.ENOSPC) in str(error)
        or os.strerror(errno.EDQUOT) in str(error)
    )


def _full(directory: pathlib.Path) -> OSError:
    number = errno.ENOSPC
    return OSError(number, os.strerror(number), os.fspath(directory))


def _undecoded(features: tfds.features.FeaturesDict) -> dict[str, Any]:
    return {
        name: tfds.decode.SkipDecoding()
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Image)
    }


def _lack(manual_dir: str | os.PathLike[str] | None) -> str | None:
    """What is wrong with a manual directory before anything is looked for in it."""
    if not manual_dir:
        return "no directory to build it from was named"
    if not os.path.isdir(os.path.expanduser(manual_dir)):
        return f"there is no directory {manual_dir}"
    # TFDS refuses an empty directory too, but with an error of its own.
    if not os.listdir(os.path.expanduser(manual_dir)):
        return f"the directory {manual_dir} is empty"
    return None


def _build(
    builder: tfds.core.DatasetBuilder, manual_dir: str | os.PathLike[str] | None
) -> None:
    config = tfds.download.DownloadConfig()
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if instructions is not None:
        lack = _lack(manual_dir)
        if lack is not None:
            raise DataError(
                f"{builder.name} is not built yet in {builder.data_dir}, and {lack}. "
                f"Set --config.data.manual_dir=DIR.\n{instructions}"
            )
        assert manual_dir is not None  # else it would lack
        config.manual_dir = os.path.abspath(os.path.expanduser(manual_dir))
    # It says that it downloads, and draws bars, one within another.
    tfds.disable_progress_bar()
    try:
        with phase(f"Building {builder.data_dir}, which happens once"):
            builder.download_and_prepare(download_config=config)
    except DataError as error:
        if instructions is None:
            raise
        raise DataError(f"{error}\n{instructions}") from error
    except RuntimeError as error:
        if _tells_of_a_full_disk(error):
            raise _full(pathlib.Path(builder.data_dir)) from error
        raise
    except OSError:
        # Another process may have been faster with the same dataset: its directory is
        # then in the way of ours.
        if not builder.is_prepared():
            raise
