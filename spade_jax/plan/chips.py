"""What chips can do, as published, and how long a step takes on them at best."""

import math
import re
from typing import NamedTuple

GIB = 2**30


class Chip(NamedTuple):
    """One TPU chip.

    Attributes:
      flops: peak FLOP/s in bfloat16. With JAX's default precision convolutions and
        products of float32 run as bfloat16 too.
      bandwidth: bytes/s to and from its memory.
      memory: bytes.
    """

    flops: float
    bandwidth: float
    memory: int


# Google Cloud's documentation: cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e and
# /tpu7x, read in November 2026. Its "GB" of memory are GiB: the table under /tpu7x says
# so, and the compiler's limits are just below them.
CHIPS = {
    "v4": Chip(flops=275e12, bandwidth=1200e9, memory=32 * GIB),
    "v5e": Chip(flops=197e12, bandwidth=819e9, memory=16 * GIB),
    "v5p": Chip(flops=459e12, bandwidth=2765e9, memory=95 * GIB),
    "v6e": Chip(flops=918e12, bandwidth=1638e9, memory=32 * GIB),
    "tpu7x": Chip(flops=2307e12, bandwidth=7380e9, memory=192 * GIB),
}
# Chips of two cores that work as one device.
MEGACORE = ("v4", "v5p")


class Topology(NamedTuple):
    """A slice of a TPU pod, such as v5e:2x4.

    Attributes:
      name: as it was written.
      chip: key of `CHIPS`.
      shape: chips in each direction.
    """

    name: str
    chip: str
    shape: tuple[int, ...]

    @property
    def num_chips(self) -> int:
        """Chips in all."""
        return math.prod(self.shape)

    def device(self, num_devices: int) -> Chip:
        """What one device of JAX has: a chip, or one of the cores that share it."""
        cores, chip = num_devices // self.num_chips, CHIPS[self.chip]
        return Chip(chip.flops / cores, chip.bandwidth / cores, chip.memory // cores)


def parse_topology(name: str) -> Topology:
    """Reads the name of a topology.

    Raises:
      ValueError: it is not CHIP:AxB or CHIP:AxBxC of a known chip.
    """
    match = re.fullmatch(r"(\w+):([1-9]\d*(?:x[1-9]\d*){1,2})", name)
    if match is None or match[1] not in CHIPS:
        raise ValueError(
            f"--topology={name} is not understood. Write CHIP:AxB or CHIP:AxBxC, the"
            f" chip one of {', '.join(CHIPS)} and then how many of them in each"
            " direction: v5e:2x4, v6e:4x4, v5p:2x2x1."
        )
    return Topology(name, match[1], tuple(map(int, match[2].split("x"))))


class Roofline(NamedTuple):
    """The least time that a step can take on a device.

    Attributes:
      arithmetic: seconds for the arithmetic at the chip's peak.
      traffic: seconds for the bytes at the memory's bandwidth.
    """

    arithmetic: float
    traffic: float

    @property
    def seconds(self) -> float:
        """Both go on at once: the longer one."""
        return max(self)

    @property
    def bound(self) -> str:
        """'arithmetic' or 'traffic', whichever takes longer."""
        return "arithmetic" if self.arithmetic > self.traffic else "traffic"


def roofline(device: Chip, *, flops: float, bytes_accessed: float) -> Roofline:
    """Divides a device's work by what it can do (Williams et al., CACM 2009)."""
    return Roofline(flops / device.flops, bytes_accessed / device.bandwidth)
