"""The page in a real browser: what a person does, and the ids and pixels it makes.

With a server of a quick model that shows classes as colours; and, the long ones, as
static files with the shipped model in them, which the browser itself computes.
"""

import base64
import concurrent.futures
import contextlib
import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

import spade_jax
from benchmarks import browser
from benchmarks import studio as studio_benchmark
from spade_jax.data import scenes

SKY, GRASS, TREE, WATER = map(scenes.CLASSES.index, ("sky", "grass", "tree", "water"))
PALETTE = np.array(scenes.PALETTE, np.uint8)
AXE = "axe-core@4.14.1"
SECONDS = 120

# Until then it is asked again, within the page: its policy lets no text be a program.
UNTIL = """async ([condition, given, seconds]) => {
  const page = await import("./main.js"), get = (id) => document.getElementById(id);
  const conditions = {
    ready: () => document.body.dataset.ready === "true",
    rested: () => page.state.get("shown") > 0 && !page.live.isBusy
      && page.state.get("unsaved") === 0,
    cards: () => [...document.querySelectorAll(".style canvas")]
      .every((canvas) => canvas.dataset.drawn),
    film: () => !get("film-save").disabled,
    strokes: () => page.state.get("strokes") > given && !page.live.isBusy,
    drawn: () => frames-- === 0,
  };
  let frames = 2;
  const isSo = async () => {
    while (!conditions[condition]())
      await new Promise((next) => requestAnimationFrame(next));
  };
  // Frames may not come at all, of a page that is hidden.
  const isLate = new Promise((_, fail) => setTimeout(
    () => fail(new Error(`never ${condition}; ${get("status").textContent}`)),
    1000 * seconds,
  ));
  await Promise.race([isSo(), isLate]);
}"""


