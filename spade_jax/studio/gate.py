"""The gate: who may talk to the server, and what a browser may do with its answers.

A page of another site can make a browser send requests here, and, by a name that it
lets point to this machine (DNS rebinding), even read the answers. So the names that the
server is called by are few, requests of other sites' pages are refused, and where the
server is reached from elsewhere a random token has to be shown.
"""

import dataclasses
import hmac
import json
import urllib.parse
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spade_jax.studio.files import POLICY

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}
# What a browser says of requests that a page of its own makes, or a person.
_OWN_SITES = (None, "same-origin", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """An ASGI application that lets through what it may to another.

    Attributes:
      app: the other.
      hosts: names that the server is called by, without a port; None for any, which
        needs a token.
      token: to be shown in the address, as `?token=`, or as `Authorization: Bearer`;
        None where there is none.
      free: paths of files that need no token, as they are the same for all.
      framed: whether pages of other sites may show the page in a frame.
    """

    app: ASGIApp
    hosts: Collection[str] | None
    token: str | None
    free: Collection[str] = ()
    framed: bool = False

    def __post_init__(self):
        if self.hosts is None and self.token is None:
            raise ValueError("A server of any name needs a token.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `starlette.types.ASGIApp`."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is not None:
            await _refuse(scope, receive, send, *refused)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers().items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, guarded)

    def _headers(self) -> dict[str, str]:
        ancestors = "*" if self.framed else "'none'"
        policy = f"{POLICY}; frame-ancestors {ancestors}"
        return {**_HEADERS, "Content-Security-Policy": policy}

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Status and words; None for what may pass."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and _without_port(host) not in self.hosts:
            return 421, "This server is not called by that name (Host)."
        origin = headers.get("origin")
        # It is not parsed, which a malformed one would not survive.
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "Pages of other sites may not use this server (Origin)."
        # A person may follow a link to the page, and to nothing else.
        is_page = scope["type"] == "http" and scope["path"] == "/"
        if not is_page and headers.get("sec-fetch-site") not in _OWN_SITES:
            return 403, "Pages of other sites may not use this server."
        if self.token is not None and scope["path"] not in self.free:
            query = urllib.parse.parse_qs(scope["query_string"].decode("latin-1"))
            bearer = headers.get("authorization", "").removeprefix("Bearer ")
            shown = query.get("token", [bearer])[-1]
            if not hmac.compare_digest(shown.encode(), self.token.encode()):
                return 401, "This server needs its token: open the address it printed."
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


async def _refuse(
    scope: Scope, receive: Receive, send: Send, status: int, words: str
) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted, which a client sees as status 403.
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": words})
        return
    body = json.dumps({"error": words}).encode()
    headers = [(b"content-type", b"application/json")]
    headers += [(name.lower().encode(), v.encode()) for name, v in _HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
