"""Uploads: bytes of a request as a picture, none of it decoded before it is bounded."""

import io
import warnings

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")


class UploadError(ValueError):
    """A picture that is not taken.

    Args:
      message: for people.
      status: of HTTP.
    """

    def __init__(self, message: str, *, status: int):
        super().__init__(message)
        self.status = status


def open_upload(content: bytes, *, most_pixels: int) -> Image.Image:
    """Opens a picture, of which only the header is read.

    Args:
      content: bytes from anybody.
      most_pixels: that its header may tell.

    Raises:
      UploadError: it has more, or is of none of `FORMATS`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's own limit warns at 90 million pixels, and refuses at twice that.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UploadError(str(error), status=413) from error
    # Pillow raises many kinds of errors for broken headers.
    except Exception as error:
        formats = ", ".join(FORMATS)
        raise UploadError(
            f"This is no picture that is taken here: {formats}.", status=415
        ) from error
    width, height = picture.size
    if width * height > most_pixels:
        raise UploadError(
            f"A picture of {width}x{height} pixels: at most {most_pixels / 1e6:g}"
            " million are taken.",
            status=413,
        )
    return picture
