"""How much memory a device has, and how much of it was used."""

import os

import jax

from spade_jax.devices.mesh import Devices


def memory(devices: Devices | None = None) -> int | None:
    """Bytes of each of some devices, of those of this process the least.

    CPU devices share what the machine has.

    Args:
      devices: by default all of this process.

    Returns:
      None where that is not to be known.
    """
    here = jax.process_index()
    devices = [d for d in (devices or jax.local_devices()) if d.process_index == here]
    if not devices:
        return None
    if devices[0].platform == "cpu":
        try:
            whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError, AttributeError):
            return None
        return whole // len(devices)
    told = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    return min((number for number in told if number), default=None)


def most_used(devices: Devices) -> int | None:
    """Bytes in use at most so far on the fullest of some devices, here.

    Args:
      devices: of which those of this process count.

    Returns:
      None where they do not tell, as CPUs do not.
    """
    here = jax.process_index()
    told = [
        (device.memory_stats() or {}).get("peak_bytes_in_use")
        for device in devices
        if device.process_index == here
    ]
    return max((number for number in told if number), default=None)
