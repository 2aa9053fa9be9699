"""What the server answers, and what it refuses; each attack leaves it alive."""

import asyncio
import collections
import contextlib
import http.client
import io
import json
import resource
import socket
import struct
import urllib.parse
import zlib
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from spade_jax.data import scenes
from spade_jax.studio import protocol
from spade_jax.studio.files import PageFile, page_files
from spade_jax.studio.limits import Limits
from spade_jax.studio.protocol import Request
from spade_jax.studio.worker import Worker

SIZE = (48, 64)
SECONDS = 60


def png(array, **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "png", **options)
    return stream.getvalue()


def picture_of(content):
    return np.array(Image.open(io.BytesIO(content)))


def ask(address, path, *, body=None, headers=None):
    """Status, headers and content of one request."""
    where = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=SECONDS)
    try:
        connection.request(
            "POST" if body is not None else "GET", path, body, headers or {}
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.fixture
def live(studio):
    """`live(**options)`: a WebSocket of the studio."""
    sync = pytest.importorskip("websockets.sync.client")
    with contextlib.ExitStack() as opened:

        def connect(address=studio, path="/api/live", **options):
            url = address.replace("http", "ws").rstrip("/") + path
            return opened.enter_context(
                sync.connect(url, open_timeout=SECONDS, proxy=None, **options)
            )

        yield connect


def layout(number=1, *, ids=None, style=None):
    ids = np.full(SIZE, number % 13) if ids is None else ids
    style = np.zeros(8) if style is None else style
    return protocol.encode_request(Request(number, ids, style))


def answer_of(client):
    return protocol.decode_answer(client.recv(SECONDS))


@pytest.fixture
def is_alive(studio, live):
    """Called at the end: the server still makes the right picture."""

    def check(address=studio):
        client = live(address)
        client.send(layout(8))
        found = answer_of(client)
        assert (found.kind, found.number) == (protocol.PICTURE, 8)
        assert (picture_of(found.content) == scenes.PALETTE[8]).all()

    return check


# ---- What it answers -----------------------------------------------------------------


def test_the_page_comes_with_its_policy(studio):
    status, headers, content = ask(studio, "/")
    assert status == 200
    assert b'<script type="module" src="main.js">' in content
    policy = headers["Content-Security-Policy"]
    assert "script-src 'self' 'wasm-unsafe-eval'" in policy
    assert "unsafe-inline" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, _ = ask(studio, "/main.js")
    assert status == 200
    assert headers["Content-Type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path", ["/../server.py", "/..%2fserver.py", "//etc/passwd", "/main.js/", "/api/x"]
)
def test_no_path_is_opened(studio, path):
    assert ask(studio, path)[0] in (404, 307, 421)


def test_layouts_get_pictures(live):
    ids = np.arange(48 * 64).reshape(SIZE) % 13
    client = live()
    client.send(layout(2**32 - 1, ids=ids))
    found = answer_of(client)
    assert (found.kind, found.number) == (protocol.PICTURE, 2**32 - 1)
    np.testing.assert_array_equal(
        picture_of(found.content), np.array(scenes.PALETTE, np.uint8)[ids]
    )


def test_the_last_of_many_is_answered(live):
    client = live()
    for number in range(1, 60):
        client.send(layout(number))
    numbers = []
    while not numbers or numbers[-1] != 59:
        numbers.append(answer_of(client).number)
    assert numbers == sorted(numbers)


def test_scripts_synthesise(studio):
    ids = np.arange(48 * 64).reshape(SIZE).astype(np.uint8) % 13
    status, headers, content = ask(studio, "/api/synthesise?seed=0", body=png(ids))
    assert (status, headers["Content-Type"]) == (200, "image/png")
    expected = np.array(scenes.PALETTE, np.uint8)[ids]
    np.testing.assert_array_equal(picture_of(content), expected)
    style = ",".join(["4"] * 8)
    _, _, content = ask(studio, f"/api/synthesise?style={style}", body=png(ids))
    assert (picture_of(content)[..., 0] == 0).all()
    np.testing.assert_array_equal(picture_of(content)[..., 1:], expected[..., 1:])


def test_scripts_encode_and_read(studio):
    red = png(np.full((5, 5, 3), (128, 0, 0), np.uint8))
    status, _, content = ask(studio, "/api/encode", body=red)
    assert (status, json.loads(content)["style"]) == (200, [2.0] * 8)
    ids = np.arange(48 * 64).reshape(SIZE).astype(np.uint8) % 13
    _, _, content = ask(studio, "/api/read_layout", body=png(ids))
    (reading,) = json.loads(content)["readings"]
    assert reading["how"] == "ids"


def test_openapi_describes_every_route(studio, fake_engine):
    server = pytest.importorskip("spade_jax.studio.server")
    document = json.loads(ask(studio, "/api/openapi.json")[2])
    assert document["openapi"] == "3.1.0"
    for path, methods in document["paths"].items():
        for method in methods:
            body = b"" if method == "post" else None
            assert ask(studio, path, body=body)[0] in (200, 415)
    routes = server.application(
        fake_engine(), mock.Mock(), limits=Limits(), files=page_files()
    ).routes
    served = {
        (route.path, method.lower())
        for route in routes
        if route.path.startswith("/api/") and hasattr(route, "methods")
        for method in route.methods - {"HEAD"}
    }
    told = {
        (p, method) for p, methods in document["paths"].items() for method in methods
    }
    assert told == served - {("/api/openapi.json", "get")}


def test_a_failure_is_told_as_other_errors_are(fake_engine, start):
    class Failing(fake_engine):
        def encode(self, photo):
            raise RuntimeError("out of memory")

    with start(Failing()) as (host, port):
        red = png(np.full((5, 5, 3), (128, 0, 0), np.uint8))
        address = f"http://{host}:{port}/"
        status, _, content = ask(address, "/api/encode", body=red)
    assert (status, "log" in json.loads(content)["error"]) == (500, True)


# ---- Who may ask ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil:1"]
)
def test_foreign_hosts_are_refused(studio, host):
    for path in ("/", "/api/model", "/main.js"):
        assert ask(studio, path, headers={"Host": host})[0] == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "http://["]
)
def test_foreign_origins_are_refused(studio, origin, live):
    exceptions = pytest.importorskip("websockets.exceptions")
    headers = {"Origin": origin}
    assert ask(studio, "/api/model", headers=headers)[0] == 403
    assert ask(studio, "/api/encode", body=b"", headers=headers)[0] == 403
    with pytest.raises(exceptions.InvalidStatus, match="403"):
        live(origin=origin)
    own = {"Origin": studio.rstrip("/")}
    assert ask(studio, "/api/model", headers=own)[0] == 200


