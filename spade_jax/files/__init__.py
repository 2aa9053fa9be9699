"""Files: arrays and text in, files that are whole or not there out.

    local.py       where the paths lead that people give
    outputs.py     what a command may write over
    whole.py       files that are whole or not there
    pictures.py, video.py, provenance.py

May import: PIL, av.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable

from spade_jax.files.whole import replacing

__all__ = ["Replacing", "replacing"]

Replacing = Callable[
    [str | os.PathLike[str]], contextlib.AbstractContextManager[pathlib.Path]
]
"""How a file gets to its place: see `replacing`, and `outputs.Outputs.replacing`."""