def encoded(array, kind="png", **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


class Studio:
    """The page, as a person has it before them."""

    def __init__(self, page, expected):
        self.page, self._expected = page, expected

    def until(self, condition, given=None):
        self.page.evaluate(UNTIL, [condition, given, SECONDS])

    def give(self, opened_by, name, content, kind="image/png"):
        """Chooses a file, as in the browser's dialog."""
        given = {"name": name, "mimeType": kind, "buffer": content}
        self.page.locator(f"#{opened_by}-file").set_input_files(given)

    def open(self, *given):
        """Opens a file, and waits until the layout is its."""
        strokes = self.state("strokes")
        self.give("open", *given)
        self.until("strokes", strokes)

    def state(self, name):
        code = "async (n) => (await import('./main.js')).state.get(n)"
        return self.page.evaluate(code, name)

    @property
    def ids(self):
        code = """async () => {
          const ids = (await import("./main.js")).state.get("ids");
          return btoa(String.fromCharCode(...ids));
        }"""
        found = np.frombuffer(base64.b64decode(self.page.evaluate(code)), np.uint8)
        return found.reshape(self.size)

    @property
    def size(self):
        code = "async () => { const c = document.getElementById('picture');"
        return tuple(self.page.evaluate(code + "return [c.height, c.width]; }"))

    def pixels(self, canvas):
        code = "id => document.getElementById(id).toDataURL().split(',')[1]"
        content = base64.b64decode(self.page.evaluate(code, canvas))
        return np.array(Image.open(io.BytesIO(content)).convert("RGB"))

    def check_picture(self):
        """What is shown is the picture of the present ids in the present style."""
        self.until("rested")
        style = np.array(self.state("style"), np.float32)
        code = """async () => [...(await import("./main.js")).state.get("classStyles")]
          .map(([id, { style }]) => [id, [...style]])"""
        own = {i: np.array(x, np.float32) for i, x in self.page.evaluate(code)}
        expected = self._expected(self.ids, style, own).astype(int)
        assert np.abs(self.pixels("picture") - expected).max() <= 2

    def choose(self, name):
        self.page.locator("#class-list label", has_text=name).first.click()

    def tool(self, name):
        self.page.locator(f"#tool-list [value={name}]").check()

    def brush(self, size):
        self.page.locator("#size").fill(str(size))

    def place(self, x, y):
        """Of the page, from a share of the layout's width and height."""
        box = self.page.locator("#overlay").bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(self, *points):
        self.page.mouse.move(*self.place(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place(*point), steps=4)
        self.page.mouse.up()

    def click(self, x, y):
        self.page.mouse.click(*self.place(x, y))

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def save(self, kind):
        with self.page.expect_download() as download:
            self.page.locator("#save").click()
            self.page.locator(f"[data-save={kind}]").click()
        return download.value.path().read_bytes(), download.value.suggested_filename

    def pixel(self, x, y):
        """The (row, column) of a share."""
        height, width = self.size
        return int(y * height), int(x * width)


@pytest.fixture(scope="session")
def static(tmp_path_factory, repository, unavailable):
    """The address of the shipped model's static page, and its true pictures."""
    from spade_jax.studio import static

    pytest.importorskip("onnx")
    try:
        runtime = browser.runtime(repository / "build")[0].parent
    except browser.MissingError as error:
        unavailable(str(error))
    directory = tmp_path_factory.mktemp("static")
    static.write("scenes", directory, runtime=runtime)
    predictor = spade_jax.load("scenes")

    def expected(ids, style, own):
        assert own == {}
        return predictor(ids.astype(np.int32), style=style)[0]

    with browser.served(directory, isolated=True) as address:
        yield address, expected


@pytest.fixture(scope="session")
def site(request, studio, fake_engine):
    """The address of a page, and a function to the pictures it should show."""
    if request.param == "static":
        return request.getfixturevalue("static")
    return studio, fake_engine().synthesise


def pytest_generate_tests(metafunc):
    if "site" in metafunc.fixturenames:
        kinds = ["server", pytest.param("static", marks=pytest.mark.long)]
        metafunc.parametrize("site", kinds, indirect=True, scope="session")


@contextlib.contextmanager
def opening(site, chromium):
    """`open(context=None, **options)`, whose pages are closed at the end.

    `before` is a script that runs before the page's.

    Nothing may have been logged as an error then, nor asked of another host.
    """
    address, expected = site
    wrong, contexts = [], []

    def logged(message):
        if message.type == "error":
            wrong.append(message.text)

    def asked(request):
        if not request.url.startswith((address, "blob:", "data:")):
            wrong.append(f"asked {request.url}")

    def open(context=None, *, before="", **options):
        if context is None:
            context = chromium.new_context(
                **{"viewport": {"width": 1440, "height": 900}} | options
            )
            context.set_default_timeout(1000 * SECONDS)
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", logged)
        page.on("request", asked)
        page.add_init_script(before)
        page.goto(address)
        page.wait_for_selector("body[data-ready=true]", state="attached")
        studio = Studio(page, expected)
        studio.until("rested")
        return studio

    yield open
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def open_page(site, chromium):
    """`open_page(**options)`: a `Studio` in a new browser profile, or a given one."""
    with opening(site, chromium) as open:
        yield open


@pytest.fixture
def opened(open_page):
    """A studio, just opened."""
    return open_page()


@pytest.fixture(scope="module")
def shared(site, chromium):
    """A studio in which tests paint one after another."""
    with opening(site, chromium) as open:
        yield open()


@pytest.fixture
def begun(shared):
    """That one, with an empty horizon and the brush in hand."""
    shared.page.evaluate("document.activeElement.blur()")
    shared.press("n", "0", "b")
    shared.until("rested")
    return shared


# ---- Painting ------------------------------------------------------------------------


def test_it_begins_with_a_landscape_and_its_picture(opened):
    height, width = opened.size
    expected = scenes.draw(5013, height=height, width=width).label
    np.testing.assert_array_equal(opened.ids, expected)
    opened.check_picture()
    assert opened.page.locator("#hint").inner_text() == "Paint over it."
    # The layout's own pixels are its colours, with nothing between them.
    shown = opened.pixels("layout").reshape(-1, 3)
    assert set(map(tuple, np.unique(shown, axis=0))) <= set(map(tuple, PALETTE))


def test_a_stroke_paints_its_class_and_the_picture_follows(begun):
    begun.choose("house")
    begun.brush(4)
    before = begun.ids
    begun.drag((0.25, 0.5), (0.75, 0.5))
    after = begun.ids
    rows, columns = np.nonzero(after != before)
    house = scenes.CLASSES.index("house")
    assert (after[rows, columns] == house).all()
    middle = begun.pixel(0.5, 0.5)[0]
    # As thick as the brush, and as long as the way with its ends.
    assert (rows.min(), rows.max()) == (middle - 2, middle + 1)
    width = begun.size[1]
    assert columns.max() - columns.min() + 1 == width // 2 + 4
    assert (after[middle, width // 4 : 3 * width // 4] == house).all()
    begun.check_picture()
    shown = begun.pixels("layout")
    at = shown[shown.shape[0] // 2, shown.shape[1] // 2]
    assert tuple(at) == scenes.PALETTE[house]


def test_a_fill_stops_at_other_classes(begun):
    begun.choose("water")
    begun.tool("rect")
    begun.drag((0.2, 0.1), (0.4, 0.3))
    begun.tool("fill")
    begun.choose("snow")
    begun.click(0.7, 0.1)
    ids = begun.ids
    snow = scenes.CLASSES.index("snow")
    assert set(np.unique(ids)) == {snow, WATER, GRASS}
    assert ids[begun.pixel(0.3, 0.2)] == WATER
    assert (ids == snow).sum() + (ids == WATER).sum() == (ids != GRASS).sum()
    begun.check_picture()


@pytest.mark.parametrize(
    "tool",
    [
        "rect",
        pytest.param("line", marks=pytest.mark.long),
        pytest.param("ellipse", marks=pytest.mark.long),
    ],
)
def test_shapes_reach_from_press_to_release(begun, tool):
    begun.brush(2)
    begun.choose("sun")
    begun.tool(tool)
    begun.drag((0.25, 0.25), (0.6, 0.4), (0.75, 0.5))
    ids, sun = begun.ids, scenes.CLASSES.index("sun")
    (y0, x0), (y1, x1) = begun.pixel(0.25, 0.25), begun.pixel(0.75, 0.5)
    rows, columns = np.nonzero(ids == sun)
    assert abs(rows.min() - y0) <= 1
    assert abs(rows.max() - y1) <= 1
    assert abs(columns.min() - x0) <= 1
    assert abs(columns.max() - x1) <= 1
    box = (y1 - y0 + 1) * (x1 - x0 + 1)
    # A row or column more or less is a rounding of the pointer's place.
    share = {"rect": (0.94, 1.06), "ellipse": (0.74, 0.83), "line": (0.02, 0.3)}[tool]
    assert share[0] <= len(rows) / box <= share[1]
    begun.check_picture()


def test_a_polygon_ends_at_its_first_corner_or_with_enter(begun):
    begun.press("p")
    begun.choose("rock")
    rock = scenes.CLASSES.index("rock")
    for x, y in ((0.2, 0.2), (0.8, 0.2), (0.5, 0.8), (0.2, 0.2)):
        begun.click(x, y)
    area = (begun.ids == rock).mean()
    assert abs(area - 0.18) < 0.02
    begun.choose("sun")
    for x, y in ((0.05, 0.05), (0.1, 0.05), (0.1, 0.9), (0.05, 0.9)):
        begun.click(x, y)
    begun.press("Enter")
    assert begun.ids[begun.pixel(0.075, 0.5)] == scenes.CLASSES.index("sun")


def test_pick_and_swap(opened):
    ids = opened.ids
    y, x = np.argwhere(ids == TREE)[0]
    height, width = ids.shape
    place = (x + 0.5) / width, (y + 0.5) / height
    opened.tool("pick")
    opened.click(*place)
    assert opened.state("classId") == TREE
    opened.choose("water")
    opened.tool("swap")
    opened.click(*place)
    expected = np.where(ids == TREE, WATER, np.where(ids == WATER, TREE, ids))
    np.testing.assert_array_equal(opened.ids, expected)
    opened.check_picture()


def test_undo_and_redo(opened):
    opened.press("b")
    states = [opened.ids]
    for i, name in enumerate(("sky", "sun", "road")):
        opened.choose(name)
        opened.drag((0.2 + 0.2 * i, 0.3), (0.3 + 0.2 * i, 0.8))
        states.append(opened.ids)
    opened.press("Control+z", "Control+z")
    np.testing.assert_array_equal(opened.ids, states[1])
    opened.page.locator("#undo").click()
    np.testing.assert_array_equal(opened.ids, states[0])
    assert opened.page.locator("#undo").is_disabled()
    opened.press("Control+Shift+z", "Control+y")
    np.testing.assert_array_equal(opened.ids, states[2])
    opened.check_picture()
    # A new stroke leaves nothing to redo.
    opened.drag((0.5, 0.1), (0.6, 0.1))
    assert opened.page.locator("#redo").is_disabled()


def test_painting_while_zoomed_hits_what_is_under_the_pointer(begun):
    begun.brush(1)
    begun.choose("house")
    begun.page.mouse.move(*begun.place(0.25, 0.25))
    begun.page.mouse.wheel(0, -700)
    begun.press("0", "+", "+", "+")
    zoom = 1.25**3
    begun.click(0.1, 0.1)
    y, x = np.argwhere(begun.ids == scenes.CLASSES.index("house"))[0]
    height, width = begun.size
    expected = 0.5 + (0.1 - 0.5) / zoom
    assert (x, y) == (int(expected * width), int(expected * height))
    assert (begun.ids == scenes.CLASSES.index("house")).sum() == 1


def test_search_finds_classes(opened):
    opened.press("/")
    opened.page.keyboard.type("OU")
    names = opened.page.locator("#class-list span").all_inner_texts()
    assert sorted(names) == ["cloud", "house", "mountain"]
    opened.page.keyboard.press("Enter")
    assert opened.state("classId") in map(scenes.CLASSES.index, names)
    opened.page.keyboard.type("xyz")
    assert opened.page.locator("#class-list").inner_text() == "No class of that name."


def test_classes_on_the_canvas_come_first(begun):
    names = begun.page.locator("#class-list span").all_inner_texts()
    assert names[:2] == ["sky", "grass"]
    assert len(names) == len(scenes.CLASSES)
    shares = begun.page.locator("#class-list small").all_inner_texts()
    assert shares[:3] == ["60%", "40%", ""]


# ---- Without a mouse -----------------------------------------------------------------


def test_by_keyboard_alone(begun):
    begun.press("1")
    assert begun.state("classId") == SKY
    # To the layout with Tab, as everything is reached.
    for _ in range(80):
        if begun.page.evaluate("document.activeElement.id") == "overlay":
            break
        begun.press("Tab")
    begun.press("u")
    height, width = begun.size
    tens = -((height // 2 - round(0.6 * height)) // 10)  # to where the ground is
    begun.press(*["Shift+ArrowDown"] * tens, "Space")
    begun.press("Shift+ArrowRight", "Shift+ArrowDown", "Space")
    y, x = height // 2 + 10 * tens, width // 2
    expected = np.full((height, width), SKY)
    expected[round(0.6 * height) :] = GRASS
    expected[y : y + 11, x : x + 11] = SKY
    np.testing.assert_array_equal(begun.ids, expected)
    begun.press("ArrowLeft")
    status = begun.page.locator("#status").inner_text()
    assert status == f"sky at {x + 9}, {y + 10}"
    begun.press("Control+z", "?")
    assert begun.page.locator("#keys-sheet").is_visible()
    begun.press("Escape")
    assert begun.page.locator("#keys-sheet").is_hidden()
    # Keys of one character may be switched off, for who dictates.
    begun.press("?", "Tab", "Space", "Escape", "p")
    assert not begun.page.locator("#single-keys").is_checked()
    assert begun.state("tool") == "rect"
    begun.page.locator("#keys").click()
    begun.page.locator("#single-keys").check()
    begun.press("Escape")
    # A stroke of the brush, with its key held, where there is the other class.
    begun.page.locator("#overlay").focus()
    begun.press("b", "1", *["["] * 20)
    before = begun.ids
    begun.page.keyboard.down(" ")
    begun.press("ArrowUp", "ArrowUp", "ArrowUp")
    begun.page.keyboard.up(" ")
    assert (begun.ids != before).sum() == 4
    begun.check_picture()


PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "reduced_motion": "reduce",
}


def touching(opened):
    """`touch(kind, *points)`: all fingers that are on the layout then."""
    session = opened.page.context.new_cdp_session(opened.page)

    def touch(kind, *points):
        places = [opened.place(*point) for point in points]
        touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        given = {"type": kind, "touchPoints": touches}
        session.send("Input.dispatchTouchEvent", given)

    return touch


def test_by_touch(open_page):
    opened = open_page(**PHONE)
    opened.page.locator("#open-classes").tap()
    opened.page.locator("#class-list label", has_text="sun").tap()
    sun = scenes.CLASSES.index("sun")
    assert opened.page.locator("#open-classes").inner_text() == "sun"
    touch = touching(opened)
    before = opened.ids
    touch("touchStart", (0.3, 0.5))
    touch("touchMove", (0.5, 0.5))
    touch("touchMove", (0.7, 0.5))
    touch("touchEnd")
    painted = opened.ids
    row = opened.pixel(0.5, 0.5)[0]
    width = opened.size[1]
    assert (painted[row, int(0.3 * width) : int(0.7 * width)] == sun).all()
    assert (painted != before).any()
    # Two fingers enlarge, and paint nothing.
    touch("touchStart", (0.4, 0.5))
    touch("touchStart", (0.4, 0.5), (0.6, 0.5))
    touch("touchMove", (0.3, 0.5), (0.7, 0.5))
    touch("touchMove", (0.2, 0.5), (0.8, 0.5))
    touch("touchEnd")
    np.testing.assert_array_equal(opened.ids, painted)
    assert opened.page.evaluate("document.getElementById('zoom-shown').value") != "100%"
    opened.page.locator("#switch label", has_text="Picture").tap()
    assert opened.page.locator("#picture").is_visible()
    opened.check_picture()


def test_two_fingers_do_what_no_tool_does(open_page):
    opened = open_page(**PHONE)
    touch = touching(opened)

    def pinch():
        touch("touchStart", (0.4, 0.5))
        touch("touchStart", (0.4, 0.5), (0.6, 0.5))
        touch("touchMove", (0.38, 0.5), (0.62, 0.5))
        touch("touchEnd")

    opened.press("n", "3")
    before, chosen = opened.ids, opened.state("classId")
    for key, name in {"g": "fill", "x": "swap", "i": "pick"}.items():
        opened.press(key)
        pinch()
        np.testing.assert_array_equal(opened.ids, before)
        assert (opened.state("classId"), opened.state("tool")) == (chosen, name)
    # Nor do they end what was begun.
    opened.press("p", "0")
    for place in ((0.1, 0.1), (0.9, 0.1)):
        touch("touchStart", place)
        touch("touchEnd")
    pinch()
    opened.page.locator("#zoom-fit").evaluate("(button) => button.click()")
    touch("touchStart", (0.5, 0.9))
    touch("touchEnd")
    opened.press("Enter")
    height, width = opened.size
    inside = opened.ids[height // 4, width // 3 : 2 * width // 3]
    assert (inside == chosen).all()


# ---- Files ---------------------------------------------------------------------------


def test_a_layout_is_saved_exactly_and_opens_again(begun):
    begun.drag((0.1, 0.1), (0.9, 0.9))
    saved = begun.ids
    content, name = begun.save("ids")
    picture = Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(np.array(picture), saved)
    assert name == "layout.png"
    assert picture.text["classes"].splitlines()[TREE] == f"{TREE} tree"
    content, _ = begun.save("colours")
    np.testing.assert_array_equal(
        np.array(Image.open(io.BytesIO(content))), PALETTE[saved]
    )
    content_of_picture, _ = begun.save("picture")
    shown = np.array(Image.open(io.BytesIO(content_of_picture)).convert("RGB"))
    np.testing.assert_array_equal(shown, begun.pixels("picture"))
    begun.press("n")
    assert (begun.ids != saved).any()
    begun.open("layout.png", encoded(saved.astype(np.uint8)))
    np.testing.assert_array_equal(begun.ids, saved)


def test_a_work_is_saved_and_opens_elsewhere(open_page):
    first = open_page()
    first.choose("sun")
    first.drag((0.2, 0.2), (0.5, 0.6))
    first.page.locator("#seed").fill("4000000001")
    first.press("Enter")
    first.until("rested")
    content, name = first.save("work")
    assert name == "work.spade.json"
    second = open_page()
    second.open(name, content, "application/json")
    np.testing.assert_array_equal(second.ids, first.ids)
    assert second.state("style") == first.state("style")
    assert second.page.locator("#seed").input_value() == "4000000001"
    second.check_picture()
    other = json.loads(content)
    other["model"] |= {"digest": "other", "name": "else", "classes": ["a"]}
    second.give("open", name, json.dumps(other).encode(), "application/json")
    status = second.page.locator("#status.wrong")
    status.wait_for()
    assert "made with else" in status.inner_text()


def test_a_picture_of_two_readings_is_asked_about(begun):
    height, width = begun.size
    ids = np.zeros((height, width), np.uint8)
    ids[height // 2 :] = 1
    picture = Image.fromarray(ids)
    # The colours of the classes, but not in their order.
    picture.putpalette([c for i in (1, 0) for c in scenes.PALETTE[i]])
    stream = io.BytesIO()
    picture.save(stream, "png")
    begun.give("open", "palette.png", stream.getvalue())
    choices = begun.page.locator("#readings button")
    choices.first.wait_for()
    assert choices.count() == 2
    choices.first.click()
    begun.until("rested")
    np.testing.assert_array_equal(begun.ids, ids)


def test_a_photograph_is_traced(begun):
    before = begun.pixels("layout").astype(int)
    photo = encoded(np.full((60, 60, 3), 255, np.uint8), "jpeg")
    begun.give("trace", "white.jpg", photo, "image/jpeg")
    begun.page.locator("#trace-opacity").wait_for()
    begun.page.locator("#trace-opacity").fill("50")
    begun.until("drawn")
    under = begun.pixels("layout")
    assert np.abs(under - (before + 255) / 2).max() <= 2
    # It is for the eye alone.
    begun.check_picture()
    begun.page.locator("#trace-off").click()
    begun.until("drawn")
    np.testing.assert_array_equal(begun.pixels("layout"), before)


def test_what_is_no_picture_is_told(begun):
    before = begun.ids
    for name, content in (("a.txt", b"text"), ("a.json", b"{"), ("a.png", b"\x89PNG")):
        begun.give("open", name, content, "application/octet-stream")
        begun.page.locator("#status.wrong").wait_for()
        begun.page.mouse.move(*begun.place(0.5, 0.5))
        begun.page.mouse.move(*begun.place(0.4, 0.5))
        begun.page.locator("#status:not(.wrong)").wait_for()
    np.testing.assert_array_equal(begun.ids, before)


# ---- Styles, film, storage -----------------------------------------------------------


def test_styles_by_card_seed_photograph_and_between(opened):
    opened.until("cards")
    cards = opened.page.locator(".style")
    assert cards.count() == 6
    cards.nth(3).click()
    seed = opened.page.locator("#seed").input_value()
    assert cards.nth(3).get_attribute("aria-pressed") == "true"
    opened.check_picture()
    opened.page.locator("#end-a").click()
    opened.page.locator("#seed").fill("12")
    opened.press("Enter")
    assert seed != "12"
    opened.check_picture()
    # A photograph joins the strip, and is taken.
    photo = np.zeros((20, 30, 3), np.uint8)
    photo[..., 0] = 128
    opened.give("style", "red.png", encoded(photo))
    opened.page.locator(".style", has_text="red.png").wait_for()
    assert cards.count() == 7
    opened.check_picture()
    opened.page.locator("#end-b").click()
    ends = [opened.state("style")]
    opened.page.locator("#between").fill("0")
    opened.check_picture()
    ends.insert(0, opened.state("style"))
    opened.page.locator("#between").fill("50")
    opened.check_picture()
    a, b, middle = (np.array(s) for s in (*ends, opened.state("style")))
    between = spade_jax.models.styles.along_arc(
        a.astype(np.float32), b.astype(np.float32), 3
    )[1]
    np.testing.assert_allclose(middle, between, atol=1e-5)
    opened.press("r")
    opened.until("rested")
    assert cards.count() == 7


def test_a_class_has_a_style_of_its_own(studio, fake_engine, chromium):
    with opening((studio, fake_engine().synthesise), chromium) as open:
        opened = open()
        before, sand = opened.pixels("picture"), scenes.CLASSES.index("sand")
        opened.choose("sand")
        opened.page.get_by_role("button", name="Only sand").click()
        opened.until("cards")
        opened.page.locator(".style").nth(2).click()
        opened.check_picture()
        changed = (opened.pixels("picture") != before).any(-1)
        np.testing.assert_array_equal(changed, opened.ids == sand)
        of_sand = opened.page.locator("#class-list label", has_text="sand")
        assert "own style" in of_sand.inner_text()
        # Of others it is the style of the whole, and it goes on being so.
        opened.choose("sky")
        assert opened.page.locator("#seed").input_value() == "0"
        assert not opened.page.locator("#as-rest").is_visible()
        work, _ = opened.save("work")
        assert [own["id"] for own in json.loads(work)["classStyles"]] == [sand]
        opened.page.reload()
        opened.page.wait_for_selector("body[data-ready=true]", state="attached")
        opened.check_picture()
        assert (opened.pixels("picture") != before).any()
        opened.choose("sand")
        opened.page.get_by_role("button", name="Only sand").click()
        assert opened.page.locator("#seed").input_value() == "2"
        opened.page.locator("#as-rest").click()
        opened.check_picture()
        np.testing.assert_array_equal(opened.pixels("picture"), before)


def test_a_film_of_the_strokes(opened):
    opened.press("n")
    for i in range(3):
        opened.press(str(1 + i % 2))
        opened.drag((0.2 + 0.2 * i, 0.2), (0.2 + 0.2 * i, 0.9))
    last = opened.ids
    opened.page.locator("#film").click()
    opened.until("film")
    with opened.page.expect_download() as download:
        opened.page.locator("#film-gif").click()
    film = Image.open(download.value.path())
    # The landscape, the empty horizon, and three strokes.
    assert film.n_frames == 5
    film.seek(4)
    shown = np.asarray(film.convert("RGB"), float)
    height, width = opened.size
    scale = shown.shape[0] // height
    layout = shown[:, : shown.shape[1] // 2].reshape(height, scale, width, scale, 3)
    # Dithered: the mean of a pixel's block is its colour.
    found = layout.mean((1, 3))
    distance = np.abs(found[:, :, None] - PALETTE).sum(-1)
    distance[..., ~np.isin(np.arange(len(PALETTE)), last)] = np.inf
    np.testing.assert_array_equal(distance.argmin(-1), last)
    with opened.page.expect_download() as download:
        opened.page.locator("#film-save").click()
    content = download.value.path().read_bytes()
    assert download.value.suggested_filename in ("film.webm", "film.mp4")
    assert content[:4] == b"\x1aE\xdf\xa3" or content[4:8] == b"ftyp"


def test_the_work_survives_a_reload(open_page):
    opened = open_page()
    opened.choose("sun")
    opened.drag((0.2, 0.2), (0.7, 0.4))
    opened.page.locator("#seed").fill("9")
    opened.press("Enter")
    opened.until("rested")
    before = opened.ids
    opened.page.reload()
    opened.page.wait_for_selector("body[data-ready=true]", state="attached")
    opened.until("rested")
    np.testing.assert_array_equal(opened.ids, before)
    assert opened.page.locator("#seed").input_value() == "9"
    opened.check_picture()
    # A second tab is told, and does not write over it.
    second = open_page(opened.page.context)
    assert "Another tab" in second.page.locator("#status").inner_text()
    second.press("n")
    opened.page.reload()
    opened.page.wait_for_selector("body[data-ready=true]", state="attached")
    opened.until("rested")
    np.testing.assert_array_equal(opened.ids, before)


def test_where_nothing_is_kept_that_is_told(open_page):
    for broken in (
        "Object.defineProperty(navigator, 'locks', { value: undefined })",
        "navigator.locks.request = async () => { throw new Error('blocked'); }",
        "indexedDB.open = () => { throw new Error('blocked'); }",
    ):
        opened = open_page(before=broken)
        status = opened.page.locator("#status").inner_text()
        assert status.startswith("The browser keeps nothing for this page")
        opened.check_picture()


def test_what_is_not_finished_ends_with_its_layout(begun):
    begun.press("u", "3")
    begun.page.locator("#overlay").focus()
    begun.press("Space", "Shift+ArrowRight")
    given = begun.state("strokes")
    begun.press("m")
    begun.until("strokes", given)
    landscape = begun.ids
    begun.press("Escape")
    np.testing.assert_array_equal(begun.ids, landscape)
    begun.press("Control+z")
    assert (begun.ids != landscape).any()
    begun.check_picture()


def test_a_picture_is_saved_when_it_is_that_of_the_layout(begun):
    begun.choose("sun")
    begun.drag((0.2, 0.2), (0.8, 0.8))
    content, name = begun.save("picture")
    assert name == "picture.png"
    saved = np.array(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(saved, begun.pixels("picture"))
    begun.check_picture()


def test_picture_under_outlines(opened):
    opened.press("c")
    opened.until("rested")
    opened.until("drawn")
    shown = opened.pixels("layout")
    ids = opened.ids
    width = ids.shape[1]
    # In the middle of a pixel far from any border stands the picture's.
    same = np.ones(ids.shape, bool)
    for shift in range(-2, 3):
        for axis in (0, 1):
            same &= np.roll(ids, shift, axis) == ids
    same[:3] = same[-3:] = same[:, :3] = same[:, -3:] = False
    y, x = np.argwhere(same)[len(np.argwhere(same)) // 2]
    scale = shown.shape[1] / width
    at = shown[int((y + 0.5) * scale), int((x + 0.5) * scale)].astype(int)
    assert np.abs(at - opened.pixels("picture")[y, x]).max() <= 40
    assert (shown > 225).all(-1).mean() > 0.005
    opened.press("c")


# ---- For everybody -------------------------------------------------------------------


@pytest.fixture(scope="session")
def axe(repository, unavailable):
    """The accessibility checker, as a program."""
    try:
        directory = browser.fetched(repository / "build", AXE, ["axe.min.js"])
    except browser.MissingError as error:
        unavailable(str(error))
    return (directory / "axe.min.js").read_text(encoding="utf-8")


SIZES = {"desktop": (1440, 900), "tablet": (820, 1180), "phone": (390, 844)}


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        ("desktop", "light"),
        ("phone", "dark"),
        pytest.param("desktop", "dark", marks=pytest.mark.long),
        pytest.param("phone", "light", marks=pytest.mark.long),
        pytest.param("tablet", "light", marks=pytest.mark.long),
        pytest.param("tablet", "dark", marks=pytest.mark.long),
    ],
)
def test_axe_finds_nothing(open_page, axe, size, scheme):
    width, height = SIZES[size]
    opened = open_page(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        has_touch=size != "desktop",
        reduced_motion="reduce",
    )
    page = opened.page
    page.evaluate(axe)
    steps = {
        "page": lambda: None,
        "save": lambda: page.locator("#save").click(),
        "keys": lambda: (opened.press("Escape"), page.locator("#keys").click()),
    }
    if size == "phone":
        steps["classes"] = lambda: (
            opened.press("Escape"),
            page.locator("#open-classes").click(),
        )
    for step, act in steps.items():
        act()
        found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
        told = [
            (v["id"], node["html"][:200], node["failureSummary"])
            for v in found["violations"]
            for node in v["nodes"]
        ]
        assert told == [], step


@pytest.mark.parametrize(
    "size", ["desktop", "phone", pytest.param("tablet", marks=pytest.mark.long)]
)
def test_all_is_on_the_page_and_large_enough(open_page, size):
    width, height = SIZES[size]
    opened = open_page(
        viewport={"width": width, "height": height},
        has_touch=size != "desktop",
        is_mobile=size != "desktop",
    )
    code = """() => [...document.querySelectorAll("header button, #tools button, .tool,"
        + "#styles button, #styles input, #layout, #picture, #status")]
      .filter((e) => e.checkVisibility({ visibilityProperty: true }))
      .filter((e) => !e.closest("#strip"))
      .map((e) => { const b = e.getBoundingClientRect();
        return [e.id || e.className, b.x, b.y, b.right, b.bottom]; })"""
    boxes = opened.page.evaluate(code)
    assert len(boxes) > 20
    least = 36 if size == "desktop" else 40
    for name, x, y, right, bottom in boxes:
        assert x >= 0, name
        assert y >= 0, name
        assert right <= width, name
        assert bottom <= height, name
        if "status" not in name:
            assert min(right - x, bottom - y) >= least, name
    code = "() => [document.documentElement.scrollWidth, innerWidth]"
    assert opened.page.evaluate(code) == [width, width]


def test_light_and_dark_by_choice(opened):
    code = "() => getComputedStyle(document.body).backgroundColor"
    light = opened.page.evaluate(code)
    opened.page.locator("#theme").click()
    dark = opened.page.evaluate(code)
    assert light != dark
    opened.page.reload()
    opened.page.wait_for_selector("body[data-ready=true]", state="attached")
    assert opened.page.evaluate(code) == dark


# ---- Live ----------------------------------------------------------------------------


def test_of_many_changes_the_newest_is_shown_and_few_are_asked_for(
    start, fake_engine, chromium
):
    """While the model is busy strokes do not queue up."""
    engine, gate = fake_engine(), threading.Event()
    gate.set()
    true, asked = engine.synthesise, []

    def synthesise(ids, *styles):
        asked.append(ids)
        assert gate.wait(SECONDS)
        return true(ids, *styles)

    engine.synthesise = synthesise
    with (
        start(engine) as (host, port),
        contextlib.closing(chromium.new_context()) as context,
    ):
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.goto(f"http://{host}:{port}/")
        page.wait_for_selector("body[data-ready=true]", state="attached")
        opened = Studio(page, true)
        opened.until("rested")
        gate.clear()
        opened.press("n")
        for i in range(10):
            opened.press(str(1 + i % 2))
            opened.click(0.05 + 0.09 * i, 0.3)
        # The bar that says so, after a third of a second.
        page.locator("#stale").wait_for()
        before = len(asked)
        gate.set()
        opened.check_picture()
        # One was in flight; of the others the newest, and its thumbnails.
        assert len(asked) - before <= 1 + 6
        np.testing.assert_array_equal(asked[before], opened.ids)


def test_a_server_that_comes_back_is_found_again(start, fake_engine, chromium):
    engine = fake_engine()
    with contextlib.closing(chromium.new_context()) as context:
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        with start(engine) as (host, port):
            page.goto(f"http://{host}:{port}/")
            page.wait_for_selector("body[data-ready=true]", state="attached")
            opened = Studio(page, engine.synthesise)
            opened.until("rested")
        opened.press("n")
        page.locator("#status", has_text="The server is away").wait_for()
        with start(engine, port=port):
            opened.check_picture()


@pytest.mark.long
def test_the_benchmark_paints_and_notices_a_wrong_picture(fake_engine, unavailable):
    try:
        browser.chromium()
    except browser.MissingError as error:
        unavailable(str(error))
    engine = fake_engine()

    def right(ids, style):
        return engine.synthesise(ids, style)[None]

    def paint(engine, right, **options):
        # In a thread without the loop of the browser that the other tests share.
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            options["minutes"] = 0
            return threads.submit(
                studio_benchmark.paint, engine, right, **options
            ).result()

    found = paint(engine, right, count=3)
    assert len(found["rounds"]) == 3
    assert 0 < found["median"] <= found["worst"]
    with pytest.raises(SystemExit, match="off by"):
        paint(engine, lambda ids, style: 255 - right(ids, style), count=1)
