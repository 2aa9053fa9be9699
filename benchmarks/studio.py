"""Seconds from a stroke to its picture in the studio, measured in the browser.

    python benchmarks/studio.py --out=studio.json
    python benchmarks/studio.py --minutes=60 --out=hour.json

A headless Chromium paints random strokes on the page, each when the picture of the one
before is shown. Once with what is kept of earlier layouts (of a SPADE with 64 hidden
features or more, on a CPU, its neighbourhoods), and once with
each layout computed anew. With `--minutes` it paints for so long, and notes the memory
of the server on the way. Either ends with an error where the page logs one, or where
the last picture is not that of the last layout.

Keys of the JSON file:

    model, height, width, strokes
    cpu, cores, load    the processor's name, how many cores, and the load average
                        before and after
    date, versions      UTC; of Python and of the packages that do the work
    first               seconds from opening the page to the first picture
    rows                by "kept" and "anew": how many `painted`; seconds of a stroke,
                        the `median`, the `worst` and, in order, 1,000 `rounds`
    memory              resident MB of the server, ten times over the painting
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import spade_jax
from benchmarks import browser
from benchmarks.machine import machine
from spade_jax.models.predictor import Predictor
from spade_jax.studio import serving
from spade_jax.studio.engine import Engine
from spade_jax.studio.worker import Worker

# Of an hour there are tens of thousands.
_KEPT_ROUNDS = 1000
# Paints a stroke as the pointer does, and waits for the picture of it to be drawn.
_STROKE = """async ([from, to, classId, brush]) => {
  const { state, live } = await import("./main.js");
  const canvas = document.getElementById("overlay");
  const box = canvas.getBoundingClientRect();
  state.set({ tool: "brush", classId, brush });
  const send = (kind, [x, y]) => canvas.dispatchEvent(new PointerEvent(kind, {
    clientX: box.left + x * box.width, clientY: box.top + y * box.height,
    pointerId: 1, button: 0, buttons: 1, bubbles: true }));
  canvas.setPointerCapture = () => {};
  const shown = state.get("shown"), start = performance.now();
  send("pointerdown", from);
  send("pointermove", to);
  send("pointerup", to);
  while (live.isBusy || state.get("shown") === shown)
    await new Promise((next) => setTimeout(next, 1));
  return (performance.now() - start) / 1000;
}"""
_LAST = """async () => {
  const { state } = await import("./main.js");
  const canvas = document.getElementById("picture");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return [[...state.get("ids")], [...state.get("style")], [...data]];
}"""


class Anew(Engine):
    """An engine that computes each layout as if it were the first."""

    def _read(self, ids, regions):
        self._last = None
        layout = self._layout(ids, regions)
        values = None
        if self._predictor.has_modulations:
            values = self._predictor.synthesis.modulate(layout)
            layout = layout._replace(tables=None)
        return layout, values


@contextlib.contextmanager
def served(engine: Engine) -> Iterator[str]:
    """A studio of an engine: its address."""
    worker, listening = Worker(), serving.listen("127.0.0.1", 0)
    with serving.served(serving.gated(engine, worker), listening):
        yield serving.address(listening, host="127.0.0.1", token=None)
    worker.close()


def strokes(random: np.random.Generator, num_classes: int) -> Iterator[list[Any]]:
    """Random strokes, for ever."""
    while True:
        start = random.uniform(0, 1, 2)
        end = np.clip(start + random.uniform(-0.3, 0.3, 2), 0, 1)
        classes, brush = random.integers(num_classes), random.integers(2, 16)
        yield [start.tolist(), end.tolist(), int(classes), int(brush)]


def paint(
    engine: Engine, predictor: Predictor, *, count: int, minutes: float
) -> dict[str, Any]:
    """Paints, and tells the seconds of each stroke and the memory on the way."""
    random, seconds, memory = np.random.default_rng(0), [], []
    begin = time.perf_counter()
    with served(engine) as address, browser.opened(address) as page:
        logged = []
        page.on("console", lambda m: m.type == "error" and logged.append(m.text))
        page.wait_for_selector("body[data-ready=true]", state="attached")
        # The first one takes no time of a stroke's.
        some = strokes(random, engine.num_classes)
        page.evaluate(_STROKE, next(some))
        first = time.perf_counter() - begin
        start = time.perf_counter()
        while len(seconds) < count or time.perf_counter() - start < 60 * minutes:
            seconds.append(page.evaluate(_STROKE, next(some)))
            done = (time.perf_counter() - start) / max(60 * minutes, 1e-9)
            if minutes and done * 10 >= len(memory):
                memory.append(resident())
        ids, style, shown = page.evaluate(_LAST)
    height, width = engine.size
    ids = np.array(ids, np.int32).reshape(height, width)
    (expected,) = predictor(ids, style=np.array(style, np.float32) if style else None)
    shown = np.array(shown).reshape(height, width, 4)[..., :3]
    difference = int(np.abs(shown - expected.astype(int)).max())
    if logged or difference > 2:
        raise SystemExit(
            f"The page: {logged}; its last picture is off by {difference}."
        )
    return {
        "first": first,
        "median": statistics.median(seconds),
        "worst": max(seconds),
        "painted": len(seconds),
        "rounds": seconds[:_KEPT_ROUNDS],
        "memory": memory,
    }


def resident() -> float:
    """Resident memory of this process, in MB."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Measures, prints a table, and writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--strokes", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    load = [os.getloadavg()[0]]
    predictor = spade_jax.load(options.model)
    kinds = {"kept": Engine} if options.minutes else {"kept": Engine, "anew": Anew}
    found = {}
    for name, kind in kinds.items():
        found[name] = paint(
            kind(predictor, name="it"),
            predictor,
            count=options.strokes,
            minutes=options.minutes,
        )
        print(
            f"{name}: {found[name]['median']:.3f} s, worst {found[name]['worst']:.3f}"
        )
    load.append(os.getloadavg()[0])
    height, width = predictor.size
    first, memory = found["kept"]["first"], found["kept"]["memory"]
    result = {
        "model": options.model,
        "height": height,
        "width": width,
        "strokes": options.strokes,
        **machine(["jax", "jaxlib", "starlette", "uvicorn"]),
        "load": load,
        "first": first,
        "rows": {
            name: {k: row[k] for k in ("painted", "median", "worst", "rounds")}
            for name, row in found.items()
        },
        "memory": memory,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
