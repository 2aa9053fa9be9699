"""Limits: what one server does at most, in one table."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a studio takes, and how long it waits.

    Attributes:
      clients: pages and scripts on the WebSocket at once.
      waiting: HTTP requests that compute or wait for it.
      connections: of all kinds.
      frame_bytes: of a message on the WebSocket.
      upload_bytes: of a picture in a request.
      upload_pixels: of such a picture, which its header tells before it is decoded.
      upload_seconds: for a request to arrive.
      send_seconds: for a client to take an answer.
      style: the largest absolute value of a style's numbers.
    """

    clients: int = 32
    waiting: int = 16
    connections: int = 512
    frame_bytes: int = 2**22
    upload_bytes: int = 2**25
    upload_pixels: int = 32_000_000
    upload_seconds: float = 60
    send_seconds: float = 20
    style: float = 100
