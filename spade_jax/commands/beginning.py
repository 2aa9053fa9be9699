"""How a program begins: without a word of what it imports, which takes seconds."""

import os
import signal

_ENVIRONMENT = {
    # JAX and TensorFlow otherwise print warnings of their compilers, such as one to
    # file a bug where compiling takes two minutes. What goes wrong is raised.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # TensorFlow only writes TensorBoard's files, and has nothing to say about how it
    # would compute.
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


def importing() -> None:
    """Is called by a program before it imports more.

    Until `imported` is called SIGINT ends it at once, without a traceback. And what
    libraries print by themselves is held back: they read the environment when they are
    imported.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Unless somebody else looks after it, or it is ignored as in a shell's background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def imported() -> None:
    """Is called by a program when it has imported all that it needs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
