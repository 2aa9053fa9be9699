"""The protocol: messages of the WebSocket as bytes, little-endian.

A layout goes up:

    u8 kind = 1, u8 version = 2, u16 width, u16 height, u16 N, u16 M, u32 number,
    f32 style [N], M classes with a style of their own (u16 id, f32 style [N]),
    then runs of (u16 id, u16 length), row by row

What became of it comes down:

    u8 kind, u8 version = 2, u16 0, u32 number, f32 milliseconds, content

Kind 1 is a picture, as a PNG file; kind 2 a refusal, as text in UTF-8. `number` is the
client's own, so that it knows which of its layouts was answered; a layout that a newer
one of the same client overtakes has no answer. `spade_jax/studio/page/frames.js` is the
same in JavaScript.

Letters: H height, W width, N latent size.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

VERSION = 2
LAYOUT, PICTURE, REFUSAL = 1, 1, 2

_UP = struct.Struct("<BBHHHHI")
_DOWN = struct.Struct("<BBHIf")
_LONGEST_RUN = 2**16 - 1


class ProtocolError(ValueError):
    """A message that cannot be used.

    Args:
      message: for people.
      number: of the layout, as far as it was told.
    """

    def __init__(self, message: str, *, number: int = 0):
        super().__init__(message)
        self.number = number


class Request(NamedTuple):
    """A layout to be synthesised.

    Attributes:
      number: the client's.
      ids: uint16 `[H, W]`.
      style: float32 `[N]`.
      class_styles: by id, of classes that have one of their own, float32 `[N]`.
    """

    number: int
    ids: np.ndarray
    style: np.ndarray
    class_styles: Mapping[int, np.ndarray] = MappingProxyType({})


class Answer(NamedTuple):
    """What became of a layout.

    Attributes:
      kind: PICTURE or REFUSAL.
      number: the client's.
      milliseconds: that it was computed for.
      content: of a PNG file, or text.
    """

    kind: int
    number: int
    milliseconds: float
    content: bytes


def encode_request(request: Request) -> bytes:
    """A layout as a message."""
    height, width = request.ids.shape
    style, own = np.asarray(request.style, "<f4"), request.class_styles
    sizes = width, height, style.size, len(own)
    head = _UP.pack(LAYOUT, VERSION, *sizes, request.number) + style.tobytes()
    styles = np.array(list(own.items()), _class_style(style.size))
    return head + styles.tobytes() + encode_runs(request.ids)


def decode_request(
    message: bytes,
    *,
    size: tuple[int, int],
    num_classes: int,
    style_size: int,
    has_class_styles: bool,
    largest_style: float,
) -> Request:
    """Reads a layout.

    Args:
      message: bytes from anybody.
      size: (height, width) that the layout must have.
      num_classes: its ids are below it.
      style_size: N.
      has_class_styles: whether classes may have styles of their own.
      largest_style: absolute value of a number of the style.

    Raises:
      ProtocolError: it is none, or not such a one.
    """
    if len(message) < _UP.size:
        raise ProtocolError(
            f"A message of {len(message)} bytes: a layout has {_UP.size} before its"
            " style and runs."
        )
    kind, version, width, height, count, own, number = _UP.unpack_from(message)

    def refuse(words: str) -> ProtocolError:
        return ProtocolError(words, number=number)

    if (kind, version) != (LAYOUT, VERSION):
        raise refuse(
            f"A message of kind {kind} and version {version}: this server takes kind"
            f" {LAYOUT} of version {VERSION}. Reload the page."
        )
    if (height, width) != size:
        raise refuse(
            f"A layout of {width}x{height} pixels: this model's are"
            f" {size[1]}x{size[0]}."
        )
    if count != style_size:
        raise refuse(f"A style of {count} numbers: this model's have {style_size}.")
    if own and not has_class_styles:
        raise refuse("Styles of classes: this model has one for the whole picture.")
    of_class, start = _class_style(count), _UP.size + 4 * count
    end = start + own * of_class.itemsize
    if len(message) < end:
        raise refuse("The message ends within its styles.")
    style = np.frombuffer(message, "<f4", count, _UP.size)
    of_classes = np.frombuffer(message, of_class, own, start)
    for numbers in (style, of_classes["style"]):
        # NaN is not below anything either.
        if not (np.abs(numbers) <= largest_style).all():
            raise refuse(
                "A style of numbers that are not finite, or beyond"
                f" {-largest_style:g} to {largest_style:g}."
            )
    if len(np.unique(of_classes["id"])) < own:
        raise refuse("Two styles of one class.")
    try:
        ids = decode_runs(message[end:], size=size)
    except ProtocolError as error:
        raise refuse(str(error)) from error
    largest = max([ids.max(), *of_classes["id"]])
    if largest >= num_classes:
        raise refuse(f"An id {largest}: this model has {num_classes} classes.")
    styles = {int(i): given.astype(np.float32) for i, given in of_classes}
    return Request(number, ids, style.astype(np.float32), styles)


def _class_style(size: int) -> np.dtype:
    """A class and its style of `size` numbers, without gaps."""
    return np.dtype([("id", "<u2"), ("style", "<f4", (size,))])


def encode_answer(answer: Answer) -> bytes:
    """An answer as a message."""
    kind, number, milliseconds, content = answer
    return _DOWN.pack(kind, VERSION, 0, number, milliseconds) + content


def decode_answer(message: bytes) -> Answer:
    """Reads an answer of this server's."""
    kind, _, _, number, milliseconds = _DOWN.unpack_from(message)
    return Answer(kind, number, milliseconds, message[_DOWN.size :])


def encode_runs(ids: np.ndarray) -> bytes:
    """Class ids `[H, W]` as runs of (u16 id, u16 length)."""
    flat = np.asarray(ids).ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] + 1))
    lengths = np.diff(starts, append=flat.size)
    # A run too long for its number is cut.
    pieces = -(-lengths // _LONGEST_RUN)
    found = np.repeat(flat[starts], pieces)
    cut = np.full(found.size, _LONGEST_RUN)
    last = np.cumsum(pieces) - 1
    cut[last] = lengths - (pieces - 1) * _LONGEST_RUN
    return np.stack([found, cut], -1).astype("<u2").tobytes()


def decode_runs(content: bytes, *, size: tuple[int, int]) -> np.ndarray:
    """Reads runs as class ids, uint16 `[H, W]`.

    Raises:
      ProtocolError: they are not of as many pixels.
    """
    if len(content) % 4:
        raise ProtocolError("The message ends within a run.")
    found, lengths = np.frombuffer(content, "<u2").reshape(-1, 2).T
    pixels = size[0] * size[1]
    # Summed before anything of that length is made.
    total = int(lengths.sum(dtype=np.int64))
    if total != pixels:
        raise ProtocolError(f"Runs of {total} pixels for a layout of {pixels}.")
    return np.repeat(found, lengths).astype(np.uint16).reshape(size)
