"""A trained model as a function: label maps in, pictures out.

    import spade_jax

    model = spade_jax.load("runs/scenes")
    image = model("layout.png", style="photo.jpg")  # uint8 [1, H, W, 3]

Letters: B number of pictures, H height, W width, C classes, N latent size.
"""

import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax import data
from spade_jax.devices.programs import keep_programs
from spade_jax.files import pictures
from spade_jax.layout import Array, Layout
from spade_jax.models import finite, forks, inputs, maps, regions
from spade_jax.models.aggregate import chosen
from spade_jax.models.inputs import Picture
from spade_jax.models.maps import (
    LabelFormat,
    Maps,
    Modulations,
    PreparedMaps,
)
from spade_jax.models.opening import Model, open_model
from spade_jax.models.regions import Regions
from spade_jax.models.sizes import size_rule
from spade_jax.models.styles import Posterior, Styles, drawn, whole
from spade_jax.models.synthesis import Synthesis, photo_encoder

_log = logging.getLogger(__name__)


def load(path: str | os.PathLike[str], *, dtype: str | None = None) -> "Predictor":
    """Reads a model to synthesise with.

    Compiled programs are kept on disk; see `spade_jax.devices.programs`.

    Args:
      path: a work dir, one of its checkpoints (`WORKDIR/checkpoints/STEP`), an
        official checkpoint's directory (opt.txt and the weights beside it, of SPADE,
        CLADE or OASIS; needs PyTorch), or the name of a model that comes with the
        project: "scenes".
      dtype: to compute in, "float32" or "bfloat16"; None for that in which it was
        trained.

    Raises:
      CheckpointError: there is no checkpoint, or none that is whole.
      ValueError: see `spade_jax.convert.official.read_checkpoint`, or there is no such
        dtype.
      RuntimeError: this is a fork of a process that has loaded one.
    """
    forks.refuse_to_read()
    keep_programs()
    opened = open_model(path)
    if dtype is not None:
        opened = opened.computed_in(dtype)
    # Where there is none to read, nothing has begun that a fork would not bear.
    forks.note_reading()
    return Predictor(opened.read())


