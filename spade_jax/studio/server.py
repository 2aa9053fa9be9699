"""The server: the page, one WebSocket for painting, and HTTP for the rest.

Nothing here computes or opens files: jobs go to the worker, and the page's files are
read once, so that no path of a request is ever opened.
"""

import asyncio
import functools
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from spade_jax.studio import answers, openapi, protocol
from spade_jax.studio.engine import Engine
from spade_jax.studio.files import PageFile
from spade_jax.studio.limits import Limits
from spade_jax.studio.protocol import Answer, ProtocolError
from spade_jax.studio.uploads import UploadError
from spade_jax.studio.worker import Worker

_log = logging.getLogger(__name__)

_TOO_MANY = 1013  # "try again later", of the WebSocket's registered codes
_SEED = re.compile(r"\d{1,10}")


def application(
    engine: Engine, worker: Worker, *, limits: Limits, files: Mapping[str, PageFile]
) -> Starlette:
    """The studio of a model as an ASGI application.

    It asks the worker for a first picture, so that programs are compiled while a person
    still opens the page.

    Args:
      engine: the model, which the worker's thread alone calls.
      worker: that computes.
      limits: of what is taken.
      files: of the page, by their names.
    """
    studio = _Studio(engine, worker, limits, _layout_reader(engine, limits))
    routes = [
        Route("/api/model", studio.model, methods=["GET"]),
        Route("/api/landscape", studio.landscape, methods=["GET"]),
        Route("/api/synthesise", studio.synthesise, methods=["POST"]),
        Route("/api/encode", studio.encode, methods=["POST"]),
        Route("/api/read_layout", studio.read_layout, methods=["POST"]),
        Route("/api/openapi.json", studio.openapi, methods=["GET"]),
        WebSocketRoute("/api/live", studio.live),
        *(Route(f"/{name}", _file(file)) for name, file in files.items()),
        Route("/", _file(files["index.html"])),
    ]
    studio.warm_up()
    return Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _http_error,
            UploadError: _upload_error,
            Exception: _failure,
        },
    )


def _layout_reader(engine: Engine, limits: Limits):
    return functools.partial(
        protocol.decode_request,
        size=engine.size,
        num_classes=engine.num_classes,
        style_size=engine.style_size,
        has_class_styles=engine.has_class_styles,
        largest_style=limits.style,
    )


