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
from flax.errors import FlaxError

from spade_jax import assemble, data
from spade_jax.devices.programs import keep_programs
from spade_jax.files import pictures
from spade_jax.files.arrays import in_one_line
from spade_jax.kernels import choose
from spade_jax.layout import Array, Layout, positions, tabulate
from spade_jax.models import finite, inputs, maps, regions
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
from spade_jax.workdir.checkpoint import CheckpointError

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
    _refuse_forks(_processes())
    keep_programs()
    opened = open_model(path)
    if dtype is not None:
        opened = opened.computed_in(dtype)
    # Where there is none to read, nothing has begun that a fork would not bear.
    _processes().add(os.getpid())
    return Predictor(opened.read())


class Predictor:
    """A trained model; called with label maps it gives pictures.

    A call computes pictures one at a time, so that one program serves every call with
    label maps of a size, and a picture does not depend on those beside it. Several in
    one program are for `with_tables` and `synthesise`, of which a call is made.

    It can be pickled, for processes that are spawned; in a forked one JAX would hang,
    and a call is refused.

    Args:
      model: what `spade_jax.models.opening.load_model` reads.

    Raises:
      CheckpointError: its weights hold NaN or infinity.
    """

    def __init__(self, model: Model):
        finite.check_weights({"generator": model.generator, "encoder": model.encoder})
        recipe, generator = model.recipe, model.networks.generator
        self._trained = model
        is_modulated = assemble.is_modulated(recipe.architecture)
        self._has_modulations = is_modulated and not generator.modulates_by_latent
        starts_from_layout = not (is_modulated and generator.starts_from_latent)
        if is_modulated and starts_from_layout:
            # The layout may be of whatever size it is.
            generator = generator.clone(grid=None)
        self._generator = generator
        self._is_factored = assemble.factored(
            recipe.architecture, recipe.compute, platform=jax.default_backend()
        ).is_so
        self._label_format = LabelFormat(recipe.data)
        # What was said of sizes.
        self._told: set[str] = set()
        self._process = os.getpid()

        def apply(variables, *inputs, **options):
            try:
                return generator.apply(variables, *inputs, **options)
            except FlaxError as error:
                raise CheckpointError(
                    "The weights are not those of the network that their config"
                    f" describes ({in_one_line(error)}): the checkpoint was made by"
                    " another version of spade_jax, or changed."
                ) from error

        @jax.jit
        def modulate(variables, layout):
            return apply(variables, layout, method="modulations")

        @jax.jit
        def generate(variables, layout, modulations, z):
            latent = () if z is None else (z,)
            known = {} if modulations is None else {"modulations": modulations}
            return apply(variables, layout, *latent, **known, train=False)

        self._modulate, self._generate = modulate, generate
        self._styles = Styles(
            latent_size=self.latent_size,
            encoder=_posterior(model, before=self._check_process),
            aggregate=model.aggregate,
        )

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
        return is_styled and not self._generator.starts_from_latent

    @property
    def has_modulations(self) -> bool:
        """Whether a part of the work depends on label maps alone; see `modulations`."""
        return self._has_modulations

    @property
    def trained(self) -> Model:
        """Networks and variables."""
        return self._trained

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
        self._check_process()
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
            if num_maps < count and self._has_modulations:
                prepared, values = self._modulated(prepared)
        return self.synthesise(prepared, latents, values=values)

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
        self._check_process()
        if not self._has_modulations:
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
        self._check_process()
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
        self._check_process()
        return self._styles.between(a, b, n)

    def posterior(self, photo: Picture) -> Posterior:
        """The distribution of a photograph's style: mean and log-variance `[1, N]`.

        Raises:
          Exception: see `encode`.
        """
        return self._styles.posterior(photo)

    def prior(
        self, seed: int, example: int, sample: int = 0, *, prior: str = "data"
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
        self._check_process()
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

    def generate(self, layout: Layout, modulations: Any, z: Array | None) -> jax.Array:
        """Synthesises a batch of layouts of a size that the networks can make.

        Args:
          layout: of B pictures.
          modulations: of it, or None.
          z: `[B, N]`, or None for a model without a latent.

        Returns:
          float32 `[B, H, W, 3]` in [-1, 1], on the device.

        Raises:
          RuntimeError: see `__call__`.
        """
        self._check_process()
        return self._generate(self._trained.generator, layout, modulations, z)

    def modulate(self, layout: Layout) -> Any:
        """The modulations of a batch of layouts, for `generate`."""
        self._check_process()
        return self._modulate(self._trained.generator, layout)

    def with_tables(
        self, layout: Layout, *, size: tuple[int, int], tight: bool
    ) -> Layout:
        """A layout with what is told of it on the host.

        That is positions, where the model takes them, and tables of its neighbourhoods,
        where these make it quicker.

        Args:
          layout: of B pictures, of a size that the networks can make.
          size: (height, width) at whose scales to make tables; they serve layouts of
            this size.
          tight: see `spade_jax.layout.tabulate`.
        """
        if assemble.reads_positions(self._trained.recipe.architecture):
            layout = layout._replace(positions=positions(np.asarray(layout.label)))
        num_regions = 0 if layout.regions is None else np.max(layout.regions) + 1
        if not self._is_factored or not choose.tables_pay(num_regions):
            return layout
        return tabulate(
            layout,
            self._generator.scales(*size),
            kernel_size=self._generator.kernel_size,
            apart=self._generator.modulates_by_latent,
            tight=tight,
        )

    def synthesise(
        self,
        prepared: PreparedMaps,
        latents: Sequence[Array | None],
        *,
        values: Sequence[Any] | None = None,
    ) -> np.ndarray:
        """Synthesises the pictures of maps.

        Args:
          prepared: their layouts, each of which is computed at once.
          latents: `[B, N]`, `[R, N]` where it has regions, or None of each layout, or
            one for all of them; for a single layout as many as there are to be pictures
            of it.
          values: what `modulate` gives of each layout, if that is known.

        Returns:
          uint8 `[sum of B, H, W, 3]`.

        Raises:
          ValueError: a picture is not finite.
        """
        layouts = prepared.layouts
        values = [None] * len(layouts) if values is None else values
        made = [
            self.generate(
                layouts[i % len(layouts)],
                values[i % len(layouts)],
                latents[i % len(latents)],
            )
            for i in range(max(len(layouts), len(latents)))
        ]
        height, width = prepared.size
        images = np.concatenate(jax.device_get(made))[:, :height, :width]
        finite.check_pictures(images)
        return pictures.to_uint8(images)

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
            starts_from_latent=self._generator.starts_from_latent,
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
            self.with_tables(layout, size=layout.size, tight=False)
            for layout in prepared.layouts
        ]
        return prepared._replace(layouts=layouts)

    def _modulated(self, prepared: PreparedMaps) -> Modulations:
        values = [self.modulate(layout) for layout in prepared.layouts]
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

    def _check_process(self) -> None:
        _refuse_forks({self._process})


