"""The page's pure modules, in Node: each against what Python makes of the same."""

import base64
import io
import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from spade_jax.learning.latents import prior
from spade_jax.models import aggregate, styles
from spade_jax.models.styles import along_arc
from spade_jax.studio import protocol
from spade_jax.studio.protocol import Request

PAGE = pathlib.Path(protocol.__file__).parent / "page"
SIZE = (37, 53)


def packed(value):
    if isinstance(value, np.ndarray | bytes):
        array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        kind = {1: "u1", 2: "u2", 4: "f4"}[array.dtype.itemsize]
        text = base64.b64encode(array.tobytes()).decode()
        return {"type": kind, "base64": text}
    return value


def unpacked(value):
    if isinstance(value, dict) and "base64" in value:
        return np.frombuffer(base64.b64decode(value["base64"]), "<" + value["type"])
    if isinstance(value, dict):
        return {key: unpacked(x) for key, x in value.items()}
    if isinstance(value, list):
        return [unpacked(x) for x in value]
    return value


@pytest.fixture(scope="module")
def node(unavailable):
    """`node(code, **given)`: what the body of a JavaScript function returns."""
    program = shutil.which("node")
    if program is None:
        unavailable("There is no Node here: apt-get install nodejs.")
    script = pathlib.Path(__file__).with_name("ask.mjs")

    def ask(code, **given):
        given = {name: packed(value) for name, value in given.items()}
        answered = subprocess.run(
            [program, "--no-warnings", script, PAGE.as_posix()],
            input=json.dumps({"code": code, "given": given}),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert answered.returncode == 0, answered.stderr
        return unpacked(json.loads(answered.stdout).get("value"))

    return ask


@pytest.fixture
def blobs():
    """Ids in patches, with single pixels among them: uint16 `[H, W]`."""
    random = np.random.default_rng(3)
    patches = random.integers(0, 3, (10, 14)).repeat(4, 0).repeat(4, 1)
    ids = patches[: SIZE[0], : SIZE[1]].astype(np.uint16)
    ids[random.random(SIZE) < 0.05] = 1
    return ids


def size(shape=SIZE):
    return {"height": shape[0], "width": shape[1]}


def test_runs_and_messages_are_python_s(node, blobs):
    style = np.array([1.5, -2, 0.1], np.float32)
    long = np.zeros(70_000, np.uint16)
    found = node(
        """const classStyles = new Map([[2, { style: style.map((x) => 2 * x) }]]);
           const given = { number: 4e9, ...size, ids, style, classStyles };
           return { message: packLayout(given),
             long: encodeRuns(long), back: decodeRuns(encodeRuns(ids), ids.length) }""",
        ids=blobs,
        style=style,
        size=size(),
        long=long,
    )
    own = {2: 2 * style}
    expected = protocol.encode_request(Request(4 * 10**9, blobs, style, own))
    assert found["message"].tobytes() == expected
    assert found["long"].tobytes() == protocol.encode_runs(long)
    np.testing.assert_array_equal(found["back"].reshape(SIZE), blobs)


def test_a_flood_is_a_component(node, blobs):
    starts = [(0, 0), (20, 17), (36, 52), (11, 40)]
    found = node(
        """return starts.map(([y, x]) => {
             const out = ids.slice(); flood(out, size, x, y, 9); return out; })""",
        ids=blobs,
        size=size(),
        starts=starts,
    )
    for (y, x), flooded in zip(starts, found, strict=True):
        components, _ = ndimage.label(blobs == blobs[y, x])
        expected = np.where(components == components[y, x], 9, blobs)
        np.testing.assert_array_equal(flooded.reshape(SIZE), expected)


def painted(node, spans, **given):
    code = f"const out = new Uint16Array({SIZE[0] * SIZE[1]});"
    code += f"paint(out, size, {spans}, 1); return out"
    return node(code, size=size(), **given).reshape(SIZE)


def centres():
    rows, columns = np.indices(SIZE)
    return columns + 0.5, rows + 0.5


@pytest.mark.parametrize("brush", [1, 2, 5, 12])
def test_strokes_are_discs_along_a_line(node, brush):
    a, b = {"x": 10.5, "y": 8.5}, {"x": 40.5, "y": 30.5}
    if brush % 2 == 0:
        a, b = {"x": 10, "y": 8}, {"x": 40, "y": 30}
    found = painted(node, "capsule(a, b, brush)", a=a, b=b, brush=brush)
    x, y = centres()
    dx, dy = b["x"] - a["x"], b["y"] - a["y"]
    t = np.clip(((x - a["x"]) * dx + (y - a["y"]) * dy) / (dx**2 + dy**2), 0, 1)
    far = np.hypot(x - a["x"] - t * dx, y - a["y"] - t * dy)
    np.testing.assert_array_equal(found, far <= brush / 2 + 1e-9)
    # Without a gap, even of one pixel's width.
    assert ndimage.label(found, np.ones((3, 3)))[1] == 1


def test_a_brush_of_one_paints_one_pixel(node):
    found = painted(node, "capsule(snap(a, 1), snap(a, 1), 1)", a={"x": 7.9, "y": 3.1})
    assert np.argwhere(found).tolist() == [[3, 7]]


def test_shapes_are_hard_edged_and_cut_at_the_border(node):
    x, y = centres()
    a, b = {"x": 30.2, "y": -8.0}, {"x": 60.7, "y": 20.9}
    found = painted(node, "rectangle(a, b)", a=a, b=b)
    np.testing.assert_array_equal(found, (x > 30) & (y < 21))
    found = painted(node, "ellipse(a, b)", a=a, b=b)
    inside = ((x - 45.5) / 15.5) ** 2 + ((y - 6.5) / 14.5) ** 2 <= 1 + 1e-12
    np.testing.assert_array_equal(found, inside)
    points = [{"x": 5.2, "y": 3.3}, {"x": 48.7, "y": 9.1}, {"x": 20.1, "y": 33.8}]
    points.append({"x": 30.3, "y": 12.4})
    found = painted(node, "polygon(points)", points=points)
    inside = np.zeros(SIZE, bool)
    for p, q in zip(points, points[1:] + points[:1], strict=True):
        crosses = (p["y"] <= y) != (q["y"] <= y)
        at = p["x"] + (y - p["y"]) * (q["x"] - p["x"]) / (q["y"] - p["y"])
        inside ^= crosses & (x >= at)
    assert inside.sum() > 200
    np.testing.assert_array_equal(found, inside)


def test_undo_and_redo_come_back_bit_for_bit(node, blobs):
    found = node(
        """const history = new History(), states = [ids.slice()];
        for (let i = 0; i < 30; i++) {
          const before = ids.slice();
          const [a, b] = [{ x: i, y: i }, { x: 2 * i, y: 40 - i }];
          paint(ids, size, capsule(a, b, 1 + i % 9), i % 7);
          history.note(before, ids, size.width);
          states.push(ids.slice());
        }
        const same = (a, b) => a.every((x, i) => x === b[i]);
        const back = states.toReversed().slice(1).map((s) =>
          history.undo(ids, size.width) && same(ids, s));
        const end = history.undo(ids, size.width);
        const forth = states.slice(1).map((s) =>
          history.redo(ids, size.width) && same(ids, s));
        const layouts = [...history.layouts(ids, size.width)];
        const film = layouts.map((s, i) => same(s, states[i]));
        const some = [...history.layouts(ids, size.width, 5)];
        const ends = same(some[0], states[0]) && same(some[4], states[30]);
        const [few, whole] = [some.length, film.length];
        return { back, forth, end, film, few, whole, ends }""",
        ids=blobs,
        size=size(),
    )
    assert (found["few"], found["whole"]) == (5, 31)
    assert found["ends"] is True
    assert found["back"] == [True] * 30
    assert found["forth"] == [True] * 30
    assert found["film"] == [True] * 31
    assert found["end"] is False


def test_undo_is_bounded_and_says_what_it_forgot(node):
    found = node(
        """const history = new History(20000), notes = [];
        const ids = new Uint16Array(64 * 64);
        for (let i = 0; i < 60; i++) {
          const before = ids.slice();
          for (let k = 0; k < 999; k++) ids[(k * 37 + i) % 4096] = (k * i) % 5;
          notes.push(history.note(before, ids, 64).forgot);
        }
        let steps = 0;
        while (history.undo(ids, 64)) steps++;
        return { notes, steps }"""
    )
    assert True in found["notes"]
    assert 1 <= found["steps"] < 60


@pytest.mark.parametrize("seed", [0, 17, 2**32 - 1])
def test_a_seed_is_the_same_style(node, seed):
    model = {"style_size": 256, "random_styles": None}
    found = node("return drawStyle(seed, model)", seed=seed, model=model)
    expected = np.asarray(prior(seed, 0, latent_size=256))
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=2e-6)


