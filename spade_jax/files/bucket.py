"""Buckets of Google Cloud: what paths alone do not do.

An object is whole or not there, has checksums and a generation of its own, and is
written over only where its generation is that which the writer knows of. There is no
renaming, no appending and no lock. Whatever fails is tried again for a minute at most,
and then told in a line: `BucketError`.

With STORAGE_EMULATOR_HOST it is that server which is spoken to.
"""

import contextlib
import datetime
import functools
import logging
import os
import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from etils import epath

AnyAddress = str | os.PathLike[str]

SCHEME = "gs://"
_BY = "spade_jax_written_by"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{2,221}")
_ENVIRONMENT = {
    # Else epath speaks through TensorFlow wherever that is installed, which keeps what
    # it has listed and knows no emulator.
    "EPATH_USE_TF": "0",
    # Else gcsfs asks another service of what kind a bucket is, which most accounts may
    # not, and waits for the answer.
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
}
_PATIENCE = 60.0  # seconds that what fails is tried again for
_TIMEOUTS = (10, 60)  # seconds, to connect and for each answer
# Where errors of a bucket are from; and what those of TensorStore say.
_FAULTS = ("gcsfs", "fsspec", "aiohttp", "google", "requests", "urllib3")
_SAYS = re.compile(
    r"\b(UNAVAILABLE|DEADLINE_EXCEEDED|PERMISSION_DENIED|UNAUTHENTICATED)\b"
)


class BucketError(OSError):
    """A bucket cannot be used, or does not answer."""


class Object(NamedTuple):
    """What a bucket knows of an object.

    Attributes:
      size: in bytes.
      crc32c: in base64.
      md5: in base64, or None of one that was put together of parts.
      generation: the number of its content; each time it is written it has another.
      updated: when that was, by the bucket's clock.
      by: command that wrote it, where that is known.
    """

    size: int
    crc32c: str
    md5: str | None
    generation: int
    updated: datetime.datetime
    by: str | None


def fault_of(path: str) -> str | None:
    """What is wrong with the text of a path that begins with gs://; or None."""
    name, _, rest = path.removeprefix(SCHEME).partition("/")
    if not _NAME.fullmatch(name):
        return f"names no bucket: write {SCHEME}BUCKET/PATH."
    if not {".", ".."}.isdisjoint(rest.split("/")):
        return "has . or .. in it, which stand for nothing in a bucket. Write it out."
    return None


def path(text: str) -> "epath.Path":
    """The path, one of epath's, of a gs:// address; its bucket is looked at once.

    Raises:
      BucketError: it is not there, or may not be read; or the extra is not installed.
    """
    _prepare()
    _check(text.removeprefix(SCHEME).partition("/")[0])
    from etils import epath

    return epath.Path(text)


def objects(directory: AnyAddress) -> dict[str, Object]:
    """All objects below a directory, by their names from there."""
    name, prefix = _split(directory)
    prefix = f"{prefix}/" if prefix else ""
    with telling(directory):
        found = _client().list_blobs(name, prefix=prefix, **_trying())
        return {
            blob.name.removeprefix(prefix): _object(blob)
            for blob in found
            # Some programs leave an empty one where they see a directory.
            if not blob.name.endswith("/")
        }


def look(file: AnyAddress) -> Object:
    """What is known of an object.

    Raises:
      FileNotFoundError: there is none.
    """
    from google.api_core import exceptions

    blob = _blob(file)
    with telling(file):
        try:
            blob.reload(**_trying())
        except exceptions.NotFound as error:
            raise FileNotFoundError(os.fspath(file)) from error
    return _object(blob)


def read(file: AnyAddress) -> tuple[str, Object] | None:
    """A small object, and what is known of it; None where there is none."""
    from google.api_core import exceptions

    blob = _blob(file)
    with telling(file):
        try:
            blob.reload(**_trying())
        except exceptions.NotFound:
            return None
        try:
            # Of this generation: another may be there by now, and this one no more.
            content = blob.download_as_bytes(
                if_generation_match=blob.generation, **_trying()
            )
        except (exceptions.NotFound, exceptions.PreconditionFailed):
            return read(file)
    return content.decode(errors="replace"), _object(blob)


def write(file: AnyAddress, text: str, *, over: int = 0) -> Object | None:
    """Writes a small object, unless another was quicker.

    Args:
      file: where to.
      text: what.
      over: generation that it takes the place of; 0: of none.

    Returns:
      What is there now; None where something else is.
    """
    from google.api_core import exceptions

    blob = _blob(file)
    with telling(file):
        try:
            blob.upload_from_string(text, if_generation_match=over, **_trying())
            return _object(blob)
        except (exceptions.PreconditionFailed, exceptions.NotFound):
            found = read(file)
    # It may be there, and only the answer was lost.
    return (
        found[1] if found and found[0] == text and over != found[1].generation else None
    )


def remove(file: AnyAddress, *, generation: int) -> None:
    """Removes an object if its generation is this one."""
    from google.api_core import exceptions

    missing = (exceptions.NotFound, exceptions.PreconditionFailed)
    with telling(file), contextlib.suppress(*missing):
        _blob(file).delete(if_generation_match=generation, **_trying())


