"""TFDS data sources as sources of examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spade_jax.data.decode import decode_image, decode_instance, decode_map
from spade_jax.data.error import DataError
from spade_jax.data.example import Example, make_example


class TfdsSource:
    """Examples from `tfds.core.DatasetBuilder.as_data_source(split)`.

    Args:
      data_source: random access to dicts. Pictures are arrays ([H, W, 3] or
        [H, W, 1]), or encoded bytes as `tfds.decode.SkipDecoding` leaves them, which
        is to be preferred: TFDS reads no 16-bit pictures without OpenCV.
      num_classes: see `FolderSource`.
      unknown_label: see `FolderSource`.
      instances: whether to read instance maps.
      image_key: the key of the photograph.
      label_key: the key of the map of class ids.
      instance_key: the key of the instance map.
      name_key: the key of the example's name, str or bytes. None: its number.

    Raises:
      DataError: there are no examples. Reading an example raises it as `FolderSource`
        does, and for a key that is missing.
    """

    def __init__(
        self,
        data_source: Sequence[Mapping[str, Any]],
        *,
        num_classes: int,
        unknown_label: int | None = None,
        instances: bool = False,
        image_key: str = "image",
        label_key: str = "label",
        instance_key: str = "instance",
        name_key: str | None = "name",
    ):
        # What TFDS returns tells of itself, too; a plain sequence does not.
        self._data_source: Any = data_source
        self._title, self._place = type(data_source).__name__, ""
        if hasattr(data_source, "dataset_info"):
            info = self._data_source.dataset_info
            self._title = f"{info.full_name}:{self._data_source.split}"
            self._place = f" in {info.data_dir}"
        if not len(data_source):
            raise DataError(f"Empty split: {self._title} holds no examples.")
        self._num_classes = num_classes
        self._unknown_label = unknown_label
        self._instances = instances
        self._keys = {
            "image": image_key,
            "label": label_key,
            "instance": instance_key,
            "name": name_key,
        }

    def __len__(self) -> int:
        return len(self._data_source)

    def __getitem__(self, index: int) -> Example:
        try:
            record = self._data_source[index]
        # As ArrayRecord tells of files that are damaged or gone.
        except RuntimeError as error:
            raise DataError(
                f"Number {index} of {self._title}{self._place} cannot be read "
                f"({error}). What was built is damaged: remove it, so that it is built "
                "again."
            ) from error
        name = str(index)
        if self._keys["name"] is not None:
            stored = self._value(record, "name")
            name = stored.decode() if isinstance(stored, bytes) else str(stored)

        def where(field: str) -> str:
            return f"{field} of {name} (number {index} of {self._title})"

        def read(field: str, decode: Callable[..., np.ndarray]) -> np.ndarray:
            value = self._value(record, field)
            if isinstance(value, bytes):
                return decode(value, where=where(field))
            # TFDS keeps the channel axis of maps.
            return value if field == "image" else value[..., 0]

        return make_example(
            image=read("image", decode_image),
            label=read("label", decode_map),
            instance=read("instance", decode_instance) if self._instances else None,
            name=name,
            num_classes=self._num_classes,
            unknown_label=self._unknown_label,
            where=where,
        )

    def check_metadata(self) -> None:
        """Compares what was asked for with what the dataset says of itself.

        Raises:
          DataError: the number of classes, the unknown label or the presence of
            instance maps differ; the message names the config field to change.
        """
        info = self._data_source.dataset_info
        stored = {
            "num_classes": len(info.metadata["classes"]),
            "unknown_label": info.metadata["unknown_label"],
        }
        asked = {
            "num_classes": self._num_classes,
            "unknown_label": self._unknown_label,
        }
        for field, value in stored.items():
            if asked[field] != value:
                raise DataError(
                    f"config.data.{field} is {asked[field]}, but {self._title} has "
                    f"{value}. Set --config.data.{field}={value}."
                )
        if self._instances and self._keys["instance"] not in info.features:
            raise DataError(
                f"config.data.instances is True, but {self._title} has no instance "
                "maps. Set --config.data.instances=False."
            )

    def __repr__(self) -> str:
        return (
            f"TfdsSource({self._title}, num_classes={self._num_classes}, "
            f"unknown_label={self._unknown_label}, instances={self._instances})"
        )

    def _value(self, record: Mapping[str, Any], field: str) -> Any:
        key = self._keys[field]
        if key not in record:
            raise DataError(
                f"{self._title} has no {key!r}, which was named as the "
                f"{field}; it has {', '.join(sorted(record))}."
            )
        return record[key]