def test_a_seed_is_the_same_style_of_those_that_photographs_have(node):
    random = np.random.default_rng(0)
    means, logvars = random.standard_normal((2, 100, 8))
    fitted = aggregate.fit(3 + means, logvars)
    model = {"style_size": 8, "random_styles": fitted.in_json()}
    found = node("return drawStyle(17, model)", model=model)
    expected = styles.drawn([0], seed=17, sample=0, latent_size=8, aggregate=fitted)
    np.testing.assert_allclose(found, expected[0], atol=1e-5)


def test_between_two_styles_lies_the_arc(node):
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 64)).astype(np.float32)
    shares = [0, 0.25, 0.5, 0.75, 1]
    code = "return shares.map((share) => between(a, b, share))"
    found = node(code, a=a, b=b, shares=shares)
    np.testing.assert_allclose(np.stack(found), along_arc(a, b, 5), atol=1e-5)
    found = node(code, a=a, b=0 * a, shares=shares)
    np.testing.assert_allclose(np.stack(found), along_arc(a, 0 * a, 5), atol=1e-5)


@pytest.mark.parametrize("depth", [8, 16])
def test_pngs_are_exact(node, blobs, depth):
    ids = blobs + (0 if depth == 8 else 60_000)
    ids = ids.astype(np.uint16)
    found = node(
        """const texts = { classes: "0 sky\\n1 Bäume" };
        return encodePng({ ...size, values, depth, texts })""",
        size=size(),
        values=ids,
        depth=depth,
    )
    picture = Image.open(io.BytesIO(found.tobytes()))
    assert picture.text["classes"] == "0 sky\n1 Bäume"
    np.testing.assert_array_equal(np.array(picture), ids)


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "RGB", "1", "RGBA", "P of 2 bits"])
def test_python_s_pngs_are_read(node, blobs, mode):
    if mode == "RGB":
        array = np.stack([blobs * 50, blobs * 20, 255 - blobs], -1).astype(np.uint8)
        picture = Image.fromarray(array)
    elif mode == "RGBA":
        array = np.stack([blobs * 50, blobs, blobs, blobs + 252], -1).astype(np.uint8)
        picture = Image.fromarray(array)
    elif mode == "I;16":
        array = blobs * 20_000
        picture = Image.fromarray(array)
    elif mode == "1":
        array = blobs == 1
        picture = Image.fromarray(array)
    else:
        array = blobs.astype(np.uint8)
        picture = Image.fromarray(array)
        if mode != "L":
            picture.putpalette([9, 9, 9, 1, 2, 3, 4, 5, 6])
    stream = io.BytesIO()
    picture.save(stream, "png", **({"bits": 2} if "bits" in mode else {}))
    found = node("return decodePng(file)", file=stream.getvalue())
    np.testing.assert_array_equal(
        found["values"].reshape(array.shape), array.astype(np.uint16)
    )
    if mode.startswith("P"):
        assert found["palette"][:9].tolist() == [9, 9, 9, 1, 2, 3, 4, 5, 6]


