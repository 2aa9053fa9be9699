"""What JAX is told of a GPU's memory before it takes it."""

import os

# By any of these somebody has decided already.
_DECIDE = (
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)


def share() -> None:
    """Lets JAX take a GPU's memory as it is needed, for a program beside training.

    Otherwise it takes three quarters of it at once, which are not there where another
    program has done so. Nothing is changed where the environment decides already. To be
    called before JAX is used, which reads it when it first looks for devices.
    """
    if not any(os.environ.get(name) for name in _DECIDE):
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
