"""The shipped model as ONNX, run as the documentation says: in Python and in a page.

Both are read out of the documentation. Where there is no browser, or where npm fetches
no onnxruntime-web, the page is not tried; with SPADE_JAX_BROWSER=needed, which
`.ci/run` sets, that is a failure.
"""

import base64
import contextlib
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import spade_jax
from benchmarks import browser
from spade_jax.data import scenes
from spade_jax.export import __main__ as door

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def documented(repository):
    """`documented(language)`: the block in this language that is about ONNX."""
    text = (repository / "docs" / "export.md").read_text(encoding="utf-8")
    (about,) = re.findall(r"^## ONNX\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)

    def find(language):
        fence = rf"^```{language}\n(.*?)^```$"
        (code,) = re.findall(fence, about, re.MULTILINE | re.DOTALL)
        return code

    return find


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A directory with the files that the command makes."""
    directory = tmp_path_factory.mktemp("site")
    door.main(["scenes", f"--out={directory / 'scenes.onnx'}"])
    return directory


@pytest.fixture(scope="module")
def generate(site):
    """`generate(label, z)`: what Python makes of the file, uint8 `[H, W, 3]`."""
    onnxruntime = pytest.importorskip("onnxruntime")
    run = onnxruntime.InferenceSession(site / "scenes.onnx").run

    def picture(label, z):
        given = {"label": label[None].astype(np.int32), "z": z[None]}
        return np.rint(127.5 * (run(["image"], given)[0][0] + 1))

    return picture


def test_python(documented, site, generate, monkeypatch):
    monkeypatch.chdir(site)
    found = {}
    exec(documented("python"), found)
    z = found["z"][0]
    for name, shape in {"images": (3, 256, 256, 3), "mean": (3, 64)}.items():
        assert found[name].shape == shape
    np.testing.assert_array_equal(
        np.rint(127.5 * (found["images"][0] + 1)), generate(found["label"][0], z)
    )


@pytest.mark.long
def test_the_shipped_model(generate):
    label = scenes.draw(5013, height=256, width=256).label
    z = np.random.default_rng(0).standard_normal(64, np.float32)
    (wanted,) = spade_jax.load("scenes")(label, style=z)
    assert wanted.std() > 20
    assert np.abs(generate(label, z) - wanted).max() <= 1


@pytest.fixture(scope="module")
def served_page(site, documented, repository):
    """`served_page(isolated=...)`: the page of the documentation, opened."""
    pytest.importorskip("playwright")
    unavailable = pytest.skip
    if os.environ.get("SPADE_JAX_BROWSER") == "needed":
        unavailable = pytest.fail
    try:
        browser.chromium()
        for file in browser.runtime(repository / "build"):
            shutil.copy(file, site)
    except browser.MissingError as error:
        unavailable(str(error))
    page = documented("html")
    assert len(page.splitlines()) < 60
    (site / "index.html").write_text(page, encoding="utf-8")

    @contextlib.contextmanager
    def opened(*, isolated):
        with (
            browser.served(site, isolated=isolated) as address,
            browser.opened(address) as page,
        ):
            yield page

    return opened


def pixels(page, canvas):
    """What a canvas shows: uint8 `[H, W, 3]`."""
    script = "id => document.getElementById(id).toDataURL().split(',')[1]"
    content = base64.b64decode(page.evaluate(script, canvas))
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def label_and_picture(page, palette):
    """The ids that the page shows, and the picture of them, once it is drawn."""
    page.wait_for_function("document.getElementById('status').value.endsWith('ms')")
    is_color = (pixels(page, "layout")[..., None, :] == palette).all(-1)
    assert is_color.any(-1).all()
    return is_color.argmax(-1), pixels(page, "picture")


@pytest.mark.parametrize(
    "isolated",
    [
        pytest.param(False, id="one thread", marks=pytest.mark.long),
        pytest.param(True, id="threads", marks=pytest.mark.long),
    ],
)
def test_a_page(isolated, site, served_page, generate):
    card = json.loads((site / "scenes.json").read_text(encoding="utf-8"))
    (sky, grass, tree) = map(card["classes"].index, ("sky", "grass", "tree"))
    style = np.array(card["random_styles"]["mean"], np.float32)
    with served_page(isolated=isolated) as page:
        assert page.evaluate("crossOriginIsolated") == isolated
        label, picture = label_and_picture(page, card["palette"])
        assert set(np.unique(label)) == {sky, grass}
        assert np.abs(picture - generate(label, style)).max() <= 1

        # A person paints a tree, and asks for another style.
        page.locator("#classes button", has_text="tree").click()
        box = page.locator("#layout").bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(box["x"] + 150, box["y"] + 200)
        page.mouse.up()
        label, painted = label_and_picture(page, card["palette"])
        assert (label[133, [67, 99]] == tree).all()
        assert set(np.unique(label)) == {sky, grass, tree}
        assert np.abs(painted - generate(label, style)).max() <= 1

        page.locator("#style").click()
        _, styled = label_and_picture(page, card["palette"])
        assert np.abs(styled - 1.0 * painted).mean() > 2
