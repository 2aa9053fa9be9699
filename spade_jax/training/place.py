"""The place of a run: not among the pictures that it reads."""

import os

from spade_jax import assemble
from spade_jax.files import outputs
from spade_jax.files.places import absolute
from spade_jax.recipe import Data


def check_place(workdir: str | os.PathLike[str], of: Data) -> None:
    """Refuses a work dir in a folder of pictures, where they would be looked for.

    Args:
      workdir: of the run.
      of: the data.

    Raises:
      ValueError: it is in, or is, ROOT/SPLIT_img or another of a split's folders.
    """
    sheet = absolute(workdir) / "samples.png"
    inputs = assemble.picture_folders(of)
    outputs.check_apart([sheet], flag="--workdir", inputs=inputs)
