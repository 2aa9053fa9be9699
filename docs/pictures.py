"""The pictures of README and the pages that show the model that comes with the project.

    python docs/pictures.py --out=docs

writes `styles.webp`, layouts in photographs' styles; `studio_film.webp`, a layout that
is painted stroke by stroke; and, where there is a Chromium, `studio_page.webp`.
"""

import argparse
import io
import itertools
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import spade_jax
from benchmarks import browser
from benchmarks.studio import served
from spade_jax.data import scenes
from spade_jax.files import pictures
from spade_jax.models.predictor import Predictor
from spade_jax.studio.engine import Engine

# Seeds of scenes that are in no split. Of the photographs: noon, autumn, snow, night.
LAYOUTS = (2_000_035, 2_000_053, 2_000_027)
PHOTOGRAPHS = (2_000_015, 2_000_032, 2_000_040, 2_000_050)
_PANEL = 384  # pixels of the film's two halves
_FRAMES_OF_A_STROKE, _FRAMES_OF_A_STYLE, _MILLISECONDS = 6, 10, 80


class Stroke(NamedTuple):
    """What a hand paints without lifting the brush.

    Attributes:
      name: of the class.
      brush: its diameter, of the layout's width.
      points: (x, y) in 0..1 from the upper left, which it passes.
    """

    name: str
    brush: float
    points: Sequence[tuple[float, float]]


PAINTED = (
    Stroke("grass", 0.2, [(0, 0.72), (1, 0.72), (1, 0.9), (0, 0.9), (1, 0.98)]),
    Stroke("mountain", 0.1, [(0, 0.54), (0.2, 0.34), (0.4, 0.56), (0.1, 0.56)]),
    Stroke("mountain", 0.1, [(0.2, 0.42), (0.3, 0.56), (0.14, 0.5), (0, 0.58)]),
    Stroke("mountain", 0.1, [(0.44, 0.56), (0.75, 0.28), (1, 0.5), (0.5, 0.58)]),
    Stroke("mountain", 0.12, [(0.6, 0.52), (0.75, 0.36), (0.9, 0.5), (0.7, 0.48)]),
    Stroke("snow", 0.05, [(0.69, 0.31), (0.75, 0.25), (0.81, 0.31)]),
    Stroke("hill", 0.09, [(0, 0.62), (0.3, 0.6), (0.6, 0.63), (1, 0.6)]),
    Stroke("cloud", 0.09, [(0.1, 0.14), (0.22, 0.11), (0.34, 0.14)]),
    Stroke("cloud", 0.07, [(0.5, 0.2), (0.6, 0.17), (0.68, 0.2)]),
    Stroke("sun", 0.09, [(0.9, 0.12), (0.9, 0.12)]),
    Stroke("sand", 0.2, [(0.95, 0.74), (0.7, 0.8), (0.55, 0.97)]),
    Stroke("water", 0.2, [(1, 0.76), (0.78, 0.82), (0.64, 1), (0.95, 0.9), (1, 1)]),
    Stroke("tree", 0.03, [(0.14, 0.4), (0.1, 0.56), (0.18, 0.56), (0.14, 0.44)]),
    Stroke("tree", 0.06, [(0.14, 0.5), (0.07, 0.72), (0.21, 0.72), (0.14, 0.56)]),
    Stroke("tree", 0.08, [(0.14, 0.62), (0.14, 0.7), (0.11, 0.7), (0.17, 0.7)]),
    Stroke("tree", 0.05, [(0.3, 0.54), (0.26, 0.7), (0.34, 0.7), (0.3, 0.66)]),
    Stroke("house", 0.07, [(0.44, 0.64), (0.56, 0.64), (0.56, 0.7), (0.44, 0.7)]),
    Stroke("house", 0.05, [(0.42, 0.63), (0.5, 0.57), (0.58, 0.63), (0.46, 0.63)]),
    Stroke("rock", 0.07, [(0.8, 0.87), (0.84, 0.87)]),
)


