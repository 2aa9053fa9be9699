"""Bytes and seconds a picture of a model, by the format that it is exported in.

    python benchmarks/formats.py --out=formats.json

Of the model that comes with the project, or of `--model`: one picture at the size that
it was trained at, of a layout of blocks. The first call counts as loading. Each runner
has its turn alone, with as many threads as it takes by itself; in the browser the rows
say how many. SavedModels, and the browser, are measured where TensorFlow, Chromium and
npm are.

Keys of the JSON file:

    model, height, width, rounds
    cpu, cores, load    the processor's name, how many cores, and the load average
                        before and after
    date, versions      UTC; of Python and of the packages that do the work
    onnxruntime-web     its version, of the browser's rows
    webgpu              the adapter of the browser, or null without one
    rows                by "format, runner":
      bytes             of the generator
      load              seconds from the file to the first picture
      seconds           of a picture: the `median` and, in order, all `rounds`
      difference        from the predictor's picture, at most, in [-1, 1]
"""

import argparse
import functools
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import export as jax_export

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import browser, layouts
from benchmarks.machine import machine
from spade_jax.export import export
from spade_jax.models.predictor import load

Inputs = dict[str, np.ndarray]

_KEPT = pathlib.Path(__file__).resolve().parents[1] / "build"


def timed(
    start: Callable[[], Callable[[], np.ndarray]], *, rounds: int
) -> tuple[dict[str, Any], np.ndarray]:
    """The seconds that a runner takes, and its picture.

    Args:
      start: reads the program, and gives what makes a picture.
      rounds: counted pictures.
    """
    begin = time.perf_counter()
    run = start()
    picture = run()
    seconds = {"load": time.perf_counter() - begin}
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return seconds | {"seconds": _summary(found)}, picture


def _summary(seconds: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(seconds), "rounds": seconds}


# ---- Runners -------------------------------------------------------------------------


def of_predictor(path: str, given: Inputs) -> Callable[[], np.ndarray]:
    model = load(path)
    layout = layouts.Layout(given["label"], given.get("edge"))

    def run():
        tabulated = model.synthesis.with_tables(layout, size=layout.size, tight=False)
        return np.asarray(model.synthesis.generate(tabulated, None, given.get("z")))

    return run


def of_jax(file: pathlib.Path, given: Inputs) -> Callable[[], np.ndarray]:
    program = jax.jit(jax_export.deserialize(bytearray(file.read_bytes())).call)
    return lambda: np.asarray(program(*given.values()))


def of_saved_model(directory: pathlib.Path, given: Inputs) -> Callable[[], np.ndarray]:
    import tensorflow as tf

    generator = tf.saved_model.load(str(directory)).generator
    return lambda: generator(*given.values()).numpy()


