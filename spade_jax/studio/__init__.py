"""The studio: a page on which one paints a layout and sees the photograph.

    python -m spade_jax.studio [MODEL]

Layouts go up a WebSocket and pictures come down, while one paints; see
`docs/studio.md`.

    protocol.py   messages of the WebSocket as bytes
    limits.py     what a server does at most
    uploads.py    pictures in requests, bounded before they are decoded
    engine.py     what is asked of a model, with
    rows.py       rows of modulation tables that are kept between layouts
    worker.py     the one thread that computes
    answers.py    what the HTTP interface computes
    openapi.py    that interface, described
    server.py     requests and the WebSocket
    gate.py       who may talk to the server
    serving.py    sockets
    files.py      the files of the page
    static.py     the page with the model in it, for servers of files
    notebook.py   the page inside a notebook
    __main__.py   the command
    page/         the page

May import: PIL, jax, starlette, uvicorn, `assemble`, `data`, `export`, `files`,
`layout`, `models`, `nets`, `workdir`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spade_jax.studio.notebook import show

__all__ = ["show"]


def __getattr__(name: str) -> Any:
    # Not at once: the command, which is in this package, begins before JAX is imported.
    if name == "show":
        from spade_jax.studio.notebook import show

        return show
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