def test_pictures_are_read_as_layouts(node, blobs):
    model = {
        **size(),
        "name": "it",
        "classes": ["a", "b", "c"],
        "palette": [[9, 9, 9], [1, 2, 3], [4, 5, 6]],
    }

    def file(picture):
        stream = io.BytesIO()
        picture.save(stream, "png")
        return stream.getvalue()

    def read(picture):
        return node(
            "return readings(await decodePng(file), model)",
            file=file(picture),
            model=model,
        )

    colours = np.array(model["palette"], np.uint8)
    for picture, how in (
        (Image.fromarray(blobs.astype(np.uint8)), "ids"),
        (Image.fromarray(colours[blobs]), "colours"),
    ):
        (found,) = read(picture)
        assert found["how"] == how
        np.testing.assert_array_equal(found["ids"].reshape(SIZE), blobs)
    # Where indices and colours say different things, a person is asked.
    turned = Image.fromarray(blobs.astype(np.uint8))
    turned.putpalette([4, 5, 6, 1, 2, 3, 9, 9, 9])
    by_index, by_colour = read(turned)
    np.testing.assert_array_equal(by_index["ids"].reshape(SIZE), blobs)
    np.testing.assert_array_equal(by_colour["ids"].reshape(SIZE), 2 - blobs)
    # "Unknown" is the last class here, and has its own number in files.
    model["unknown_label"] = 255
    stored = np.where(blobs == 2, 255, blobs).astype(np.uint8)
    (found,) = read(Image.fromarray(stored))
    np.testing.assert_array_equal(found["ids"].reshape(SIZE), blobs)
    with pytest.raises(AssertionError, match="holds neither the ids"):
        read(Image.fromarray(blobs.astype(np.uint8)))
    found = node("return toStored(ids, model)", ids=found["ids"], model=model)
    np.testing.assert_array_equal(found.reshape(SIZE), stored)


