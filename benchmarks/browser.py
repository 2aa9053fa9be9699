"""Chromium, onnxruntime-web and a server for them, for tests and measurements."""

import contextlib
import functools
import http.server
import itertools
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Iterator

from spade_jax.export import onnx_file
from spade_jax.files.npm import unpack

RUNTIME = onnx_file.WEB_RUNTIME
FILES = {
    "wasm": ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}
"""Of each of its providers the script and the WebAssembly, which is all it needs."""

# Without these a page gets no memory that threads can share.
_ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
_MOST_SECONDS = 180  # to wait for something, on a busy machine


class MissingError(Exception):
    """What is needed is not on this machine."""


def chromium() -> str:
    """The path of the browser.

    Raises:
      MissingError: there is none.
    """
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise MissingError("There is no Chromium here: apt-get install chromium.")
    return found


def runtime(kept: pathlib.Path, provider: str = "wasm") -> list[pathlib.Path]:
    """The files of onnxruntime-web, which npm fetches the first time.

    Args:
      kept: directory that holds them, or will.
      provider: one of `FILES`.

    Raises:
      MissingError: npm is not installed, or finds no package index.
    """
    fetched(
        kept, RUNTIME, [f"dist/{name}" for name in itertools.chain(*FILES.values())]
    )
    return [kept / RUNTIME / name for name in FILES[provider]]


def fetched(kept: pathlib.Path, package: str, members: list[str]) -> pathlib.Path:
    """The directory of some files of a package, which npm fetches the first time.

    Args:
      kept: directory that holds it, or will.
      package: its name and version.
      members: paths of the files in it; they are kept by their names.

    Raises:
      MissingError: npm is not installed, or finds no package index.
    """
    directory = kept / package
    if not directory.is_dir():
        npm = shutil.which("npm")
        if npm is None:
            raise MissingError("There is no npm here: apt-get install npm.")
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as temporary:
            unfinished = pathlib.Path(temporary) / package
            unfinished.mkdir(parents=True)
            try:
                unpack(package, members, unfinished, npm=npm)
            except RuntimeError as error:
                raise MissingError(str(error)) from error
            try:
                unfinished.rename(directory)
            except OSError:
                # Another process, of tests that run at once, was quicker.
                if not directory.is_dir():
                    raise
    return directory


@contextlib.contextmanager
def served(directory: pathlib.Path, *, isolated: bool) -> Iterator[str]:
    """Serves a directory, and gives the address of its index.html.

    Args:
      directory: of files.
      isolated: with the headers that threads need.
    """
    headers = _ISOLATED if isolated else {}

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self):
            for name, value in headers.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, format, *args):
            pass

    handler = functools.partial(Handler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def opened(address: str):
    """A page in headless Chromium, of Playwright, which raises what it raises.

    Raises:
      MissingError: there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    executable, raised = chromium(), []
    with sync_playwright() as playwright:
        # Its sandbox does not start as root.
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.set_default_timeout(1000 * _MOST_SECONDS)
        page.on("pageerror", lambda error: raised.append(error))
        page.goto(address)
        yield page
        browser.close()
    if raised:
        raise raised[0]
