"""Files: arrays and text in, files that are whole or not there out.

Pictures, sheets of pictures and films among them.

May import: PIL, av.
"""

from spade_jax.files.whole import replacing

__all__ = ["replacing"]