@functools.cache
def _processes() -> set[int]:
    """Those in which a model was read; their forks remember it, too."""
    return set()


def _refuse_forks(processes: set[int]) -> None:
    """Refuses to go on in another process than one in which a model was read.

    JAX would hang there, and what reads checkpoints ends the process, for which a pool
    starts another, for ever.

    Args:
      processes: in which one was read, by now.

    Raises:
      RuntimeError: this is another.
    """
    if others := processes - {os.getpid()}:
        raise RuntimeError(
            f"A model was loaded in process {min(others)}, and process {os.getpid()}"
            " is a fork of it, in which JAX hangs. Start processes with"
            ' multiprocessing.get_context("spawn"), which get a model as an argument,'
            " or load it in each."
        )


def _posterior(
    model: Model, *, before: Callable[[], None]
) -> Callable[[Picture], Posterior] | None:
    """From a photograph to the distribution of its style; None without an encoder.

    Args:
      model: of the encoder.
      before: called before it is.
    """
    encoder = model.networks.encoder
    if encoder is None:
        return None

    @jax.jit
    def encode(variables, photo):
        return encoder.apply(variables, photo, train=False)

    def posterior(photo):
        before()
        transform = assemble.resize(model.recipe.data.size)
        return encode(model.encoder, inputs.read_photo(photo, transform))

    return posterior
