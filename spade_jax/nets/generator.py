"""The SPADE generator (Park et al., CVPR 2019, section 3 and appendix A).

Letters: B batch, H height, W width, C classes, N latent size.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.layout import Layout
from spade_jax.nets.conv import Conv, LayoutConv, leaky_relu, xavier
from spade_jax.nets.norm import parse_spade_norm
from spade_jax.nets.spade import BlockModulations, SPADEResBlock
from spade_jax.nets.stages import Stages, stages, total_scale


class SPADEGenerator(nn.Module):
    """Turns a layout, and possibly a latent vector, into a picture.

    Attributes:
      num_classes: C, the number of class ids.
      width: features of the last full-width block (official `ngf`).
      upsampling: 'normal', 'more', 'most' or 'oasis', or the stages of another
        decoder; see `spade_jax.nets.stages.stages`.
      norm: name of the normalisation; see `spade_jax.nets.norm.parse_spade_norm`.
      hidden: width inside SPADE.
      latent_size: N, of the latent vector; None for a generator without one.
      latent_joins_planes: where the latent goes. It is what the generator starts from,
        or, true, it joins the planes of the layout in front, the same at every pixel,
        wherever the layout is read (OASIS). A generator that does not start from a
        latent starts from the layout, resized to the start grid.
      grid: (height, width) of the start grid. None takes it from the layout, which
        must then be a multiple of the total scale; the start from a latent needs it,
        as its number of parameters depends on it.
      axis_name: see `spade_jax.nets.norm.BatchNorm`.
      dtype: compute dtype; parameters, statistics and the result are float32.
      remat: recompute each block in the backward pass instead of keeping its
        activations and modulations.
    """

    num_classes: int
    width: int = 64
    upsampling: str | Stages = "normal"
    norm: str = "spectralspadesyncbatch3x3"
    hidden: int = 128
    latent_size: int | None = None
    latent_joins_planes: bool = False
    grid: tuple[int, int] | None = None
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    def setup(self):
        spec = parse_spade_norm(self.norm)
        features = 16 * self.width
        if not self.starts_from_latent:
            self.start: nn.Module = LayoutConv(
                features, self.num_classes, dtype=self.dtype
            )
        elif self.grid is None:
            raise ValueError("a generator that starts from a latent needs `grid`.")
        else:
            self.start = nn.Dense(
                self.grid[0] * self.grid[1] * features,
                kernel_init=xavier,
                dtype=self.dtype,
            )
        for stage in stages(self.upsampling):
            in_features, features = features, int(stage.width * self.width)
            block = SPADEResBlock(
                features,
                in_features,
                self.num_classes,
                spec,
                hidden=self.hidden,
                axis_name=self.axis_name,
                dtype=self.dtype,
            )
            setattr(self, stage.name, block)
        self.to_image = Conv(3, 3, dtype=self.dtype)

    @property
    def starts_from_latent(self) -> bool:
        """Whether it starts from a latent, and not from the layout."""
        return self.latent_size is not None and not self.latent_joins_planes

    @property
    def kernel_size(self) -> int:
        """K of SPADE's convolutions, which a layout is tabulated for; 0 of CLADE."""
        return parse_spade_norm(self.norm).kernel_size

    @property
    def reads_positions(self) -> bool:
        """Whether it takes layouts with positions."""
        return parse_spade_norm(self.norm).positions

    @property
    def modulates_by_latent(self) -> bool:
        """Whether modulations depend on the latent, and not on the layout alone."""
        by_class = parse_spade_norm(self.norm).by_class
        return (
            self.latent_joins_planes and self.latent_size is not None and not by_class
        )

    @property
    def multiple(self) -> int:
        """Heights and widths of pictures are multiples of this."""
        return total_scale(self.upsampling)

    def scales(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Sizes at which SPADE sees a layout of a size: those to tabulate it for."""
        grid = self._grid(height, width)
        sizes = {
            (grid[0] * stage.scale, grid[1] * stage.scale)
            for stage in stages(self.upsampling)
        }
        return tuple(sorted(sizes))

    def modulations(
        self, layout: Layout, z: jax.Array | None = None
    ) -> dict[str, BlockModulations]:
        """Everything the generator reads from a layout after its start.

        Compute it once a layout and pass it to any number of calls with other
        latents, unless it `modulates_by_latent`, for which z is given here too. Keys
        are the block's and the normalisation's names.
        """
        layout = self._with_noise(layout, z)
        return {
            stage.name: getattr(self, stage.name).modulations(scaled)
            for stage, scaled in self._at_each_stage(layout)
        }

    def __call__(
        self,
        layout: Layout,
        z: jax.Array | None = None,
        *,
        modulations: Mapping[str, BlockModulations] | None = None,
        train: bool,
    ) -> jax.Array:
        """Synthesises pictures.

        Args:
          layout: of B pictures.
          z: `[B, N]`, for a generator with a latent; `[R, N]` for a layout with R
            regions, where it joins the layout's planes.
          modulations: of this layout, if they are at hand.
          train: normalise by the batch, advance running statistics and
            spectral-norm vectors.

        Returns:
          float32 `[B, H, W, 3]` in [-1, 1].

        Raises:
          ValueError: z is missing or superfluous, the layout's size does not suit the
            scale, or it has regions and the generator starts from z.
        """
        if (z is None) != (self.latent_size is None):
            wants = "no latent z" if self.latent_size is None else "a latent z"
            raise ValueError(f"this generator takes {wants}.")
        if layout.regions is not None and not self.latent_joins_planes:
            raise ValueError("a latent by region has to join the layout's planes.")
        layout = self._with_noise(layout, z)
        x = self._start(layout, z)
        apply = (
            nn.remat(_apply_block, static_argnums=(4, 5))
            if self.remat
            else _apply_block
        )
        for stage, scaled in self._at_each_stage(layout):
            upsample = x.shape[1:3] != scaled.size
            known = modulations[stage.name] if modulations is not None else None
            x = apply(getattr(self, stage.name), x, scaled, known, train, upsample)
        image = self.to_image(leaky_relu(x))
        return jnp.tanh(image.astype(jnp.promote_types(image.dtype, jnp.float32)))

    def _start(self, layout: Layout, z: jax.Array | None) -> jax.Array:
        height, width = self._grid(*layout.size)
        if not self.starts_from_latent:
            return self.start(layout.resize(height, width))
        return self.start(z).reshape(-1, height, width, 16 * self.width)

    def _with_noise(self, layout: Layout, z: jax.Array | None) -> Layout:
        return layout._replace(noise=z) if self.latent_joins_planes else layout

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        if self.grid is not None:
            return self.grid
        scale = total_scale(self.upsampling)
        if height % scale or width % scale:
            raise ValueError(
                f"layout of height {height} and width {width}: with upsampling"
                f" {self.upsampling!r} both must be multiples of {scale}."
            )
        return height // scale, width // scale

    def _at_each_stage(self, layout: Layout):
        height, width = self._grid(*layout.size)
        for stage in stages(self.upsampling):
            yield stage, layout.resize(height * stage.scale, width * stage.scale)


def _apply_block(block, x, layout, modulations, train, upsample):
    # A free function so that `nn.remat` can wrap the block and its modulations
    # together: both are large, and both are cheap to compute again.
    if modulations is None:
        modulations = block.modulations(layout)
    return block(x, modulations, train=train, upsample=upsample)
