"""What is loaded serves the process that loaded it."""

import os
from typing import NoReturn


class OneProcess:
    """A part of what computes with JAX: neither pickled, nor used after a fork.

    JAX's threads are not in a forked process, which would wait for them for ever, and
    its devices are not in another one.
    """

    def __init__(self):
        self._process = os.getpid()

    def check_process(self) -> None:
        """Refuses to be used in a process that was forked since.

        Raises:
          RuntimeError: it was.
        """
        if os.getpid() != self._process:
            raise RuntimeError(
                "This model was loaded before this process was forked, in which JAX"
                " cannot compute. Start processes with"
                " multiprocessing.get_context('spawn'), and load the model in each."
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} cannot be pickled, copied or sent to another"
            " process: give that the path, and load the model there with"
            " spade_jax.load(path)."
        )