def test_requests_from_other_sites_are_refused(studio):
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert ask(studio, "/api/model", headers=headers)[0] == 403
    # A link to the page is one.
    assert ask(studio, "/", headers=headers)[0] == 200


def test_the_token_has_to_be_shown(start, fake_engine, live, is_alive):
    exceptions = pytest.importorskip("websockets.exceptions")
    with start(fake_engine(), host="0.0.0.0", token="right") as (host, port):
        address = f"http://{host}:{port}/"
        for path in ("/", "/index.html", "/api/model", "/?token=wrong", "/?token="):
            assert ask(address, path)[0] == 401
        with pytest.raises(exceptions.InvalidStatus, match="403"):
            live(address)
        # What is the same for all needs none.
        assert ask(address, "/main.js")[0] == 200
        assert ask(address, "/?token=right")[0] == 200
        bearer = {"Authorization": "Bearer right"}
        assert ask(address, "/api/model", headers=bearer)[0] == 200
        client = live(address, path="/api/live?token=right")
        client.send(layout(3))
        assert answer_of(client).number == 3


def test_no_server_is_reached_from_elsewhere_without_a_token(start, fake_engine):
    with (
        pytest.raises(ValueError, match="needs a token"),
        start(fake_engine(), host="0.0.0.0"),
    ):
        pass


# ---- What it takes -------------------------------------------------------------------


def bomb(width, height):
    """A PNG of so many pixels in a few bytes."""

    def chunk(name, content):
        checked = name + content
        return (
            struct.pack(">I", len(content))
            + checked
            + struct.pack(">I", zlib.crc32(checked))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", head),
            chunk(b"IDAT", zlib.compress(bytes(900_000), 9)),
            chunk(b"IEND", b""),
        ]
    )


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_what_is_too_long_is_refused_before_it_is_read(studio, is_alive):
    before = memory()
    # It is told to come, and nothing of it has to.
    status, _, content = ask(
        studio, "/api/encode", body=b"", headers={"Content-Length": str(10**8)}
    )
    assert status == 413, content
    # It is not told, and comes.
    parts = (bytes(2**16) for _ in range(10**8 // 2**16))
    # The server may hang up before all of it is sent.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        assert ask(studio, "/api/encode", body=parts)[0] == 413
    assert memory() - before < 5e7
    is_alive()


@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 12_000), (2**30, 2**30)])
@pytest.mark.parametrize("path", ["encode", "read_layout", "synthesise"])
def test_pictures_of_too_many_pixels_are_not_decoded(studio, path, size, is_alive):
    before = memory()
    content = bomb(*size)
    assert len(content) < 2000
    assert ask(studio, f"/api/{path}", body=content)[0] in (413, 415)
    assert memory() - before < 5e7
    is_alive()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a" + bytes(100),
        b"\x89PNG\r\n\x1a\n",
        png(np.zeros((48, 64), np.uint8))[:40],
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.4\n" + png(np.zeros((48, 64), np.uint8)),
        b"II*\0" + bytes(100),
    ],
    ids=["empty", "gif", "signature", "truncated header", "svg", "polyglot", "tiff"],
)
def test_what_is_no_picture_is_refused(studio, content, is_alive):
    for path in ("encode", "read_layout", "synthesise"):
        status, headers, answer = ask(studio, f"/api/{path}", body=content)
        assert status in (415, 422)
        assert headers["Content-Type"] == "application/json"
        assert json.loads(answer)["error"]
    is_alive()


