"""How a program ends: with its status, at once, and not because nobody reads it.

A failed save leaves threads of Orbax that wait for each other for ten minutes, and the
usual way out of Python would wait for them, holding the accelerators. So a program that
fails leaves without it.
"""

import errno
import io
import logging
import multiprocessing
import os
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NoReturn, TextIO


def run(program: Callable[[], object]) -> None:
    """Runs a program, and returns if it was successful.

    Otherwise the process ends: with the status of `SystemExit`, and the words it has;
    with 1 and a traceback for any other exception; with 1, too, where a full disk did
    not take what was printed; by SIGINT where that interrupted it.
    """
    printed = endure_closed_streams()
    sys.unraisablehook = _tell_unraisable
    try:
        program()
    except SystemExit as end:
        if end.code is None or end.code == 0:
            _check_printed(printed)
            return
        status = end.code if isinstance(end.code, int) else 1
        if status is not end.code:
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        _clean_up()
        # So that a shell's loop ends, too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise
    except BaseException:
        traceback.print_exc()
        status = 1
    else:
        _check_printed(printed)
        return
    leave(status)


def leave(status: int) -> NoReturn:
    """Ends the process at once, with what it has printed, and waits for no thread.

    Also for a program that is done while a thread of it is still within XLA, which the
    usual way out of Python takes the interpreter from: the process would crash.
    """
    _clean_up()
    os._exit(status)


def _tell_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Tells of an exception in a callback, unless it is an echo of a failed save.

    TensorStore's threads answer to the event loop of Orbax's save; once that has failed
    and the loop is closed, each answer still to come is an error, and none is news.

    An interruption, as of JAX's callback when garbage is collected, would be lost: the
    program is interrupted again, once the callback is over.
    """
    error = unraisable.exc_value
    if isinstance(error, KeyboardInterrupt):
        # A signal, which wakes it from what it waits for, too.
        main = threading.main_thread().ident
        again = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
        again.daemon = True
        again.start()
        return
    if isinstance(error, RuntimeError) and str(error) == "Event loop is closed":
        return
    sys.__unraisablehook__(unraisable)


def _check_printed(printed: "_Enduring") -> None:
    """Ends the process if a result may be among what could not be printed."""
    sys.stdout.flush()
    if printed.lost is not None:
        print(f"Not all that was printed is there: {printed.lost}", file=sys.stderr)
        leave(1)


def endure_closed_streams() -> "_Enduring":
    """Makes a pipe that is closed, or a terminal that is gone, no error of printing.

    Nor a disk that is full. What is printed from then on is lost; the program goes on.

    Returns:
      Standard output.
    """
    # Files opened later would otherwise take the numbers of streams that the program
    # was started without, and get what libraries say on them.
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = (sys.stdout, sys.stderr)
    printed = _Enduring(1, "w", closefd=False)
    told = _Enduring(2, "w", closefd=False)
    after = _enduring(sys.stdout, printed), _enduring(sys.stderr, told)
    sys.stdout, sys.stderr = after
    # Where a library has set up a log as it was imported, it goes on there: absl would
    # otherwise not know it for its own, and every line come twice.
    for handler in logging.getLogger().handlers:
        for old, new in zip(before, after, strict=True):
            if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                handler.setStream(new)
    return printed


class _Enduring(io.FileIO):
    """A stream's descriptor, which becomes that of /dev/null when nobody reads it.

    Attributes:
      lost: why something could not be written to a disk.
    """

    lost: OSError | None = None

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.lost = error
                return len(data)
            if not _is_closed(error, self.fileno()):
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(data)


def _is_closed(error: OSError, number: int) -> bool:
    if error.errno == errno.EIO:
        # Of a disk it would be another thing.
        return stat.S_ISCHR(os.fstat(number).st_mode)
    return error.errno == errno.EPIPE


def _writes_to(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except OSError:  # It has none.
        return False


def _enduring(stream: TextIO | None, descriptor: _Enduring) -> TextIO:
    if stream is not None:
        if not _writes_to(stream, descriptor.fileno()):
            # A notebook's, where the command is run within: its cell shows it.
            return stream
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(descriptor),
        encoding=getattr(stream, "encoding", "utf-8"),
        # Names of files and classes need not be in it.
        errors="backslashreplace",
        line_buffering=descriptor.fileno() == 2 or descriptor.isatty(),
        write_through=getattr(stream, "write_through", False),
    )


def _clean_up() -> None:
    """Does what the usual way out would, but for waiting."""
    for child in multiprocessing.active_children():
        child.kill()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