class _Studio:
    """The handlers of requests."""

    def __init__(
        self,
        engine: Engine,
        worker: Worker,
        limits: Limits,
        read: Callable[[bytes], protocol.Request],
    ):
        self._engine, self._worker, self._limits = engine, worker, limits
        self._read = read
        self._described = engine.describe()
        self._clients = 0
        self._waiting = 0

    def warm_up(self) -> None:
        """Computes a picture, which nobody waits for."""

        def compute():
            engine = self._engine
            engine.synthesise(engine.landscape(0), engine.draw_style(0))

        self._worker.submit(self, compute)

    async def model(self, request: Request) -> Response:
        return JSONResponse(self._described)

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(openapi.described(self._described, self._limits))

    async def landscape(self, request: Request) -> Response:
        seed = _seed(request)
        # Drawn beside the worker, so that the page need not wait for compilations.
        return JSONResponse(
            await run_in_threadpool(answers.landscape, self._engine, seed)
        )

    async def synthesise(self, request: Request) -> Response:
        style = self._style(request)
        content = await self._uploaded(request)
        picture = await self._computed(
            lambda: answers.synthesised_upload(
                self._engine, content, style, most_pixels=self._limits.upload_pixels
            )
        )
        return Response(picture, media_type="image/png")

    async def encode(self, request: Request) -> Response:
        return await self._answered(request, answers.encoded)

    async def read_layout(self, request: Request) -> Response:
        return await self._answered(request, answers.read_layout)

    async def live(self, socket: WebSocket) -> None:
        """Serves a page: of its layouts the newest, one at a time."""
        await socket.accept()
        if self._clients >= self._limits.clients:
            await socket.close(_TOO_MANY, "Too many pages are open.")
            return
        self._clients += 1
        try:
            await self._serve(socket)
        except WebSocketDisconnect:
            pass
        finally:
            self._clients -= 1

    async def _serve(self, socket: WebSocket) -> None:
        newest = _Newest()
        sending = asyncio.create_task(self._send_answers(socket, newest))
        receiving = asyncio.create_task(self._receive_layouts(socket, newest))
        try:
            await asyncio.wait(
                (sending, receiving), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (sending, receiving):
                task.cancel()
            ended = await asyncio.gather(sending, receiving, return_exceptions=True)
        for error in ended:
            if isinstance(error, TimeoutError):
                # Without a word, which it would not take either.
                _log.info("A client takes no answers, and is let go.")
            elif isinstance(error, Exception) and not isinstance(
                error, WebSocketDisconnect
            ):
                raise error

    async def _receive_layouts(self, socket: WebSocket, newest: "_Newest") -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                newest.put(self._read(message.get("bytes") or b""))
            except ProtocolError as error:
                newest.put(answers.refusal(error.number, str(error)))

    async def _send_answers(self, socket: WebSocket, newest: "_Newest") -> None:
        while True:
            given = await newest.take()
            if isinstance(given, protocol.Request):
                compute = functools.partial(answers.synthesised, self._engine, given)
                job = self._worker.submit(newest, compute)
                given = await asyncio.wrap_future(job)
            async with asyncio.timeout(self._limits.send_seconds):
                await socket.send_bytes(protocol.encode_answer(given))

    async def _answered(self, request: Request, answer: Callable[..., Any]) -> Response:
        content = await self._uploaded(request)
        return JSONResponse(
            await self._computed(
                lambda: answer(
                    self._engine, content, most_pixels=self._limits.upload_pixels
                )
            )
        )

    async def _computed(self, compute: Callable[[], Any]) -> Any:
        """What the worker makes of it.

        Raises:
          HTTPException: too many wait already, or it is computed to nothing finite.
          UploadError: see `spade_jax.studio.answers`.
        """
        if self._waiting >= self._limits.waiting:
            raise HTTPException(503, "Too many requests wait already.")
        self._waiting += 1
        try:
            # Each request is a client of its own.
            return await asyncio.wrap_future(self._worker.submit(object(), compute))
        except UploadError:
            raise
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        finally:
            self._waiting -= 1

    async def _uploaded(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
          HTTPException: it is longer than is taken, or takes too long.
        """
        most = self._limits.upload_bytes
        too_long = HTTPException(413, f"At most {most} bytes are taken.")
        told = request.headers.get("content-length", "0")
        if not told.isdigit() or int(told) > most:
            raise too_long
        chunks, length = [], 0
        try:
            async with asyncio.timeout(self._limits.upload_seconds):
                async for chunk in request.stream():
                    length += len(chunk)
                    if length > most:
                        raise too_long
                    chunks.append(chunk)
        except TimeoutError as error:
            raise HTTPException(408, "The request took too long.") from error
        except ClientDisconnect as error:
            raise HTTPException(400, "The request ended early.") from error
        return b"".join(chunks)

    def _style(self, request: Request) -> np.ndarray | int:
        """The style that a request asks for, or its seed.

        Raises:
          HTTPException: it is none of this model's.
        """
        given = request.query_params.get("style")
        if given is None:
            return _seed(request)
        size, most = self._engine.style_size, self._limits.style
        try:
            style = np.array([float(x) for x in given.split(",")], np.float64)
        except ValueError:
            style = np.zeros(0)
        if style.size != size or not (np.abs(style) <= most).all():
            raise HTTPException(
                422,
                f"style= takes {size} numbers from {-most:g} to {most:g}, separated by"
                " commas.",
            )
        return style.astype(np.float32)


class _Newest:
    """The newest of what was put and not taken yet."""

    def __init__(self):
        self._given: protocol.Request | Answer | None = None
        self._is_there = asyncio.Event()

    def put(self, given: protocol.Request | Answer) -> None:
        self._given = given
        self._is_there.set()

    async def take(self) -> protocol.Request | Answer:
        await self._is_there.wait()
        self._is_there.clear()
        given = self._given
        assert given is not None
        return given


def _seed(request: Request) -> int:
    """The seed in a request's address; 0 without.

    Raises:
      HTTPException: it is none.
    """
    given = request.query_params.get("seed", "0")
    if not _SEED.fullmatch(given) or int(given) >= 2**32:
        raise HTTPException(422, f"seed= takes a whole number from 0 to {2**32 - 1}.")
    return int(given)


def _file(file: PageFile):
    async def send(request: Request) -> Response:
        return Response(file.content, media_type=file.media_type)

    return send


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


async def _upload_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, UploadError)
    return JSONResponse({"error": str(error)}, error.status)


async def _failure(request: Request, error: Exception) -> Response:
    # Starlette raises it again, for the log.
    return JSONResponse({"error": "The server failed; its log says how."}, 500)