def test_truncated_pixels_are_refused(studio, is_alive):
    noise = np.random.default_rng(0).integers(0, 13, SIZE).astype(np.uint8)
    status, _, answer = ask(studio, "/api/read_layout", body=png(noise)[:-600])
    assert status == 422, answer
    is_alive()


def test_what_hides_behind_a_picture_does_not_come_back(studio):
    hidden = b"<script>alert(1)</script>"
    body = png(np.full(SIZE, 3, np.uint8)) + hidden
    status, headers, content = ask(studio, "/api/synthesise", body=body)
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert hidden not in content


@pytest.mark.parametrize(
    "query",
    [
        "seed=-1",
        "seed=4294967296",
        "seed=1e3",
        "seed=nan",
        "seed=" + "9" * 5000,
        "style=",
        "style=1,2",
        "style=" + ",".join(["nan"] * 8),
        "style=" + ",".join(["inf"] * 8),
        "style=" + ",".join(["1e300"] * 8),
        "style=" + "," * 5000,
    ],
)
def test_numbers_that_are_none_are_refused(studio, query):
    body = png(np.zeros(SIZE, np.uint8))
    assert ask(studio, f"/api/synthesise?{query}", body=body)[0] == 422


def test_ids_of_no_class_and_other_sizes_are_refused(live):
    client = live()
    wrong = [
        layout(1, ids=np.full(SIZE, 13)),
        layout(2, ids=np.zeros((10, 10))),
        layout(3, style=np.full(8, np.nan)),
        layout(4, style=np.zeros(9)),
        layout(5)[:-2],
        "text",
        b"",
    ]
    for message in wrong:
        client.send(message)
        assert answer_of(client).kind == protocol.REFUSAL
    client.send(layout(6))
    assert answer_of(client).kind == protocol.PICTURE


def test_messages_that_are_too_long_end_the_connection_only(live, is_alive):
    exceptions = pytest.importorskip("websockets.exceptions")
    client = live()

    def send():
        client.send(bytes(Limits().frame_bytes + 1))
        client.recv(SECONDS)

    with pytest.raises(exceptions.ConnectionClosed) as closed:
        send()
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    is_alive()


def test_a_disconnect_in_mid_frame(live, is_alive):
    client = live()
    # A frame's head tells of 3,000 bytes, of which four come.
    client.socket.sendall(b"\x82\xfe" + struct.pack(">H", 3000) + b"mask" + b"some")
    client.socket.close()
    client = live()
    client.send(layout(1))
    client.socket.close()
    is_alive()


def test_text_that_is_none_ends_the_connection_without_a_word(live, is_alive, caplog):
    client = live()
    exceptions = pytest.importorskip("websockets.exceptions")
    # A whole frame of text, masked with nothing.
    client.socket.sendall(b"\x81\x82" + bytes(4) + b"\xff\xfe")
    with pytest.raises(exceptions.ConnectionClosed) as closed:
        client.recv(SECONDS)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1007
    assert not caplog.records
    is_alive()


