"""Pictures one after another: .mp4 and .gif files."""

import itertools
import os
import pathlib
from collections.abc import Iterable
from fractions import Fraction

from PIL import Image

from spade_jax import files

ENDINGS = (".mp4", ".gif")


def ending(path: str | os.PathLike[str]) -> str:
    """The kind of film that a path asks for: one of `ENDINGS`, if it can be written."""
    return pathlib.Path(path).suffix.lower()


def check_encoder(path: str | os.PathLike[str]) -> None:
    """Tells early that what writes such a film is missing.

    Raises:
      ValueError: PyAV is not installed, which writes .mp4.
    """
    if ending(path) == ".mp4":
        _import_av()


def write(
    path: str | os.PathLike[str],
    frames: Iterable[str | os.PathLike[str]],
    *,
    fps: float,
    replacing: files.Replacing = files.replacing,
) -> None:
    """Writes a film, and leaves what was there until it is whole.

    Args:
      path: .mp4 (H.264, plays in browsers) or .gif (256 colours, plays for ever).
      frames: picture files of one size; heights and widths even for .mp4.
      fps: frames a second, positive, which a .gif has to a hundredth of a second.
      replacing: how the file gets to its place.

    Raises:
      ValueError: see `check_encoder`.
    """
    check_encoder(path)
    write_frames = {".mp4": _write_mp4, ".gif": _write_gif}[ending(path)]
    pictures = map(_read, frames)
    first = next(pictures)
    with replacing(path) as unfinished:
        write_frames(unfinished, first, pictures, fps=fps)


def _read(frame: str | os.PathLike[str]) -> Image.Image:
    with files.reading(frame) as file, Image.open(file) as picture:
        return picture.convert("RGB")


def _write_gif(
    path: pathlib.Path,
    first: Image.Image,
    others: Iterable[Image.Image],
    *,
    fps: float,
) -> None:
    first.save(
        path,
        format="gif",
        save_all=True,
        append_images=others,
        duration=1000 / fps,
        loop=0,
    )


def _write_mp4(
    path: pathlib.Path,
    first: Image.Image,
    others: Iterable[Image.Image],
    *,
    fps: float,
) -> None:
    av = _import_av()
    with av.open(path, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        # Browsers play this one; the default for RGB frames they do not.
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = first.size
        for picture in itertools.chain([first], others):
            film.mux(stream.encode(av.VideoFrame.from_image(picture)))
        film.mux(stream.encode())


def _import_av():
    try:
        import av
    except ImportError as error:
        raise ValueError(
            "An .mp4 needs PyAV: pip install av, or the extra 'video'. A .gif needs"
            " nothing."
        ) from error
    return av
