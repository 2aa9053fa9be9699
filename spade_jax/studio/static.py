"""The static form of the page: files that any server serves, with the model in them.

The picture is computed in the visitor's browser, by onnxruntime-web in a web worker:
the page is the same, and so is what it draws to 2/255.

Letters: H height, W width.
"""

import base64
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

from spade_jax import assemble
from spade_jax.export import card, onnx_file
from spade_jax.files import outputs
from spade_jax.files.npm import unpack
from spade_jax.models.opening import Model, find, load_model
from spade_jax.models.predictor import Predictor
from spade_jax.models.sizes import size_rule
from spade_jax.studio import protocol
from spade_jax.studio.engine import FIRST_LANDSCAPE, Engine, name_of
from spade_jax.studio.files import POLICY, page_files
from spade_jax.workdir import paths

RUNTIME = onnx_file.WEB_RUNTIME
"""The package of npm that runs the model in a browser (MIT licence)."""

_SHA256 = {
    "ort.wasm.bundle.min.mjs": (
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
_TOLD = ("model.json", "landscapes.json")
_LANDSCAPES = 24


def write(
    path: str | os.PathLike[str],
    directory: pathlib.Path,
    *,
    runtime: pathlib.Path | None = None,
) -> list[pathlib.Path]:
    """Writes the page and a model as static files.

    Args:
      path: of the model; see `spade_jax.models.predictor.load`.
      directory: of the files; made where missing.
      runtime: directory of the package `RUNTIME`, or of the two files of it that are
        needed; None: npm fetches it.

    Returns:
      What was written.

    Raises:
      ValueError: a file is there that this command did not write; the model cannot be
        so written; or the runtime is missing, or another than was named.
      ImportError: the package onnx is not installed.
    """
    onnx_file.import_onnx()
    found = _page()
    model = load_model(path, portable=True)
    if assemble.reads_positions(model.recipe.architecture):
        raise ValueError(
            "--export: this model takes the positions of pixels in their objects"
            " (cladeicpe), which the page does not compute. Serve it instead."
        )
    networks = ["generator"] + ["encoder"] * (model.encoder is not None)
    names = [*found, *_SHA256, *_TOLD, *(f"{name}.onnx" for name in networks)]
    claimed = outputs.claim(
        directory,
        [(name, "a file of the page") for name in names],
        command="studio",
        flag="--export",
        inputs={"MODEL": paths.checkpoints(find(path)[0])},
    )
    found |= _runtime(runtime)
    found |= _described(model, name=name_of(os.fspath(path)))
    described = card.describe(
        model,
        form=onnx_file.form(precision="float32"),
        any_size=onnx_file.takes_any_size(model),
    )
    graphs = onnx_file.graphs(model, precision="float32")
    for name, content in onnx_file.contents(graphs, described).items():
        found[f"{name}.onnx"] = content
    written = []
    for name, content in found.items():
        with claimed.replacing(directory / name) as unfinished:
            unfinished.write_bytes(content)
        written.append(directory / name)
    return written


def _page() -> dict[str, bytes]:
    files = {name: file.content for name, file in page_files().items()}
    index = files["index.html"].decode()
    # What the server says in its headers.
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    index = index.replace("<head>", f"<head>\n{policy}", 1)
    files["index.html"] = index.replace(
        "<html", '<html data-engine="worker"', 1
    ).encode()
    return files


def _described(model: Model, *, name: str) -> dict[str, bytes]:
    """What the page knows of the model, and landscapes to begin with."""
    engine = Engine(Predictor(model), name=name)
    padded = size_rule(model.recipe).fit(model.recipe.data.size).padded
    told: dict[str, Any] = {
        **engine.describe(),
        "device": "this browser",
        # A file of ONNX takes one style a picture.
        "class_styles": False,
        "padded": list(padded),
        "edges": model.recipe.data.instances,
    }
    seeds = [FIRST_LANDSCAPE, *range(1, _LANDSCAPES)]
    runs = [protocol.encode_runs(engine.landscape(seed)) for seed in seeds]
    landscapes = [base64.b64encode(run).decode() for run in runs]
    contents = (json.dumps(x, ensure_ascii=False).encode() for x in (told, landscapes))
    return dict(zip(_TOLD, contents, strict=True))


def _runtime(directory: pathlib.Path | None) -> dict[str, bytes]:
    """The two files of the runtime, which are what was named.

    Raises:
      ValueError: they are not.
    """
    if directory is None:
        with tempfile.TemporaryDirectory() as kept:
            return _read_runtime(_fetched(pathlib.Path(kept)))
    return _read_runtime(directory)


def _read_runtime(directory: pathlib.Path) -> dict[str, bytes]:
    files = {}
    for name, digest in _SHA256.items():
        places = [directory / name, directory / "dist" / name]
        place = next((p for p in places if p.is_file()), None)
        if place is None:
            raise ValueError(
                f"--runtime={directory}: there is no {name} in it. Unpack {RUNTIME} of"
                " npm there."
            )
        files[name] = place.read_bytes()
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ValueError(
                f"{place} is not that of {RUNTIME}: its SHA-256 is another. Unpack that"
                " version."
            )
    return files


def _fetched(kept: pathlib.Path) -> pathlib.Path:
    """Fetches the package into a directory, and gives that of its files.

    Raises:
      ValueError: npm is missing, or cannot.
    """
    npm = shutil.which("npm")
    remedy = f"Give --runtime=DIR, in which {RUNTIME} of npm lies unpacked."
    if npm is None:
        raise ValueError(
            f"--export: npm, which fetches {RUNTIME}, is missing. {remedy}"
        )
    try:
        unpack(RUNTIME, [f"dist/{name}" for name in _SHA256], kept, npm=npm)
    except RuntimeError as error:
        raise ValueError(f"--export: {error}. {remedy}") from error
    return kept