UPGRADE = (
    b"GET /api/live HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def until_closed(connection):
    """What comes until the other side has said all."""
    content = b""
    while not (b"\r\n\r\n" in content and b"\x88" in content):
        received = connection.recv(4096)
        assert received, content
        content += received
    connection.close()
    return content


def test_200_clients_at_once(start, fake_engine, live):
    with start(fake_engine(), limits=Limits(clients=20)) as (host, port):
        address = f"http://{host}:{port}/"
        sockets = [live(address) for _ in range(20)]
        others = [socket.create_connection((host, port), SECONDS) for _ in range(180)]
        for other in others:
            other.sendall(UPGRADE % (host.encode(), port))
        for number, one in enumerate(sockets):
            one.send(layout(number))
            assert answer_of(one).number == number
        for other in others:
            head, _, frame = until_closed(other).partition(b"\r\n\r\n")
            assert b" 101 " in head
            # A frame that closes, with "try again later".
            assert (frame[0], frame[2:4]) == (0x88, struct.pack(">H", 1013))
        # Who leaves makes room.
        sockets[0].close()
        closed = pytest.importorskip("websockets.exceptions").ConnectionClosed
        for _ in range(100):
            # Until the server has noticed.
            with contextlib.suppress(closed):
                late = live(address)
                late.send(layout(1))
                assert answer_of(late).kind == protocol.PICTURE
                return
        pytest.fail("there was no room again")


def test_requests_that_wait_are_few(start, fake_engine):
    with start(fake_engine(), limits=Limits(waiting=0)) as (host, port):
        address = f"http://{host}:{port}/"
        assert ask(address, "/api/encode", body=b"")[0] == 503
        assert ask(address, "/api/model")[0] == 200


class Client:
    """A page as the application has it: what it sends, and how it takes answers."""

    def __init__(self, *, takes):
        self._asked, self._takes = asyncio.Queue(), takes
        self.answers = asyncio.Queue()
        self.put({"type": "websocket.connect"})

    def put(self, event):
        self._asked.put_nowait(event)

    def ask(self, number):
        self.put({"type": "websocket.receive", "bytes": layout(number)})

    async def send(self, event):
        if event["type"] != "websocket.accept":
            # As in uvicorn, nothing passes what was not taken.
            await self._takes.wait()
            self.answers.put_nowait(protocol.decode_answer(event["bytes"]).number)

    async def connect(self, app):
        scope = {"type": "websocket", "path": "/api/live", "headers": []}
        await app(scope, self._asked.get, self.send)


def test_who_takes_no_answers_stalls_nobody_and_is_let_go(fake_engine):
    server = pytest.importorskip("spade_jax.studio.server")
    worker = Worker()

    async def tried():
        app = server.application(
            fake_engine(),
            worker,
            limits=Limits(send_seconds=0.5),
            files={"index.html": PageFile(b"", "text/html")},
        )
        always = asyncio.Event()
        always.set()
        slow, quick = Client(takes=asyncio.Event()), Client(takes=always)
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(slow.connect(app))
            serving = group.create_task(quick.connect(app))
            for number in range(1, 20):
                slow.ask(number)
                quick.ask(number)
                assert await quick.answers.get() == number
            await ending
            assert not serving.done()
            quick.put({"type": "websocket.disconnect", "code": 1000})
        assert slow.answers.empty()

    async def within(seconds):
        await asyncio.wait_for(tried(), seconds)

    asyncio.run(within(SECONDS))
    worker.close()


@pytest.mark.long
def test_a_socket_that_is_not_read_is_let_go(start, fake_engine, live):
    """The same of a real one, for which the system takes some answers."""
    engine = fake_engine()
    engine.size = (384, 384)
    noise = np.random.default_rng(0).integers(0, 13, engine.size)
    with (
        start(engine, limits=Limits(send_seconds=1.5)) as (host, port),
        contextlib.closing(socket.socket()) as slow,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(SECONDS)
        slow.connect((host, port))
        slow.sendall(UPGRADE % (host.encode(), port))
        quick = live(f"http://{host}:{port}/")

        def both_ask(number):
            frame = layout(number, ids=noise)
            # Of the longest kind, masked with nothing.
            head = b"\x82\xff" + struct.pack(">Q", len(frame)) + bytes(4)
            slow.sendall(head + frame)
            quick.send(layout(number, ids=np.zeros(engine.size)))
            assert answer_of(quick).number == number

        # It is let go while answers wait for it, of which some megabytes fit.
        with pytest.raises(ConnectionError):
            collections.deque(map(both_ask, range(1, 10_000)), maxlen=0)


def fuzz(live, is_alive, count, seed):
    random = np.random.default_rng(seed)
    client = live()
    good = layout(1)
    before = None
    for i in range(count):
        kind = random.integers(4)
        if kind == 0:
            message = random.bytes(int(random.integers(0, 2000)))
        else:
            message = bytearray(good)
            for _ in range(int(random.integers(1, 6))):
                place = int(random.integers(len(message)))
                message[place] = int(random.integers(256))
            message = bytes(message)[: len(message) - int(random.integers(0, 3) * kind)]
        client.send(message)
        assert answer_of(client).kind in (protocol.PICTURE, protocol.REFUSAL)
        if i == count // 10:
            before = memory()
    assert memory() - before < 5e7
    is_alive()


def test_random_frames(live, is_alive):
    fuzz(live, is_alive, 300, seed=0)


@pytest.mark.long
def test_10_000_random_frames(live, is_alive):
    fuzz(live, is_alive, 10_000, seed=1)


@given(data=st.data())
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_change_of_a_picture_is_read_or_refused(data, studio, mutated):
    body = mutated(data, png(np.full(SIZE, 3, np.uint8)))
    assert ask(studio, "/api/read_layout", body=body)[0] in (200, 413, 415, 422)