def painting(
    strokes: Sequence[Stroke], *, size: tuple[int, int], frames: int
) -> Iterator[np.ndarray]:
    """Layouts of a painting that grows, from the empty sky on, uint8 `[H, W]`.

    Args:
      strokes: in their order.
      size: (height, width).
      frames: of each stroke.
    """
    names, (height, width) = list(scenes.CLASSES), size
    image = Image.new("L", (width, height), names.index("sky"))
    canvas = ImageDraw.Draw(image)
    yield np.array(image)
    for stroke in strokes:
        points = np.array(stroke.points) * (width, height)
        lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
        passed = np.concatenate([[0], np.cumsum(lengths)])
        reach = stroke.brush * width / 2
        steps = np.linspace(0, passed[-1], frames * 40)
        path = np.stack([np.interp(steps, passed, axis) for axis in points.T], 1)
        for part in np.split(path, frames):
            for x, y in part:
                box = (x - reach, y - reach, x + reach, y + reach)
                canvas.ellipse(box, fill=names.index(stroke.name))
            yield np.array(image)


def film(model: Predictor) -> list[Image.Image]:
    """Layout and picture side by side: it is painted, and takes other styles."""
    photographs = [_scene(model, seed).image for seed in PHOTOGRAPHS]
    ends = [model.encode(photo) for photo in photographs]
    layouts = list(painting(PAINTED, size=model.size, frames=_FRAMES_OF_A_STROKE))
    frames = [
        _side_by_side(layout, model(layout, style=ends[0])[0]) for layout in layouts
    ]
    for first, second in itertools.pairwise([*ends, ends[0]]):
        styles = model.interpolate(first, second, _FRAMES_OF_A_STYLE)
        made = model(layouts[-1], style=styles)
        frames += [_side_by_side(layouts[-1], picture) for picture in made]
    return frames


def grid(model: Predictor) -> np.ndarray:
    """Photographs above, layouts at the left, uint8 `[H, W, 3]`."""
    photographs = [_scene(model, seed).image for seed in PHOTOGRAPHS]
    layouts = [_scene(model, seed).label for seed in LAYOUTS]
    white = np.full_like(photographs[0], 255)
    painted = [pictures.paint(layout, scenes.PALETTE) for layout in layouts]
    columns = [np.stack([white, *painted])]
    for photo in photographs:
        made = [model(layout, style=photo)[0] for layout in layouts]
        columns.append(np.stack([photo, *made]))
    return pictures.grid(columns)


def page(model: Predictor) -> Image.Image:
    """The studio's page with a landscape on it, once its pictures are there."""
    with (
        served(Engine(model, name="scenes")) as address,
        browser.opened(address) as opened,
    ):
        opened.set_viewport_size({"width": 1440, "height": 900})
        opened.wait_for_selector("body[data-ready=true]", state="attached")
        opened.wait_for_timeout(5000)
        return Image.open(io.BytesIO(opened.screenshot())).convert("RGB")


def _scene(model, seed):
    height, width = model.size
    return scenes.draw(seed, height=height, width=width)


def _side_by_side(layout, picture):
    size, painted = (_PANEL, _PANEL), pictures.paint(layout, scenes.PALETTE)
    left = pictures.resized(painted, size, Image.Resampling.NEAREST)
    right = pictures.resized(picture, size, Image.Resampling.BICUBIC)
    gap = np.full((_PANEL, 6, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([left, gap, right], axis=1))


def main() -> None:
    """Writes them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="scenes", help="see spade_jax.load")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a directory")
    options = parser.parse_args()
    model = spade_jax.load(options.model)
    Image.fromarray(grid(model)).save(options.out / "styles.webp", quality=85)
    first, *others = film(model)
    first.save(
        options.out / "studio_film.webp",
        save_all=True,
        append_images=others,
        duration=_MILLISECONDS,
        loop=0,
        quality=60,
    )
    try:
        shown = page(model)
    except browser.MissingError as error:
        print(error)
    else:
        shown.save(options.out / "studio_page.webp", quality=85)


if __name__ == "__main__":
    main()
