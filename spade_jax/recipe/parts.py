"""What a recipe says, in small frozen parts: data, architecture, optimisation, ...

`spade_jax.recipe.describe` makes a `Recipe` of a config and checks every field. Each
part is all that one kind of thing needs to know, so a function's signature tells what
it depends on. `configs/default.py` explains the fields with their units.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenes:
    """Drawn landscapes: `config.data.scenes`."""

    size: int
    num_train: int
    num_val: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Where examples come from and how they become batches: `config.data`."""

    source: str
    root: str
    manual_dir: str
    train_split: str
    val_split: str
    num_classes: int
    unknown_label: int | None
    instances: bool
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    label_colors: str
    color_tolerance: float
    preprocess_mode: str
    load_size: int
    crop_size: int
    aspect_ratio: float
    most_pixels: int
    pad_crop: bool
    flip: bool
    scenes: Scenes
    workers: int

    @property
    def num_ids(self) -> int:
        """Class ids a layout may hold: the named classes, and one for "unknown"."""
        return self.num_classes + (self.unknown_label is not None)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures that the networks see."""
        return picture_size(self.crop_size, self.aspect_ratio)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generator:
    """The generator: `config.generator`."""

    name: str
    width: int
    norm: str
    upsampling: str
    hidden: int
    latent: str
    latent_size: int
    downsamplings: int
    blocks: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Discriminator:
    """The discriminator: `config.discriminator`."""

    name: str
    num_scales: int
    num_layers: int
    width: int
    norm: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder:
    """The encoder: `config.encoder`."""

    width: int
    image_size: int
    norm: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that decides which parameters the networks have.

    Attributes:
      generator, discriminator, encoder: of the config.
      num_ids: class ids a layout may hold.
      edges: whether layouts have instance edges.
      crop_size: pixels, the width of the pictures.
      aspect_ratio: width / height.
    """

    generator: Generator
    discriminator: Discriminator
    encoder: Encoder
    num_ids: int
    edges: bool
    crop_size: int
    aspect_ratio: float

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        return picture_size(self.crop_size, self.aspect_ratio)

    @property
    def latent_size(self) -> int | None:
        """Numbers of a style, or None for a generator that starts from the layout."""
        g = self.generator
        return None if g.latent == "none" else g.latent_size

    @property
    def starts_from_latent(self) -> bool:
        """Whether the generator's start grid is made of a style.

        Then its weights are of pictures of one size.
        """
        return self.latent_size is not None and self.generator.name != "oasis"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute:
    """How the networks are computed: the same results, in other time and memory.

    Attributes:
      dtype: of the computations.
      remat: recompute the generator's blocks in the backward pass.
      factored: modulations once a distinct neighbourhood; None: where it is quicker.
      spatial: devices that share the height of each picture.
      accumulate: parts of the batch that are computed one after another.
    """

    dtype: str
    remat: bool
    factored: bool | None
    spatial: int
    accumulate: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    """The objective: `config.loss`."""

    gan: str
    feature_matching: float
    balance_classes: bool
    ignored_ids: tuple[int, ...]
    labelmix: float
    augment: str
    perceptual: float
    kld: float
    perceptual_network: str
    vgg_file: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Adam: `config.optimizer`."""

    learning_rate: float
    ttur: bool
    beta1: float
    beta2: float
    epsilon: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long, in which steps.

    Attributes:
      batch_size: pictures, over all devices.
      num_epochs, decay_epochs: at the full learning rate, and falling.
      num_steps: iterations after which to stop, whatever the epochs say, or None.
      discriminator_steps: for each generator step.
      reuse_fake: D learns from G's fakes.
      ema_decay: of averaged generator weights; 0: none.
    """

    batch_size: int
    num_epochs: int
    decay_epochs: int
    num_steps: int | None
    discriminator_steps: int
    reuse_fake: bool
    ema_decay: float

    def steps_per_epoch(self, num_examples: int) -> int:
        """Iterations of an epoch of so many training examples."""
        return max(1, num_examples // self.batch_size)

    def last_step(self, num_examples: int) -> int:
        """Iterations of a whole run on so many training examples."""
        if self.num_steps is not None:
            return self.num_steps
        epochs = self.num_epochs + self.decay_epochs
        return epochs * self.steps_per_epoch(num_examples)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Best:
    """The number by which the best checkpoint is chosen.

    Attributes:
      metric: its name in metrics.jsonl.
      highest: whether the highest is the best, not the lowest.
    """

    metric: str
    highest: bool

    @classmethod
    def parse(cls, text: str) -> "Best | None":
        """Reads `NAME` for the lowest, `-NAME` for the highest; empty: None."""
        if not text:
            return None
        return cls(metric=text.removeprefix("-"), highest=text.startswith("-"))

    @property
    def text(self) -> str:
        """What `parse` takes."""
        return f"-{self.metric}" if self.highest else self.metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keeping:
    """What a run writes, how often, and which checkpoints stay.

    Attributes:
      log_every, sample_every, checkpoint_every: iterations.
      profile_at: iteration with which a trace begins; 0: none.
      num_samples: pictures in a grid.
      newest: checkpoints that stay, of the newest.
      every: iterations whose multiples stay for ever; 0: none.
      best: chooses one that stays, or None.
    """

    log_every: int
    profile_at: int
    sample_every: int
    num_samples: int
    checkpoint_every: int
    newest: int
    every: int
    best: Best | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmenter:
    """The project's own segmenter and its training: `config.segmenter`."""

    batch_size: int
    num_steps: int
    learning_rate: float
    log_every: int
    evaluate_every: int
    widths: tuple[int, ...]
    norm: str
    ignored_ids: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Evaluation in training: `config.eval`."""

    every: int
    protocol: str
    weights_dir: str
    segmenter: str
    reference: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole recipe.

    Attributes:
      seed: of everything that is drawn.
      init_gain: of the kernels that networks begin with.
      data, architecture, compute, loss, optimizer, schedule, keeping, segmenter,
        evaluation: its parts.
      fields: every field of the config, in nested dicts of plain values, from which
        the parts were made; what a checkpoint keeps. Not to be changed in place.
      open: paths of the fields that are left open, to be found in the pictures before
        anything is trained on them; in the parts their defaults stand in for them.
        With any there are also those that describe the classes and are not given.
    """

    seed: int
    init_gain: float
    data: Data
    architecture: Architecture
    compute: Compute
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    keeping: Keeping
    segmenter: Segmenter
    evaluation: Evaluation
    fields: Mapping[str, Any] = dataclasses.field(repr=False, compare=False)
    open: tuple[str, ...]

    def field(self, path: str) -> Any:
        """The value of a field, or the dict of a group of them.

        Args:
          path: with dots: "data.num_classes".
        """
        value: Any = self.fields
        for name in path.split("."):
            value = value[name]
        return value


def picture_size(crop_size: int, aspect_ratio: float) -> tuple[int, int]:
    """(height, width) of pictures; the height is rounded half to even."""
    return round(crop_size / aspect_ratio), crop_size
