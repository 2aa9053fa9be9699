"""Which devices are computed on, in words, and which are here that JAX does not use."""

import collections
import importlib.util
import logging
import os
import pathlib

import jax

from spade_jax.devices.mesh import Devices

_log = logging.getLogger(__name__)


def log() -> None:
    """Logs what `describe` says, and warns of what `unused` finds."""
    _log.info("%s", describe())
    if missed := unused():
        _log.warning("%s", missed)


def describe() -> str:
    """The devices of all processes, in a sentence."""
    return f"Computing on {named(jax.devices())}."


def named(devices: Devices) -> str:
    """Some devices, as "8 cpu devices of 2 processes"."""
    kinds = collections.Counter(
        d.platform if d.platform == "cpu" else f"{d.platform} ({d.device_kind})"
        for d in devices
    )
    counted = ", ".join(
        f"{count} {kind} device{'' if count == 1 else 's'}"
        for kind, count in kinds.items()
    )
    count = jax.process_count()
    of = "" if count == 1 else f" of {count} processes"
    return f"{counted}{of}"


def unused(devices: pathlib.Path = pathlib.Path("/dev")) -> str | None:
    """What is here to compute on, but not for JAX as it is installed, and the remedy.

    Args:
      devices: the directory of the machine's devices.

    Returns:
      A message, or None where JAX uses an accelerator, was told not to
      (`JAX_PLATFORMS`), or there is none.
    """
    if jax.default_backend() != "cpu" or os.environ.get("JAX_PLATFORMS") == "cpu":
        return None
    # As the drivers name them.
    if list(devices.glob("nvidia[0-9]*")) or (devices / "dxg").exists():
        return _advise("An NVIDIA GPU", "cuda12", _has_cuda())
    if list(devices.glob("accel[0-9]*")):
        libtpu = importlib.util.find_spec("libtpu") is not None
        return _advise("A TPU", "tpu", libtpu)
    return None


def _has_cuda() -> bool:
    names = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    return any(importlib.util.find_spec(name) for name in names)


def _advise(what: str, extra: str, is_installed: bool) -> str:
    if is_installed:
        why = (
            "JAX's package for it is installed but could not use it: look for a warning"
            " of JAX above, for its driver's version, and whether another program has"
            " it."
        )
    else:
        why = (
            "JAX is installed without what it takes: pip install --upgrade"
            f" 'jax[{extra}]'"
        )
    return f"{what} is here, and is not used: {why}"
