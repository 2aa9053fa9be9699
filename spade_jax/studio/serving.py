"""Serving: an application on a socket, in the foreground or on a thread."""

import contextlib
import logging
import secrets
import signal
import socket
import threading
import urllib.parse
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from spade_jax.studio.engine import Engine
from spade_jax.studio.files import page_files
from spade_jax.studio.gate import LOOPBACK, Gate
from spade_jax.studio.limits import Limits
from spade_jax.studio.server import application
from spade_jax.studio.worker import Worker

_GRACE = 3  # seconds that connections and a computation have to end


def is_local(host: str) -> bool:
    """Whether a name is this machine's own, which no other reaches."""
    return host in ("127.0.0.1", "localhost", "::1")


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def listen(
    host: str, port: int, *, send_seconds: float = Limits.send_seconds
) -> socket.socket:
    """A socket that listens.

    Args:
      host: a name or an address of this machine.
      port: 0 for any that is free.
      send_seconds: after which a connection ends whose other side takes nothing, where
        the system can do so (Linux can); elsewhere it lasts as long as that side.

    Raises:
      OSError: there is no such address here, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # What is accepted inherits it. A server alone would wait for ever until what it
        # has written is taken.
        milliseconds = round(1000 * send_seconds)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def address(listening: socket.socket, *, host: str, token: str | None) -> str:
    """What a person opens.

    Args:
      listening: of `listen`.
      host: that it was given.
      token: of the gate, or None.
    """
    everywhere = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}
    name = everywhere.get(host, host)
    name = f"[{name}]" if ":" in name else name
    query = "" if token is None else "?" + urllib.parse.urlencode({"token": token})
    return f"http://{name}:{listening.getsockname()[1]}/{query}"


def gated(
    engine: Engine,
    worker: Worker,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    framed: bool = False,
    limits: Limits | None = None,
) -> Gate:
    """The studio's application behind its gate.

    Args:
      engine: of a model.
      worker: that computes.
      host: that it will be served on. Of this machine alone, it is called by no other
        name; from elsewhere it may be called by any.
      token: that requests have to show; needed from elsewhere.
      framed: see `Gate`.
      limits: other than usual, of what the application takes; those of frames and
        connections are the server's own.

    Raises:
      ValueError: the host is reached from elsewhere, and there is no token.
    """
    files, limits = page_files(), limits or Limits()
    return Gate(
        app=application(engine, worker, limits=limits, files=files),
        hosts=LOOPBACK if is_local(host) and not framed else None,
        token=token,
        free=frozenset(f"/{name}" for name in files if name != "index.html"),
        framed=framed,
    )


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, which uvicorn passes on when it has ended."""
    # Being asked to end is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.Server(_config(app)).run(sockets=[listening])


@contextlib.contextmanager
def served(app: ASGIApp, listening: socket.socket) -> Iterator[None]:
    """Serves on a thread, for as long as the context lasts."""
    server = uvicorn.Server(_config(app))
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, name="server", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _config(app: ASGIApp) -> uvicorn.Config:
    limits = Limits()
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return uvicorn.Config(
        app,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        # Unlike the other one it lets an application feel that a client reads slowly.
        ws="websockets-sansio",
        ws_max_size=limits.frame_bytes,
        # What a few bytes can become would be bounded only once it is there.
        ws_per_message_deflate=False,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=_GRACE,
        lifespan="off",
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the person at the terminal can do something about what uvicorn says.

    What a client sends is refused, and not that person's doing; of text that is none
    there would be a whole traceback.
    """
    return not str(record.msg).startswith("Invalid UTF-8 sequence")
