"""Synthesis: what is compiled of a model, for layouts and latents that are prepared.

Letters: B number of pictures, H height, W width, N latent size.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from spade_jax import assemble
from spade_jax.files import pictures
from spade_jax.kernels import choose, onednn
from spade_jax.layout import Array, Layout, positions, tabulate
from spade_jax.models import finite, forks, inputs
from spade_jax.models.inputs import Picture
from spade_jax.models.maps import PreparedMaps
from spade_jax.models.opening import Model, of_another_network
from spade_jax.models.styles import Posterior


class Synthesis:
    """A model's generator, compiled for the layouts that it is called with.

    Args:
      model: what `spade_jax.models.opening.load_model` reads.
    """

    def __init__(self, model: Model):
        recipe, generator = model.recipe, model.networks.generator
        is_modulated = assemble.is_modulated(recipe.architecture)
        starts_from_layout = not (is_modulated and generator.starts_from_latent)
        if is_modulated and starts_from_layout:
            # The layout may be of whatever size it is.
            generator = generator.clone(grid=None)
        # A model that was pickled has its weights on the host.
        self._variables = jax.device_put(model.generator)
        self._generator = generator
        self._has_modulations = is_modulated and not generator.modulates_by_latent
        self._reads_positions = assemble.reads_positions(recipe.architecture)
        self._is_factored = assemble.factored(
            recipe.architecture, recipe.compute, platform=jax.default_backend()
        ).is_so
        self._process = os.getpid()

        def apply(variables, *inputs, **options):
            with of_another_network():
                return generator.apply(variables, *inputs, **options)

        compiled = _compiled(generator.dtype)

        @compiled
        def modulate(variables, layout):
            return apply(variables, layout, method="modulations")

        @compiled
        def generate(variables, layout, modulations, z):
            latent = () if z is None else (z,)
            known = {} if modulations is None else {"modulations": modulations}
            return apply(variables, layout, *latent, **known, train=False)

        self._modulate, self._generate = modulate, generate

    @property
    def has_modulations(self) -> bool:
        """Whether a part of the work depends on layouts alone; see `modulate`."""
        return self._has_modulations

    @property
    def starts_from_latent(self) -> bool:
        """Whether a latent is what the network starts from, at one size only."""
        return self._generator.starts_from_latent

    def generate(self, layout: Layout, modulations: Any, z: Array | None) -> jax.Array:
        """Synthesises a batch of layouts of a size that the networks can make.

        Args:
          layout: of B pictures.
          modulations: of it, or None.
          z: `[B, N]`, or None for a model without a latent.

        Returns:
          float32 `[B, H, W, 3]` in [-1, 1], on the device.

        Raises:
          RuntimeError: this is a fork of the process that the model was loaded in.
        """
        forks.refuse_out_of(self._process)
        return self._generate(self._variables, layout, modulations, z)

    def modulate(self, layout: Layout) -> Any:
        """The modulations of a batch of layouts, for `generate`.

        Args:
          layout: of B pictures, of a size that the networks can make.

        Returns:
          On the device, by stage and norm; see `SPADEGenerator.modulations`.

        Raises:
          RuntimeError: see `generate`.
        """
        forks.refuse_out_of(self._process)
        return self._modulate(self._variables, layout)

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
        if self._reads_positions:
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


def photo_encoder(model: Model) -> Callable[[Picture], Posterior] | None:
    """From a photograph to the distribution of its style; None without an encoder.

    In a fork of the process that this was called in, the function raises RuntimeError.
    """
    encoder, process = model.networks.encoder, os.getpid()
    if encoder is None:
        return None

    @_compiled(encoder.dtype)
    def encode(variables, photo):
        return encoder.apply(variables, photo, train=False)

    def posterior(photo):
        forks.refuse_out_of(process)
        transform = assemble.resize(model.recipe.data.size)
        return encode(model.encoder, inputs.read_photo(photo, transform))

    return posterior


def _compiled(dtype: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compiles functions of networks that compute in a dtype."""
    options = onednn.compiler_options(jax.default_backend(), dtype)
    return functools.partial(jax.jit, compiler_options=options)