def test_photographs_are_resized_as_pillow_does(node):
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (90, 71, 3), np.uint8)
    for height, width in ((32, 32), (64, 50), (7, 5)):
        found = node(
            "return bicubic(values, from, to, 3)",
            values=photo,
            **{"from": size(photo.shape)},
            to=size((height, width)),
        ).reshape(height, width, 3)
        expected = Image.fromarray(photo).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        assert np.abs(found - np.array(expected, int)).max() <= 1


def test_a_work_opens_again(node, blobs):
    model = {**size(), "name": "it", "digest": "d", "classes": ["a", "b", "c"]}
    model |= {"style_size": 2, "class_styles": True}
    style = np.array([0.1, -3], np.float32)
    found = node(
        """const named = { style, styleName: "n", seed: 3 };
        const own = { style: style.map((x) => -x), styleName: "o", seed: null };
        const classStyles = new Map([[1, own]]);
        const work = JSON.parse(JSON.stringify(
             packWork({ ids, ...named, classStyles, classId: 2 }, model)));
        const unknown = [{ id: 9, style: [0, 0] }, { id: 0, style: [0] }, null];
        const odd = unpackWork({ ...work, classStyles: unknown }, model).values;
        const other = unpackWork(work, { ...model, digest: "e" }).words;
        const wrong = [{}, null, { ...work, width: 9 }, { ...work, runs: "AAAA" }];
        const refused = wrong.map((w) => {
          try { unpackWork(w, model); return null; } catch (e) { return e.message; } });
        const { classStyles: found, ...values } = unpackWork(work, model).values;
        const old = unpackWork({ ...work, classStyles: undefined }, model).values;
        return { ...values, other, refused, found: [...found],
                 none: odd.classStyles.size + old.classStyles.size }""",
        ids=blobs,
        style=style,
        model=model,
    )
    np.testing.assert_array_equal(found["ids"].reshape(SIZE), blobs)
    np.testing.assert_array_equal(found["style"], style)
    assert (found["seed"], found["classId"]) == (3, 2)
    ((class_id, own),) = found["found"]
    assert (class_id, own["styleName"], own["seed"]) == (1, "o", None)
    np.testing.assert_array_equal(own["style"], -style)
    assert found["none"] == 0
    assert "another model" in found["other"]
    assert all(found["refused"])


