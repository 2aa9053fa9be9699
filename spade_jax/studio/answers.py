"""Answers: what the HTTP interface computes, from bytes to bytes.

Called on the worker's thread, so that none of it runs beside JAX or holds the event
loop.
"""

import base64
import io
import logging
import time
from typing import Any

import numpy as np
from PIL import Image

from spade_jax.data.error import DataError
from spade_jax.studio import protocol
from spade_jax.studio.engine import Engine, Reading
from spade_jax.studio.protocol import Answer, Request
from spade_jax.studio.uploads import UploadError, open_upload

_log = logging.getLogger(__name__)


def synthesised(engine: Engine, request: Request) -> Answer:
    """The picture of a layout, or why there is none."""
    start = time.perf_counter()
    try:
        picture = engine.synthesise(request.ids, request.style, request.class_styles)
    except ValueError as error:
        return refusal(request.number, str(error))
    # Whatever happens to one layout, as want of memory, the next one may be well.
    except Exception:
        _log.exception("A layout was not synthesised.")
        return refusal(request.number, "The server failed; its log says how.")
    milliseconds = 1000 * (time.perf_counter() - start)
    return Answer(protocol.PICTURE, request.number, milliseconds, png(picture))


def refusal(number: int, words: str) -> Answer:
    """An answer that says why there is no picture."""
    return Answer(protocol.REFUSAL, number, 0, words.encode())


def synthesised_upload(
    engine: Engine, content: bytes, style: np.ndarray | int, *, most_pixels: int
) -> bytes:
    """The picture of a label map's file, as a PNG file.

    Args:
      engine: of the model.
      content: of the file.
      style: `[N]`, or a seed.
      most_pixels: see `spade_jax.studio.uploads.open_upload`.

    Raises:
      UploadError: the file is no label map, or there are two ways to read it.
      ValueError: see `Engine.synthesise`.
    """
    readings = _readings(engine, content, most_pixels)
    if len(readings) > 1:
        raise UploadError(
            "The palette's indices and the colours of this picture both make sense as"
            " classes: save the ids with one channel and no palette.",
            status=422,
        )
    if isinstance(style, int):
        style = engine.draw_style(style)
    return png(engine.synthesise(readings[0].ids, style))


def read_layout(engine: Engine, content: bytes, *, most_pixels: int) -> dict[str, Any]:
    """The readings of a label map's file, as JSON has them.

    Raises:
      UploadError: the file is no label map.
    """
    height, width = engine.size
    return {
        "width": width,
        "height": height,
        "readings": [
            {"how": r.how, "runs": _text(protocol.encode_runs(r.ids))}
            for r in _readings(engine, content, most_pixels)
        ],
    }


def encoded(engine: Engine, content: bytes, *, most_pixels: int) -> dict[str, Any]:
    """The style of a photograph's file, as JSON has it.

    Raises:
      UploadError: it is no photograph, or the model has no encoder.
    """
    if not engine.has_encoder:
        raise UploadError("This model has no encoder of photographs.", status=404)
    photo = open_upload(content, most_pixels=most_pixels)
    try:
        return {"style": engine.encode(photo).tolist()}
    except DataError as error:
        raise UploadError(str(error), status=422) from error


def landscape(engine: Engine, seed: int) -> dict[str, Any]:
    """A random layout, as JSON has it."""
    height, width = engine.size
    runs = _text(protocol.encode_runs(engine.landscape(seed)))
    return {"width": width, "height": height, "runs": runs}


def png(picture: np.ndarray) -> bytes:
    """A picture as a PNG file, quickly."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="png", compress_level=1)
    return stream.getvalue()


def _readings(engine: Engine, content: bytes, most_pixels: int) -> list[Reading]:
    picture = open_upload(content, most_pixels=most_pixels)
    try:
        return engine.read_layout(picture)
    except DataError as error:
        raise UploadError(str(error), status=422) from error


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
