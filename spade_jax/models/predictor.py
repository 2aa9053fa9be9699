"""A trained model as a function: label maps in, pictures out.

    import spade_jax

    model = spade_jax.load("runs/scenes")
    image = model("layout.png", style="photo.jpg")  # uint8 [1, H, W, 3]

Letters: B number of pictures, H height, W width, C classes, N latent size.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from spade_jax import build, data
from spade_jax.data import class_ids, decode_map
from spade_jax.data.colors import decode_label
from spade_jax.files import pictures
from spade_jax.layout import Layout
from spade_jax.layout.neighbourhoods import tabulate
from spade_jax.models.restore import Model, load_model

_log = logging.getLogger(__name__)

Picture = str | os.PathLike[str] | Image.Image | np.ndarray | jax.Array
"""A path, what Pillow has opened, or an array."""


class Modulations(NamedTuple):
    """All that a model reads from label maps; stands in their place in a call.

    Attributes:
      layouts: of one picture each, padded to a size that the model can make.
      values: what the generator's `modulations` gives of each.
      size: (height, width) of the label maps.
    """

    layouts: Sequence[Layout]
    values: Sequence[Any]
    size: tuple[int, int]


def load(path: str | os.PathLike[str]) -> "Predictor":
    """Reads a model to synthesise with.

    Args:
      path: a work dir, one of its checkpoints (`WORKDIR/checkpoints/STEP`), an
        official checkpoint's directory (opt.txt, latest_net_G.pth; needs PyTorch), or
        the name of a model that comes with the project: "scenes".

    Raises:
      CheckpointError: there is no checkpoint, or none that is whole.
      ValueError: see `spade_jax.convert.nvlabs.read_checkpoint`.
    """
    return Predictor(load_model(path))


class Predictor:
    """A trained model; called with label maps it gives pictures.

    Pictures are computed one at a time, so that one program serves every call with
    label maps of a size, and a picture does not depend on those beside it.

    Args:
      model: what `spade_jax.models.restore.load_model` reads.
    """

    def __init__(self, model: Model):
        config = model.config
        generator = model.networks.generator
        self._trained = model
        self._has_modulations = config.generator.name == "spade"
        if self._has_modulations and self.latent_size is None:
            # Without a latent the start is the layout, of whatever size it is.
            generator = generator.clone(grid=None)
        self._generator = generator
        self._is_factored = build.is_factored(config, platform=jax.default_backend())
        self._colors: data.ColorTable | None = None
        # Sizes of which it was said that they are padded.
        self._told: set[tuple[int, ...]] = set()

        @jax.jit
        def modulate(variables, layout):
            return generator.apply(variables, layout, method="modulations")

        @jax.jit
        def generate(variables, layout, modulations, z):
            latent = () if z is None else (z,)
            known = {} if modulations is None else {"modulations": modulations}
            return generator.apply(variables, layout, *latent, **known, train=False)

        @jax.jit
        def encode(variables, photo):
            return model.networks.encoder.apply(variables, photo, train=False)

        self._modulate, self._generate, self._encode = modulate, generate, encode

    def __repr__(self) -> str:
        height, width = self.size
        style = f", styles of {self.latent_size} numbers" if self.latent_size else ""
        return (
            f"Predictor({len(self.classes)} classes, {width}x{height}{style}, step"
            f" {self._trained.step})"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class ids 0, 1, ..., with "unknown" last where there is one."""
        d = self._trained.config.data
        named = tuple(d.classes) or tuple(f"class {i}" for i in range(d.num_classes))
        return (*named, "unknown")[: build.num_class_ids(self._trained.config)]

    @property
    def palette(self) -> np.ndarray:
        """A colour for each class id, uint8 `[C, 3]`."""
        return np.array(
            pictures.full_palette(
                self._trained.config.data.palette,
                build.num_class_ids(self._trained.config),
            ),
            np.uint8,
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures that the model was trained on."""
        return build.example_layout(self._trained.config).size

    @property
    def latent_size(self) -> int | None:
        """N, or None for a model that starts from the layout alone."""
        return self._trained.networks.latent_size

    @property
    def trained(self) -> Model:
        """Networks and variables."""
        return self._trained

    def __call__(
        self,
        label_map: Picture | Sequence[Picture] | Modulations,
        *,
        style: Picture | Sequence[Picture] | None = None,
        seed: int = 0,
        instances: Picture | Sequence[Picture] | None = None,
    ) -> np.ndarray:
        """Synthesises pictures.

        A model that starts from a style makes pictures of its own size only. Others
        take any: label maps that are no multiple of what the networks need are padded,
        and the pictures cut; a warning says so, once a size.

        Args:
          label_map: integer class ids `[H, W]` or `[B, H, W]`, or colours of
            `palette`, uint8 `[..., H, W, 3]`; a path or a PIL image of either; a list
            of those; or what `modulations` gave. Pixels of unknown class are as in the
            training data's files.
          style: of a model with an encoder, photographs, as `encode` takes them; of any
            model with styles, latents, float `[N]` or `[B, N]`. One style serves all
            label maps, and one label map all styles. None draws from the prior.
          seed: of these draws.
          instances: instance maps of the label maps' size, for a model that was trained
            with them: integers as `label_map`.

        Returns:
          uint8 `[B, H, W, 3]`.

        Raises:
          DataError: a label map or a photograph cannot be used.
          ValueError: the arguments do not suit the model or one another.
        """
        if isinstance(label_map, Modulations):
            if instances is not None:
                raise ValueError(
                    "instances= goes into model.modulations(...), not with its result."
                )
            of_maps = label_map
        else:
            of_maps = self._layouts(label_map, instances)
        latents = self._latents(style, seed, len(of_maps.layouts))
        count = max(len(of_maps.layouts), len(latents))
        for name, given in (("label maps", of_maps.layouts), ("styles", latents)):
            if len(given) not in (1, count):
                raise ValueError(
                    f"{len(of_maps.layouts)} label maps and {len(latents)} styles: give"
                    f" one of the {name}, or as many as of the others."
                )
        if len(of_maps.layouts) < count and self._has_modulations:
            of_maps = self._modulated(of_maps)
        made = [
            self.generate(
                of_maps.layouts[i % len(of_maps.layouts)],
                of_maps.values[i % len(of_maps.layouts)],
                latents[i % len(latents)],
            )
            for i in range(count)
        ]
        height, width = of_maps.size
        images = np.concatenate(jax.device_get(made))[:, :height, :width]
        return pictures.to_uint8(images)

    def modulations(
        self,
        label_map: Picture | Sequence[Picture],
        *,
        instances: Picture | Sequence[Picture] | None = None,
    ) -> Modulations:
        """Computes what depends on label maps alone, for calls with several styles.

        Args:
          label_map, instances: see `__call__`.

        Raises:
          Exception: see `__call__`.
          ValueError: the model has no SPADE.
        """
        if not self._has_modulations:
            name = self._trained.config.generator.name
            raise ValueError(
                f"A generator {name!r} has no modulations; call the model itself."
            )
        return self._modulated(self._layouts(label_map, instances))

    def encode(self, photo: Picture | Sequence[Picture]) -> np.ndarray:
        """Reads the style of photographs: the mean of the encoder.

        Args:
          photo: a path, a PIL image, uint8 `[H, W, 3]` or `[B, H, W, 3]`, or a list of
            those. Photographs are resized as in training.

        Returns:
          float32 `[N]` of one, `[B, N]` of several.

        Raises:
          DataError: one cannot be read.
          ValueError: the model has no encoder.
        """
        several = _listed(photo, one_picture=3)
        means = np.concatenate([np.asarray(self.posterior(one)[0]) for one in several])
        is_one = not _is_several(photo, one_picture=3)
        return means[0] if is_one else means

    def interpolate(self, a: Any, b: Any, n: int) -> np.ndarray:
        """Styles on the way from one to another, both included.

        Along the arc between their directions, with lengths in proportion, as draws
        from a normal distribution have nearly all the same length (White, "Sampling
        generative networks", 2016).

        Args:
          a: a photograph or a latent `[N]`.
          b: another.
          n: how many, at least 2.

        Returns:
          float32 `[n, N]`, for `style`.

        Raises:
          Exception: see `__call__`.
        """
        if n < 2:
            raise ValueError(f"n={n} must be at least 2: both ends are included.")
        ends = [self._styles(end) for end in (a, b)]
        if any(len(end) != 1 for end in ends):
            raise ValueError("interpolate takes one style at each end.")
        (a,), (b,) = ends
        share = np.linspace(0, 1, n, dtype=np.float32)[:, None]
        lengths = np.linalg.norm(a), np.linalg.norm(b)
        straight = (1 - share) * a + share * b
        if min(lengths) == 0:
            return straight
        one, other = a / lengths[0], b / lengths[1]
        angle = np.arccos(np.clip(one @ other, -1, 1))
        if np.sin(angle) < 1e-3:
            return straight
        arc = np.sin((1 - share) * angle) * one + np.sin(share * angle) * other
        length = (1 - share) * lengths[0] + share * lengths[1]
        return (length * arc / np.sin(angle)).astype(np.float32)

    def generate(
        self, layout: Layout, modulations: Any, z: jax.Array | None
    ) -> jax.Array:
        """Synthesises a batch of layouts of a size that the networks can make.

        Args:
          layout: of B pictures.
          modulations: of it, or None.
          z: `[B, N]`, or None for a model without a latent.

        Returns:
          float32 `[B, H, W, 3]` in [-1, 1], on the device.
        """
        return self._generate(self._trained.generator, layout, modulations, z)

    def modulate(self, layout: Layout) -> Any:
        """The modulations of a batch of layouts, for `generate`."""
        return self._modulate(self._trained.generator, layout)

    def posterior(self, photo: Picture) -> tuple[jax.Array, jax.Array]:
        """The distribution of a photograph's style: mean and log-variance `[1, N]`.

        Raises:
          Exception: see `encode`.
        """
        if self._trained.encoder is None:
            raise ValueError(
                "The style of a photograph needs a model with an encoder"
                " (config.generator.latent='vae'); this one has none."
            )
        transform = build.preprocess(self._trained.config, training=False)
        return self._encode(self._trained.encoder, read_photo(photo, transform))

    def prior(self, seed: int, example: int, sample: int = 0) -> jax.Array:
        """A random style `[1, N]`, which depends on the arguments and nothing else."""
        key = jax.random.fold_in(jax.random.key(seed), example)
        key = jax.random.fold_in(key, sample)
        return jax.random.normal(key, (1, self.latent_size))

    def _modulated(self, of_maps: Modulations) -> Modulations:
        values = [self.modulate(layout) for layout in of_maps.layouts]
        # The tables have done their service.
        layouts = [layout._replace(tables=None) for layout in of_maps.layouts]
        return Modulations(layouts, values, of_maps.size)

    def _layouts(
        self,
        label_map: Picture | Sequence[Picture],
        instances: Picture | Sequence[Picture] | None,
    ) -> Modulations:
        """Label maps as layouts, without modulations yet."""
        self._check_instances(instances)
        labels = [
            self._ids(one, where=where)
            for one, where in _named(_listed(label_map, one_picture=2), "label_map")
        ]
        size = labels[0].shape
        edges: list[np.ndarray | None] = [None] * len(labels)
        if instances is not None:
            maps = [
                _integers(one, where=where)
                for one, where in _named(_listed(instances, one_picture=2), "instances")
            ]
            if len(maps) != len(labels):
                raise ValueError(
                    f"{len(labels)} label maps and {len(maps)} instance maps: each"
                    " needs its own."
                )
            edges = [data.edges(self._padded(one)) for one in maps]
        for one in (*labels, *(maps if instances is not None else ())):
            if one.shape != size:
                raise data.DataError(
                    f"Maps of {_shown(size)} and of {_shown(one.shape)} pixels (width x"
                    " height) cannot be synthesised in one call: make them of one size,"
                    " or call the model for each size."
                )
        layouts = [
            self._tabulated(Layout(self._padded(label)[None], edge))
            for label, edge in zip(
                labels, (None if e is None else e[None] for e in edges), strict=True
            )
        ]
        return Modulations(layouts, [None] * len(layouts), size)

    def _padded(self, plane: np.ndarray) -> np.ndarray:
        """`[H, W]`, as large as the networks need it; at the borders it goes on."""
        if self.latent_size is not None:
            if plane.shape != self.size:
                height, width = self.size
                raise data.DataError(
                    f"A map is {_shown(plane.shape)} pixels (width x height), but this"
                    f" model starts from a style, and makes pictures of {width}x"
                    f"{height} only. Resize the map without mixing ids: with Pillow,"
                    f" map.resize(({width}, {height}), Image.Resampling.NEAREST)."
                )
            return plane
        multiple = self._generator.multiple
        padded = np.pad(plane, [(0, -side % multiple) for side in plane.shape], "edge")
        if padded.shape != plane.shape and plane.shape not in self._told:
            self._told.add(plane.shape)
            _log.warning(
                "Maps of %s pixels (width x height) are padded to %s, multiples of %d,"
                " and the pictures cut.",
                _shown(plane.shape),
                _shown(padded.shape),
                multiple,
            )
        return padded

    def _tabulated(self, layout: Layout) -> Layout:
        if not self._is_factored:
            return layout
        sizes = self._generator.scales(*layout.size)
        return tabulate(layout, sizes, kernel_size=self._generator.kernel_size)

    def _check_instances(self, instances: Any) -> None:
        wanted = self._trained.config.data.instances
        if wanted and instances is None:
            raise ValueError(
                "This model was trained with instance maps: give instances=MAP, one"
                " number an object, or the label map itself, which makes each region of"
                " a class one object."
            )
        if not wanted and instances is not None:
            raise ValueError(
                "This model was trained without instance maps: leave instances out."
            )

    def _ids(self, label_map: Picture, *, where: str) -> np.ndarray:
        """Class ids int32 `[H, W]` of one label map."""
        d = self._trained.config.data
        if isinstance(label_map, np.ndarray) and label_map.ndim == 2:
            stored = _integers(label_map, where=where)
        else:
            stored = self._stored(_file(label_map, where=where), where=where)
        return class_ids(
            stored,
            num_classes=d.num_classes,
            unknown_label=d.unknown_label,
            where=where,
        )

    def _stored(self, file: Any, *, where: str) -> np.ndarray:
        """The ids of a picture, which may be one of colours."""
        d = self._trained.config.data
        if not d.label_colors:
            try:
                return decode_map(file, where=where)
            except data.DataError as error:
                if error.kind != "not_ids":
                    raise
        if self._colors is None:
            self._colors = data.color_table(
                self.palette[: d.num_classes],
                names=d.classes,
                num_classes=d.num_classes,
                unknown_label=d.unknown_label,
                tolerance=d.color_tolerance,
                title="the model's palette",
            )
        return decode_label(
            file, where=where, colors=self._colors, unknown_label=d.unknown_label
        )

    def _latents(self, style: Any, seed: int, count: int) -> Sequence[Any]:
        """A latent `[1, N]` for each picture, or for all of them."""
        if self.latent_size is None:
            if style is not None:
                raise ValueError(
                    "This model starts from the layout alone"
                    " (config.generator.latent='none'): leave style out."
                )
            return [None]
        if style is None:
            return [self.prior(seed, i) for i in range(count)]
        return list(self._styles(style)[:, None])

    def _styles(self, style: Any) -> np.ndarray:
        """Latents or photographs as float32 `[B, N]`."""
        if isinstance(style, np.ndarray | jax.Array) and style.ndim in (1, 2):
            latents = np.atleast_2d(np.asarray(style, np.float32))
            if latents.shape[1] != self.latent_size:
                raise ValueError(
                    f"A style has {latents.shape[1]} numbers, but this model's have"
                    f" {self.latent_size}."
                )
            return latents
        return np.atleast_2d(self.encode(style))


def read_photo(photo: Picture, transform: data.Preprocess) -> np.ndarray:
    """Reads a photograph as the training data was: float32 `[1, H, W, 3]`.

    Raises:
      DataError: it cannot be read.
    """
    where = "photo" if not isinstance(photo, str | os.PathLike) else os.fspath(photo)
    image = data.decode_image(_file(photo, where=where), where=where)
    blank = np.zeros(image.shape[:2], np.int32)
    example = data.Example(image=image, label=blank, instance=None, name=where)
    return data.to_float(transform(example, np.random.default_rng(0)).image)[None]


def _is_several(given: Any, *, one_picture: int) -> bool:
    """Whether it is a sequence of pictures, of which one has so many dimensions."""
    if isinstance(given, np.ndarray | jax.Array):
        is_coloured = given.ndim > 2 and given.shape[-1] == 3 and given.dtype == "uint8"
        return given.ndim > (3 if is_coloured else one_picture)
    return isinstance(given, Sequence) and not isinstance(given, str)


def _listed(given: Any, *, one_picture: int) -> list[Any]:
    several = list(given) if _is_several(given, one_picture=one_picture) else [given]
    if not several:
        raise ValueError("There is no picture in an empty list.")
    return [np.asarray(x) if isinstance(x, jax.Array) else x for x in several]


def _named(several: list[Any], name: str) -> list[tuple[Any, str]]:
    """Each with what messages call it."""
    return [
        (one, os.fspath(one))
        if isinstance(one, str | os.PathLike)
        else (one, f"{name}[{i}]" if len(several) > 1 else name)
        for i, one in enumerate(several)
    ]


def _file(picture: Picture, *, where: str) -> Any:
    """What `data.decode_image` takes."""
    if isinstance(picture, str | os.PathLike):
        return os.path.expanduser(picture)
    if isinstance(picture, Image.Image):
        return picture
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise data.DataError(
            f"{where}: an array {picture.dtype}{list(picture.shape)} is no picture:"
            " colours are uint8 [H, W, 3], ids integers [H, W]."
        )
    return Image.fromarray(picture)


def _integers(picture: Picture, *, where: str) -> np.ndarray:
    """A map of numbers, int32 `[H, W]`."""
    if not isinstance(picture, np.ndarray):
        return decode_map(_file(picture, where=where), where=where)
    if picture.ndim != 2 or not np.issubdtype(picture.dtype, np.integer):
        raise data.DataError(
            f"{where}: an array {picture.dtype}{list(picture.shape)} is no map of ids:"
            " it takes integers [H, W]."
        )
    return picture.astype(np.int32)


def _shown(size: tuple[int, ...]) -> str:
    height, width = size
    return f"{width}x{height}"
