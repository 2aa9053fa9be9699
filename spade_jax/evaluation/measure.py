"""A measure: what to measure with, as the command line or a recipe says it."""

import dataclasses
from collections.abc import Callable

from spade_jax.metrics.protocols import as_flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """What to measure with.

    Attributes:
      protocol: one of `protocols.names()`; empty: the only one of the dataset.
      weights_dir: of the published networks' weights, for protocols that need them.
      segmenter: file of the project's own segmenter; empty: that in the work dir, or
        that which comes with the project.
      reference: file of the reference pictures' statistics; empty: they are computed
        once and kept in the work dir.
      untrained: whether to measure the model as it was before training, too.
      num_samples: with 2 or more, the mean LPIPS distance between so many samples of
        each layout is a score, "diversity", of a model with styles.
      called: from the name of one of these fields to what messages call it: as it was
        given, by default as a flag.
    """

    protocol: str = ""
    weights_dir: str = ""
    segmenter: str = ""
    reference: str = ""
    untrained: bool = False
    num_samples: int = 1
    called: Callable[[str], str] = as_flag


DEFAULT = Measure()
