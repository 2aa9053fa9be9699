"""Which sections there are, in the order of their worth, and how long each may take.

Together they may take longer than there is time: the last are done where the first were
quick, or by themselves.
"""

from typing import NamedTuple


class Section(NamedTuple):
    """A part of the kit, by the name of a function of `sections`.

    Attributes:
      limit: seconds.
      shares: whether programs of PyTorch and of JAX run in it, so that JAX must not
        take the memory for itself.
    """

    limit: float
    shares: bool = False


SECTIONS = {
    "machine": Section(45, shares=True),
    "training_dense_8": Section(150),
    "training_pytorch": Section(150, shares=True),
    "synthesis_1": Section(90),
    "synthesis_pytorch": Section(75, shares=True),
    "parity": Section(75),
    "training_factored_8": Section(150),
    "training_dense_32": Section(120),
    "synthesis_more": Section(120),
    "kernels_pytorch": Section(120, shares=True),
    "training_clade": Section(120),
    "training_dense_1": Section(90),
}
