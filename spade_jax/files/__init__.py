"""Files: arrays and text in, files that are whole or not there out.

    places.py      where paths lead, on this machine or in a bucket
    bucket.py      what a bucket does that paths do not
    staging.py     what a bucket holds, as files of this machine
    outputs.py     what a command may write over
    whole.py       files that are whole or not there
    pictures.py, video.py   pictures and films
    arrays.py      arrays of `.npz` files
    finite.py      numbers that JSON has no word for
    npm.py         files out of npm's packages
    provenance.py  what made a file

May import: PIL, av, etils, fsspec, gcsfs, google, `progress`.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable

from spade_jax.files.whole import reading, replacing

__all__ = ["Replacing", "reading", "replacing"]

Replacing = Callable[
    [str | os.PathLike[str]], contextlib.AbstractContextManager[pathlib.Path]
]
"""How a file gets to its place: see `replacing`, and `outputs.Outputs.replacing`."""