class Predictor:
    """A trained model; called with label maps it gives pictures.

    A call computes pictures one at a time, so that one program serves every call with
    label maps of a size, and a picture does not depend on those beside it. Several in
    one program are for `synthesis`.

    It can be pickled, for processes that are spawned; in a forked one JAX would hang,
    and a call is refused.

    Args:
      model: what `spade_jax.models.opening.load_model` reads.

    Raises:
      CheckpointError: its weights hold NaN or infinity.
    """

    def __init__(self, model: Model):
        finite.check_weights({"generator": model.generator, "encoder": model.encoder})
        self._trained = model
        self._synthesis = Synthesis(model)
        self._styles = Styles(
            latent_size=self.latent_size,
            encoder=photo_encoder(model),
            aggregate=model.aggregate,
        )
        self._label_format = LabelFormat(model.recipe.data)
        # What was said of sizes.
        self._told: set[str] = set()
        self._process = os.getpid()

    def __repr__(self) -> str:
        height, width = self.size
        style = f", styles of {self.latent_size} numbers" if self.latent_size else ""
        return (
            f"Predictor({len(self.classes)} classes, {width}x{height}{style}, step"
            f" {self._trained.step})"
        )

    def __reduce__(self):
        # Programs are compiled anew where it is unpickled.
        arrays = jax.device_get((self._trained.generator, self._trained.encoder))
        generator, encoder = arrays
        model = self._trained._replace(generator=generator, encoder=encoder)
        return Predictor, (model,)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class ids 0, 1, ..., with "unknown" last where there is one."""
        d = self._trained.recipe.data
        # A config may name fewer classes than there are, or "unknown" with them.
        names = [*d.classes[: d.num_ids]]
        names += [f"class {i}" for i in range(len(names), d.num_classes)]
        return (*names, "unknown")[: d.num_ids]

    @property
    def palette(self) -> np.ndarray:
        """A colour for each class id, uint8 `[C, 3]`."""
        d = self._trained.recipe.data
        return np.array(pictures.full_palette(d.palette, d.num_ids), np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures that the model was trained on."""
        return self._trained.recipe.data.size

    @property
    def latent_size(self) -> int | None:
        """N, or None for a model that starts from the layout alone."""
        return self._trained.networks.latent_size

    @property
    def has_region_styles(self) -> bool:
        """Whether a style may be given by class and by pixel; see `__call__`."""
        is_styled = self.latent_size is not None
        return is_styled and not self._synthesis.starts_from_latent

    @property
    def has_modulations(self) -> bool:
        """Whether a part of the work depends on label maps alone; see `modulations`."""
        return self._synthesis.has_modulations

    @property
    def trained(self) -> Model:
        """Networks and variables."""
        return self._trained

    @property
    def synthesis(self) -> Synthesis:
        """What a call is made of, for several pictures in one program."""
        return self._synthesis

    def __call__(
        self,
        label_map: Picture | Sequence[Picture] | Modulations,
        *,
        style: Picture | Sequence[Picture] | Mapping[Any, Any] | None = None,
        seed: int = 0,
        instances: Picture | Sequence[Picture] | None = None,
        size: str = "trained",
        prior: str = "data",
    ) -> np.ndarray:
        """Synthesises pictures.

        Label maps of any size are taken; what becomes of it is said once a size, if
        anything does.

        Args:
          label_map: class ids `[H, W]`, `[B, H, W]` or with a last axis of 1, integers
            or whole; or colours of `palette`, integers `[..., H, W, 3]` or with
            transparency; a path or a PIL image of either; a list of those; or what
            `modulations` gave. Pixels of unknown class are as in the training data's
            files, or have that class' number in `classes`.
          style: of a model with an encoder, photographs, as `encode` takes them; of any
            model with styles, latents, float `[N]` or `[B, N]`. One style serves all
            label maps, and one label map all styles. None draws, from `prior`. Of a
            model whose styles join the layout (OASIS) also styles by region: a latent
            `[N]` for each class in a dict, by name or number, where that of None is of
            all others, which else have the style of the seed; or one for each pixel,
            float `[H, W, N]` or `[B, H, W, N]`, of the label map's size.
          seed: of these draws, 0 to 2**32 - 1.
          instances: instance maps of the label maps' size, for a model that was trained
            with them: integers as `label_map`.
          size: "trained" scales label maps as evaluation does; "map" keeps their size,
            which a model that starts from a style cannot. See
            `spade_jax.models.sizes`.
          prior: of random styles: "data" draws such as the training pictures have,
            where the model was published with these (see
            `spade_jax.models.aggregate`), "standard" from N(0, 1), as the paper does.

        Returns:
          uint8 `[B, H, W, 3]`.

        Raises:
          DataError: a label map or a photograph cannot be used.
          ValueError: the arguments do not suit the model or one another, or a picture
            is not finite.
          RuntimeError: this is a fork of the process that the model was loaded in.
        """
        forks.refuse_out_of(self._process)
        if not isinstance(label_map, Modulations):
            prepared, fits = self._prepared(label_map, instances, size)
            values = None
        elif instances is not None or size != "trained":
            name = "size" if instances is None else "instances"
            raise ValueError(
                f"{name}= goes into model.modulations(...), not with its result."
            )
        else:
            (prepared, values), fits = label_map, None
        num_maps = len(prepared.layouts)
        if regions.is_by_region(style):
            rest = self._styles.of_call(None, seed=seed, count=num_maps, prior=prior)
            prepared, latents = self._by_region(prepared, style, rest=rest, fits=fits)
        else:
            latents = self._styles.of_call(
                style, seed=seed, count=num_maps, prior=prior
            )
        count = max(num_maps, len(latents))
        for name, number in (("label maps", num_maps), ("styles", len(latents))):
            if number not in (1, count):
                raise ValueError(
                    f"{num_maps} label maps and {len(latents)} styles: give one of the"
                    f" {name}, or as many as of the others."
                )
        if values is None:
            prepared = self._tabulated(prepared)
            if num_maps < count and self.has_modulations:
                prepared, values = self._modulated(prepared)
        return self._synthesis.synthesise(prepared, latents, values=values)

    def modulations(
        self,
        label_map: Picture | Sequence[Picture],
        *,
        instances: Picture | Sequence[Picture] | None = None,
        size: str = "trained",
    ) -> Modulations:
        """Computes what depends on label maps alone, for calls with several styles.

        Args:
          label_map, instances, size: see `__call__`.

        Raises:
          Exception: see `__call__`.
          ValueError: the model has no SPADE, or one that sees the style, too.
        """
        forks.refuse_out_of(self._process)
        if not self.has_modulations:
            name = self._trained.recipe.architecture.generator.name
            raise ValueError(
                f"A generator {name!r} has no modulations that serve several styles;"
                " call the model itself."
            )
        prepared, _ = self._prepared(label_map, instances, size)
        return self._modulated(self._tabulated(prepared))

    def encode(self, photo: Picture | Sequence[Picture]) -> np.ndarray:
        """Reads the style of photographs: the mean of the encoder.

        Args:
          photo: a path, a PIL image, uint8 `[H, W, 3]`, grey `[H, W]` or several
            `[B, H, W, 3]`, or a list of those. Photographs are turned upright, where
            their EXIF says how, and resized to `size`.

        Returns:
          float32 `[N]` of one, `[B, N]` of several.

        Raises:
          DataError: one cannot be read.
          ValueError: the model has no encoder.
        """
        forks.refuse_out_of(self._process)
        return self._styles.encode(photo)

    def interpolate(self, a: Any, b: Any, n: int) -> np.ndarray:
        """Styles on the way from one to another; see `styles.along_arc`.

        Args:
          a: a photograph or a latent `[N]`.
          b: another.
          n: how many, at least 2: both ends are included.

        Returns:
          float32 `[n, N]`, for `style`.

        Raises:
          Exception: see `__call__`.
        """
        forks.refuse_out_of(self._process)
        return self._styles.between(a, b, n)

    def posterior(self, photo: Picture) -> Posterior:
        """The distribution of a photograph's style: mean and log-variance `[1, N]`.

        Raises:
          Exception: see `encode`.
        """
        return self._styles.posterior(photo)

    def prior(
        self, seed: int, *, example: int = 0, sample: int = 0, prior: str = "data"
    ) -> jax.Array:
        """A random style `[1, N]`, which depends on the arguments and nothing else.

        Args:
          seed: of all draws.
          example: its number among the label maps.
          sample: of the several styles of a label map.
          prior: see `__call__`.

        Raises:
          ValueError: the model has no styles, or `prior` is not known; or see
            `styles.whole`.
        """
        forks.refuse_out_of(self._process)
        seed = whole(seed)
        example = whole(example, name="example")
        sample = whole(sample, name="sample")
        if self.latent_size is None:
            raise ValueError("This model starts from the layout alone.")
        found = drawn(
            [example],
            seed=seed,
            sample=sample,
            latent_size=self.latent_size,
            aggregate=chosen(self._trained.aggregate, prior),
        )
        return jnp.asarray(found)

    def _by_region(
        self,
        prepared: PreparedMaps,
        style: Any,
        *,
        rest: Sequence[np.ndarray],
        fits: Sequence[Callable[[Regions], Regions]] | None,
    ) -> tuple[PreparedMaps, Sequence[Array]]:
        """The maps with their regions, and the styles `[R, N]` of these.

        Args:
          prepared: without tables.
          style: see `regions.is_by_region`.
          rest: a style `[1, N]` for each map, where none is given.
          fits: of `_prepared`; None where the maps came as modulations.
        """
        regions.check_follows(
            latent_size=self.latent_size,
            starts_from_latent=self._synthesis.starts_from_latent,
        )
        if isinstance(style, Mapping):
            found = regions.of_classes(
                style,
                [np.asarray(layout.label)[0] for layout in prepared.layouts],
                classes=self.classes,
                rest=rest,
                given=self._styles.given,
            )
        elif fits is None:
            raise ValueError(
                "A style of each pixel goes with a label map, not with its modulations."
            )
        else:
            given = regions.of_pixels(
                style, latent_size=rest[0].shape[1], count=len(rest)
            )
            found = [fit(one) for fit, one in zip(fits, given, strict=True)]
        layouts = [
            layout._replace(regions=one.numbers[None])
            for layout, one in zip(prepared.layouts, found, strict=True)
        ]
        return prepared._replace(layouts=layouts), [one.styles for one in found]

    def _tabulated(self, prepared: PreparedMaps) -> PreparedMaps:
        layouts = [
            self._synthesis.with_tables(layout, size=layout.size, tight=False)
            for layout in prepared.layouts
        ]
        return prepared._replace(layouts=layouts)

    def _modulated(self, prepared: PreparedMaps) -> Modulations:
        values = [self._synthesis.modulate(layout) for layout in prepared.layouts]
        layouts = [layout._replace(tables=None) for layout in prepared.layouts]
        return Modulations(prepared._replace(layouts=layouts), values)

    def _prepared(
        self,
        label_map: Picture | Sequence[Picture],
        instances: Picture | Sequence[Picture] | None,
        size: str,
    ) -> tuple[PreparedMaps, list[Callable[[Regions], Regions]]]:
        """Reads maps: without tables, and what brings regions of each to its layout."""
        rule = size_rule(self._trained.recipe, size)
        maps.check_instances(instances, wanted=self._trained.recipe.data.instances)
        given = Maps(
            labels=inputs.named(label_map, "label_map"),
            instances=None
            if instances is None
            else inputs.named(instances, "instances"),
            format=self._label_format,
        )
        sizes, examples = maps.read(given, sizes=rule)
        for words in map(rule.words, dict.fromkeys(sizes)):
            if words and words not in self._told:
                self._told.add(words)
                _log.warning("%s", words)
        layouts = []
        for example in examples:
            edge = None
            if example.instance is not None:
                edge = data.edges(example.instance)[None]
            layouts.append(Layout(example.label[None], edge))
        fits = [functools.partial(regions.fitted, size=x, fit=rule) for x in sizes]
        return PreparedMaps(layouts, rule.fit(sizes[0]).picture), fits
