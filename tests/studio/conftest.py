"""One server and one browser for all tests of the studio, and a quick model."""

import contextlib
import os
from types import MappingProxyType

import numpy as np
import pytest

from benchmarks import browser
from spade_jax.data import decode_image, decode_map, scenes
from spade_jax.data.error import DataError
from spade_jax.studio.engine import Reading
from spade_jax.studio.limits import Limits
from spade_jax.studio.worker import Worker

STYLE_SIZE = 8


class FakeEngine:
    """As `spade_jax.studio.engine.Engine`, of a model that shows classes as colours.

    A picture is the layout in its palette, and its style's first number, or that of the
    class's own, is how much of red is taken away. Label maps are read by the true
    rules' simplest case.
    """

    size = (48, 64)
    num_classes = len(scenes.CLASSES)
    style_size = STYLE_SIZE
    has_encoder = True
    has_class_styles = True

    def __init__(self):
        self.palette = np.array(scenes.PALETTE, np.uint8)

    def describe(self):
        height, width = self.size
        return {
            "name": "fake",
            "digest": "0123456789abcdef",
            "step": 1,
            "classes": list(scenes.CLASSES),
            "palette": self.palette.tolist(),
            "unknown_label": None,
            "height": height,
            "width": width,
            "style_size": self.style_size,
            "random_styles": None,
            "class_styles": self.has_class_styles,
            "encoder": True,
            "landscapes": True,
            "first_landscape": 5013,
            "device": "test",
        }

    def landscape(self, seed):
        height, width = self.size
        return scenes.draw(seed, height=height, width=width).label.astype(np.uint16)

    def draw_style(self, seed):
        return np.full(self.style_size, seed % 7, np.float32)

    def synthesise(self, ids, style, class_styles=MappingProxyType({})):
        picture = self.palette[ids].copy()
        less = np.full(self.num_classes, style[0])
        for class_id, own in class_styles.items():
            less[class_id] = own[0]
        less = np.minimum(1, np.abs(less) / 4)[ids]
        picture[..., 0] -= (picture[..., 0] * less).astype(np.uint8)
        return picture

    def encode(self, photo):
        red = decode_image(photo, where="photo")[..., 0].mean()
        return np.full(self.style_size, red / 64, np.float32)

    def read_layout(self, picture):
        if picture.mode == "P":
            ids = np.asarray(picture).astype(np.uint16) % self.num_classes
            return [Reading("palette", ids), Reading("colours", ids[::-1])]
        ids = decode_map(picture, where="picture")
        if ids.max() >= self.num_classes or ids.shape != self.size:
            raise DataError("this picture holds no ids")
        return [Reading("ids", ids.astype(np.uint16))]


@contextlib.contextmanager
def running(engine, *, limits=None, token=None, port=0, **options):
    """A studio of an engine, with its port: `(host, port)`."""
    for package in ("starlette", "uvicorn", "websockets"):
        pytest.importorskip(package)
    from spade_jax.studio import serving

    worker = Worker()
    app = serving.gated(engine, worker, token=token, limits=limits, **options)
    patience = (limits or Limits()).send_seconds
    listening = serving.listen("127.0.0.1", port, send_seconds=patience)
    with serving.served(app, listening):
        yield listening.getsockname()
    worker.close()


@pytest.fixture(scope="session")
def start():
    """`start(engine, **options)`: a context, in which a studio of it is served."""
    return running


@pytest.fixture(scope="session")
def fake_engine():
    return FakeEngine


@pytest.fixture(scope="session")
def studio():
    """The address of a studio of `FakeEngine`."""
    # Small ones, so that it takes few bytes to be beyond them.
    limits = Limits(clients=16, upload_bytes=2**20, upload_pixels=2**20)
    with running(FakeEngine(), limits=limits) as (host, port):
        yield f"http://{host}:{port}/"


@pytest.fixture(scope="session")
def unavailable():
    """Called with what is missing of a browser: skips, or fails where it is needed."""
    needed = os.environ.get("SPADE_JAX_BROWSER") == "needed"
    return pytest.fail if needed else pytest.skip


@pytest.fixture(scope="module")
def chromium(unavailable):
    """A headless Chromium of Playwright."""
    api = pytest.importorskip("playwright.sync_api")
    try:
        executable = browser.chromium()
    except browser.MissingError as error:
        unavailable(str(error))
    with api.sync_playwright() as playwright:
        # Its sandbox does not start as root.
        opened = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"]
        )
        yield opened
        opened.close()