def test_gifs_are_read_by_pillow(node):
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (3, 60, 80, 4), np.uint8)
    frames[1] = (200, 30, 90, 255)
    found = node(
        """const n = 80 * 60 * 4;
        const frames = [0, 1, 2].map((i) => all.subarray(i * n, (i + 1) * n));
        return encodeGif(frames, { width: 80, height: 60, delays: [8, 8, 150] })""",
        all=frames,
    )
    film = Image.open(io.BytesIO(found.tobytes()))
    assert film.n_frames == 3
    for i in range(3):
        film.seek(i)
        shown = np.asarray(film.convert("RGB"), int)
        # A cube of 6 x 7 x 6 colours, dithered by up to one step.
        assert np.abs(shown - frames[i, ..., :3]).max() <= 51
    film.seek(1)
    mean = np.asarray(film.convert("RGB"), float).mean((0, 1))
    assert np.abs(mean - (200, 30, 90)).max() < 4


def test_what_can_wait_waits_for_a_rest(node):
    """Thumbnails would otherwise make the next stroke wait for its picture."""
    told = node(
        """const told = [], timers = [];
        globalThis.setTimeout = (run) => timers.push(run);
        globalThis.clearTimeout = (number) => { delete timers[number - 1] };
        const settle = async () => { for (let i = 0; i < 50; i++) await null };
        const picture = (n) => told.push(n);
        const shown = { picture, stale() {}, failed() {} };
        let stroke = 0;
        const engine = { synthesise: async (ids) => `picture ${ids}` };
        const live = new Live(engine, () => [stroke], shown);
        for (stroke of [1, 2]) {
          live.changed();
          live.whenIdle([async () => told.push(`thumbnail ${stroke}`)]);
          await settle();
        }
        told.push(live.isBusy);
        for (const timer of timers) timer?.();
        await settle();
        return told"""
    )
    assert told == ["picture 1", "picture 2", False, "thumbnail 2"]


def test_one_at_a_time_computes_for_somebody_else(node):
    """Two films would else take each other's pictures."""
    told = node(
        """const told = [];
        let end;
        const shown = { picture: (n) => told.push(n), stale() {}, failed() {} };
        const engine = { synthesise: async (n) => `picture ${n}` };
        const live = new Live(engine, () => ["of a stroke"], shown);
        const film = (name, wait) => live.exclusively(async () => {
          told.push(`${name} begins`);
          await wait;
          told.push(`${name} ends`);
        });
        const first = film("first", new Promise((done) => { end = done; }));
        const second = film("second", null);
        live.changed();
        await new Promise((done) => setTimeout(done, 100));
        told.push("still");
        end();
        await Promise.all([first, second]);
        await live.settled();
        return told"""
    )
    assert told == [
        *("first begins", "still", "first ends", "second begins", "second ends"),
        "picture of a stroke",
    ]


def test_thumbnails_that_are_interrupted_come_afterwards(node):
    told = node(
        """const told = [];
        const shown = { picture() {}, stale() {}, failed() {} };
        const live = new Live({}, () => [], shown);
        const jobs = ["a", "b"].map((name) => async () => {
          told.push(name);
          await new Promise((done) => setTimeout(done, 40));
        });
        live.whenIdle(jobs);
        await new Promise((done) => setTimeout(done, 520));
        await live.exclusively(async () => told.push("a film"));
        await new Promise((done) => setTimeout(done, 200));
        return told"""
    )
    assert told == ["a", "a film", "a", "b"]