def of_onnx(file: pathlib.Path, given: Inputs) -> Callable[[], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    return lambda: session.run(["image"], given)[0]


_IN_BROWSER = """async ({script, file, provider, threads, given, rounds}) => {
    const ort = await import(`./${script}`);
    if (threads) ort.env.wasm.numThreads = threads;
    const arrays = {bool: Uint8Array, int32: Int32Array, float32: Float32Array};
    let begin = performance.now();
    const options = {executionProviders: [provider]};
    const session = await ort.InferenceSession.create(file, options);
    const feeds = {};
    for (const [name, {type, data, shape}] of Object.entries(given))
        feeds[name] = new ort.Tensor(type, arrays[type].from(data), shape);
    const run = async () => {
        const {image} = await session.run(feeds);
        return image;
    };
    const image = await run();
    const load = (performance.now() - begin) / 1000, seconds = [];
    for (let i = 0; i < rounds; i++) {
        begin = performance.now();
        await run();
        seconds.push((performance.now() - begin) / 1000);
    }
    return {load, seconds, shape: image.dims, image: Array.from(image.data)};
}"""


def in_browser(
    site: pathlib.Path,
    file: str,
    given: Inputs,
    *,
    provider: str,
    threads: int,
    rounds: int,
) -> tuple[dict[str, Any], np.ndarray]:
    """As `timed`, in a page of a directory that has the file and onnxruntime-web."""
    told = {
        name: {
            "type": array.dtype.name,
            "data": array.ravel().tolist(),
            "shape": array.shape,
        }
        for name, array in given.items()
    }
    options = {
        "script": browser.FILES[provider][0],
        "file": file,
        "provider": provider,
        "threads": threads,
        "given": told,
        "rounds": rounds,
    }
    with (
        browser.served(site, isolated=True) as address,
        browser.opened(address) as page,
    ):
        made = page.evaluate(_IN_BROWSER, options)
    picture = np.reshape(np.array(made["image"], np.float32), made["shape"])
    return {"load": made["load"], "seconds": _summary(made["seconds"])}, picture


def adapter(site: pathlib.Path) -> str | None:
    """What the browser computes WebGPU on, if anything."""
    script = """async () => {
        const found = await navigator.gpu?.requestAdapter();
        return found ? `${found.info.vendor} ${found.info.architecture}` : null;
    }"""
    with (
        browser.served(site, isolated=True) as address,
        browser.opened(address) as page,
    ):
        return page.evaluate(script)


# ---- All of them ---------------------------------------------------------------------


def measure(path: str, directory: pathlib.Path, *, rounds: int) -> dict[str, Any]:
    """Exports a model in all formats, and measures them.

    Args:
      path: of the model.
      directory: for the files.
      rounds: counted pictures of each.
    """
    files = {
        "jax": directory / "model.jax",
        "saved_model": directory / "saved",
        "onnx float32": directory / "float32.onnx",
        "onnx float16": directory / "float16.onnx",
    }
    export(path, files["jax"])
    export(path, files["onnx float32"])
    export(path, files["onnx float16"], precision="float16")
    card = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    given = inputs(card)
    runners = {
        "jax, Python": functools.partial(of_jax, files["jax"], given),
        "onnx float32, Python": functools.partial(
            of_onnx, files["onnx float32"], given
        ),
        "onnx float16, Python": functools.partial(
            of_onnx, files["onnx float16"], given
        ),
    }
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        print("TensorFlow is not installed: no SavedModel.")
    else:
        export(path, files["saved_model"], format="saved_model")
        runners["saved_model, Python"] = functools.partial(
            of_saved_model, files["saved_model"], given
        )
    found, wanted = timed(lambda: of_predictor(path, given), rounds=rounds)
    rows = {"checkpoint, Python": found | {"bytes": None, "difference": 0.0}}

    def note(name, found, picture):
        file = files[name.split(",")[0]]
        every = (
            [file] if file.is_file() else [f for f in file.rglob("*") if f.is_file()]
        )
        found["bytes"] = sum(f.stat().st_size for f in every)
        found["difference"] = float(np.abs(picture - wanted).max())
        assert found["difference"] <= 4 / 255, (name, found["difference"])
        rows[name] = found

    for name, start in runners.items():
        note(name, *timed(start, rounds=rounds))
    webgpu = None
    try:
        browser.chromium()
        for provider in browser.FILES:
            for file in browser.runtime(_KEPT, provider):
                shutil.copy(file, directory)
    except browser.MissingError as error:
        print(f"{error} No browser is measured.")
    else:
        (directory / "index.html").write_text("<!doctype html>", encoding="utf-8")
        webgpu = adapter(directory)
        places = [("wasm", n) for n in sorted({1, os.cpu_count() or 1})]
        places += [("webgpu", 0)] * (webgpu is not None)
        for name in ("onnx float32", "onnx float16"):
            for provider, threads in places:
                made = in_browser(
                    directory,
                    files[name].name,
                    given,
                    provider=provider,
                    threads=threads,
                    rounds=rounds,
                )
                where = f"{provider}, {threads} threads" if threads else provider
                note(f"{name}, {where}", *made)
    sides = {side: card[side] for side in ("height", "width")}
    return sides | {"webgpu": webgpu, "rows": rows}


def inputs(card: dict[str, Any]) -> Inputs:
    """What the generator that a card describes takes for one picture."""
    height, width = card["height"], card["width"]
    drawn = layouts.blocks(16, size=max(height, width), num_classes=card["num_classes"])
    random = np.random.default_rng(0)
    made = {
        "label": drawn.label[:, :height, :width],
        "edge": drawn.edge[:, :height, :width],
        "z": random.standard_normal((1, card["latent_size"] or 0), np.float32),
    }
    named = [x["name"] for x in card["programs"]["generator"]["inputs"]]
    return {name: np.ascontiguousarray(made[name]) for name in named}


def table(rows: dict[str, Any]) -> str:
    """The rows in Markdown."""
    lines = ["| format, runner | MB | load, s | a picture, s | difference |"]
    lines.append("|---|---|---|---|---|")
    for name, row in rows.items():
        size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f}"
        seconds = f"{row['load']:.2f} | {row['seconds']['median']:.3f}"
        lines.append(f"| {name} | {size} | {seconds} | {row['difference']:.1e} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="scenes", help="the model to export")
    parser.add_argument("--rounds", type=int, default=10, help="pictures of each")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the table")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        measured = measure(
            options.model, pathlib.Path(directory), rounds=options.rounds
        )
    print(table(measured["rows"]))
    if options.out:
        packages = ["jax", "onnx", "onnxruntime", "playwright"]
        report = {
            "model": options.model,
            "rounds": options.rounds,
            **machine(packages),
            "onnxruntime-web": browser.RUNTIME.split("@")[1],
            "load": [load_before, os.getloadavg()[0]],
            **measured,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