def upload(file: pathlib.Path, to: AnyAddress, *, by: str | None = None) -> Object:
    """Writes a file of this machine as an object, which is whole or not there.

    Args:
      file: of this machine.
      to: the object.
      by: see `Object`.
    """
    blob = _blob(to)
    blob.metadata = {} if by is None else {_BY: by}
    with telling(to):
        blob.upload_from_filename(os.fspath(file), **_trying())
    return _object(blob)


def download(file: AnyAddress, to: pathlib.Path) -> None:
    """Reads an object into a file of this machine, held against its checksum."""
    with telling(file):
        _blob(file).download_to_filename(os.fspath(to), **_trying())


def move(directory: AnyAddress, to: AnyAddress) -> None:
    """Moves all objects of a directory, one after the other, within the bucket."""
    name, before = _split(directory)
    _, after = _split(to)
    with telling(directory):
        bucket = _client().bucket(name)
        for below in objects(directory):
            blob = bucket.blob(f"{before}/{below}")
            bucket.copy_blob(blob, bucket, f"{after}/{below}", **_trying())
            blob.delete(**_trying())


@contextlib.contextmanager
def telling(where: AnyAddress = "") -> Iterator[None]:
    """Tells errors of a bucket in a line, and passes on all others.

    Args:
      where: what is read or written, for messages, and nothing is done if that is of
        this machine; empty: errors are taken for a bucket's by their kind alone.

    Raises:
      BucketError: naming the place, what it answered, and the remedy.
    """
    try:
        yield
    except Exception as error:
        where = os.fspath(where)
        is_known = where.startswith(SCHEME)
        if isinstance(error, BucketError) or (where and not is_known):
            raise
        if not _is_of_bucket(error, is_known=is_known):
            raise
        said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        of = where or "A bucket"
        raise BucketError(f"{of} cannot be used: {said}. {_remedy(error)}") from error


def _is_of_bucket(error: Exception, *, is_known: bool) -> bool:
    module = type(error).__module__.partition(".")[0]
    if module in _FAULTS or str(error).startswith("Forbidden: b/"):
        return True
    # Devices of several hosts may say the same.
    if not is_known or module.startswith("jax"):
        return False
    is_of_network = isinstance(error, TimeoutError | ConnectionError)
    return is_of_network or bool(_SAYS.search(str(error)))


def _remedy(error: Exception) -> str:
    code = str(getattr(error, "code", "") or "")
    text = f"{code} {error}".lower()
    if "401" in code or "auth" in type(error).__module__ or "credential" in text:
        return (
            "This machine has no credentials, or they have expired: gcloud auth"
            " application-default login; on a VM of Google Cloud give its service"
            " account access."
        )
    if "403" in code or "forbidden" in text:
        return (
            "The account may not do that: give it the role Storage Object Admin for"
            " the bucket (to read only, Storage Object Viewer)."
        )
    if "404" in code:
        return "There is no such bucket or object: check the name."
    return "What is there is as it was: give the same command again later."


@functools.cache
def _prepare() -> None:
    """Looks for what the extra brings, and sets it up."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import fsspec.config
        import gcsfs  # noqa: F401
        import google.cloud.storage  # noqa: F401
    except ImportError as error:
        raise BucketError(
            f"Paths that begin with {SCHEME} need gcsfs and google-cloud-storage"
            f" ({error}): pip install 'spade-jax[cloud]'."
        ) from error
    # It keeps what it found of TensorFlow when it saw its first path.
    with contextlib.suppress(ImportError, AttributeError):
        from etils.epath import gpath

        gpath._is_tf_installed.cache_clear()
    # What another process has written has to be seen.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    # It logs a traceback of what it raises, too.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


@functools.cache
def _check(name: str) -> None:
    """Refuses a bucket that is not there, or may not be read."""
    from google.api_core import exceptions

    with telling(f"{SCHEME}{name}"):
        try:
            next(iter(_client().list_blobs(name, max_results=1, **_trying())), None)
        except exceptions.NotFound as error:
            raise BucketError(
                f"There is no bucket {SCHEME}{name}: check the name, or make it with"
                f" gcloud storage buckets create {SCHEME}{name} --location=REGION."
            ) from error


@functools.cache
def _client() -> Any:
    from google.auth import exceptions
    from google.cloud import storage

    try:
        # No project: objects are of a bucket.
        return storage.Client(project=None)
    except exceptions.DefaultCredentialsError:
        return storage.Client.create_anonymous_client()  # for public ones


def _trying() -> dict[str, Any]:
    """How long an operation may take, and is tried again for."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"retry": DEFAULT_RETRY.with_timeout(_PATIENCE), "timeout": _TIMEOUTS}


def _split(place: AnyAddress) -> tuple[str, str]:
    """A bucket's name, and that of an object in it."""
    name, _, below = os.fspath(place).removeprefix(SCHEME).partition("/")
    return name, below.rstrip("/")


def _blob(file: AnyAddress) -> Any:
    name, below = _split(file)
    return _client().bucket(name).blob(below)


def _object(blob: Any) -> Object:
    return Object(
        size=int(blob.size),
        crc32c=blob.crc32c,
        md5=blob.md5_hash,
        generation=int(blob.generation),
        updated=blob.updated,
        by=(blob.metadata or {}).get(_BY),
    )
