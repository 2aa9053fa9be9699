"""The command `python -m spade_jax.studio`: its arguments, and what it says."""

from spade_jax.commands import beginning, ending

if __name__ == "__main__":
    beginning.importing()

import argparse
import sys
import webbrowser
from collections.abc import Sequence

import spade_jax
from spade_jax.commands.command_line import log_what_matters, path_argument
from spade_jax.devices import gpu_memory, present

_EXTRA = "The studio needs starlette and uvicorn: pip install 'spade-jax[studio]'."


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves one model, or writes it as static files."""
    parser = argparse.ArgumentParser(
        prog="python -m spade_jax.studio",
        description="Paint a layout in a web page, and see the photograph.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        default="scenes",
        metavar="MODEL",
        help="a work dir, WORKDIR/checkpoints/STEP, an official checkpoint's directory,"
        " or the name of a model that comes with the project (%(default)s)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="an address of this machine to listen at; others than this machine need"
        " the token in the address that is printed (%(default)s)",
    )
    parser.add_argument(
        "--port", type=int, default=8470, help="0: any that is free (%(default)s)"
    )
    parser.add_argument(
        "--browser", action="store_true", help="open the page in a browser"
    )
    parser.add_argument(
        "--export",
        type=path_argument,
        metavar="DIR",
        help="serve nothing: write the page and the model as static files, which"
        " compute in the visitor's browser",
    )
    parser.add_argument(
        "--runtime",
        type=path_argument,
        metavar="DIR",
        help="with --export: where onnxruntime-web lies unpacked; by default npm"
        " fetches it",
    )
    options = parser.parse_args(arguments)
    if options.runtime and not options.export:
        parser.error("--runtime goes with --export.")
    if not options.host:
        # As of a shell's variable that is not set; it would be every address.
        parser.error("--host is empty: 0.0.0.0 stands for all addresses.")
    if not 0 <= options.port < 2**16:
        parser.error(f"--port={options.port} is no port: 0 to {2**16 - 1}.")
    log_what_matters()
    gpu_memory.share()
    try:
        present.log()
        if options.export:
            _export(options)
        else:
            _serve(options)
    except (ValueError, ImportError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def _serve(options: argparse.Namespace) -> None:
    try:
        from spade_jax.studio import serving
    except ImportError as error:
        raise ImportError(f"{_EXTRA} ({error})") from error
    from spade_jax.studio.engine import Engine, name_of
    from spade_jax.studio.worker import Worker

    # Before the model is read, which takes longer.
    try:
        listening = serving.listen(options.host, options.port)
    except OSError as error:
        raise OSError(
            f"--host={options.host} --port={options.port}: {error}. Give another"
            " --port (0: any that is free), or an address of this machine as --host."
        ) from error
    token = None if serving.is_local(options.host) else serving.new_token()
    engine = Engine(spade_jax.load(options.model), name=name_of(options.model))
    worker = Worker()
    app = serving.gated(engine, worker, host=options.host, token=token)
    address = serving.address(listening, host=options.host, token=token)
    print(f"The studio is at {address} (Ctrl+C ends it).", flush=True)
    if options.browser:
        webbrowser.open(address)
    serving.serve(app, listening)
    if not worker.close(timeout=1):
        ending.leave(0)


def _export(options: argparse.Namespace) -> None:
    from spade_jax.studio import static

    written = static.write(options.model, options.export, runtime=options.runtime)
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    print(f"Serve it with: python -m http.server --directory {options.export}")


if __name__ == "__main__":
    beginning.imported()
    ending.run(main)
