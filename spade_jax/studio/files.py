"""The files of the page, and what a browser may do with them."""

import mimetypes
import pathlib
from typing import NamedTuple

_PAGE = pathlib.Path(__file__).parent / "page"

# Scripts from here only, and none within the page. WebAssembly is for the static form
# of the page, which has the same policy.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)


class PageFile(NamedTuple):
    """A file of the page."""

    content: bytes
    media_type: str


def page_files() -> dict[str, PageFile]:
    """The files of the page, by their names."""
    return {
        path.name: PageFile(
            path.read_bytes(),
            # As browsers want it of modules, whatever this machine's table says.
            "text/javascript"
            if path.suffix == ".js"
            else mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        )
        for path in sorted(_PAGE.iterdir())
        if path.is_file()
    }
