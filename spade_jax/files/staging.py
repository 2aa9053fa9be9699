"""Staging: what a bucket holds, as files of this machine.

Pictures are read one by one, at random, in every epoch anew. From a bucket that would
be a request each, of files and of ArrayRecords alike (whose wheels can do it): a
thousand a second for a host of eight chips. So they are copied once, to
`$XDG_CACHE_HOME/spade_jax/staged/` (`~/.cache/...`), several at a time. A copy that was
cut short goes on where it was; of one that is there only what has changed in the bucket
is copied again.
"""

import concurrent.futures
import contextlib
import fcntl
import functools
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping

from spade_jax.files import bucket
from spade_jax.files.bucket import BucketError, Object
from spade_jax.files.places import AnyPath, cache_directory, in_bucket, place
from spade_jax.files.whole import replacing
from spade_jax.progress import phase

_AT_A_TIME = 8  # files
_LEFT = 2**28  # bytes that are left free on the disk


def staged(path: str | os.PathLike[str]) -> pathlib.Path:
    """A file or directory as one of this machine: itself, or a copy of a bucket's.

    Args:
      path: in a bucket a directory with all that is below it. It is looked at once a
        process.

    Raises:
      FileNotFoundError: the bucket has nothing of that name.
      ValueError: the copy would not fit on the disk, or no home directory is known.
      BucketError: the bucket does not answer, or what came is not what it has.
    """
    return _staged(os.fspath(path)) if in_bucket(path) else pathlib.Path(path)


@functools.cache
def _staged(path: str) -> pathlib.Path:
    source = place(path)
    found = bucket.objects(source)
    if is_file := not found:
        try:
            found = {source.name: bucket.look(source)}
        except FileNotFoundError as error:
            message = f"{source}: there is nothing of that name in the bucket."
            raise FileNotFoundError(message) from error
    target = _target(source)
    directory, origin = target, source
    if is_file:
        directory, origin = target.parent, source.parent
    with _alone(target) as record:
        _update(origin, directory, found, record)
    return target


def _target(source: AnyPath) -> pathlib.Path:
    cache = cache_directory()
    if cache is None:
        raise ValueError(
            f"{source} has to be copied to this machine, and no home directory is known"
            " (HOME is not set). XDG_CACHE_HOME=DIR says where to."
        )
    return cache / "staged" / os.fspath(source).removeprefix(bucket.SCHEME)


@contextlib.contextmanager
def _alone(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives the file in which it is kept what was copied, to one process at a time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    record = target.with_name(f".{target.name}.staged")
    with record.with_name(f"{record.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield record


def _update(
    source: AnyPath,
    directory: pathlib.Path,
    found: Mapping[str, Object],
    record: pathlib.Path,
) -> None:
    """Copies what is missing, or has changed, and removes what is no longer there."""
    for name in found:
        if not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise ValueError(f"{source} holds {name!r}, which is the name of no file.")
    kept = _read(record)
    for name in kept.keys() - found.keys():
        (directory / name).unlink(missing_ok=True)
    kept = {name: crc for name, crc in kept.items() if name in found}
    _write(record, kept)
    missing = {
        name: of
        for name, of in found.items()
        if kept.get(name) != of.crc32c or _size(directory / name) != of.size
    }
    if not missing:
        return
    size = sum(of.size for of in missing.values())
    free = shutil.disk_usage(record.parent).free
    if size > free - _LEFT:
        raise ValueError(
            f"{source} has to be copied to {directory}: {size / 2**30:.1f} GiB, and"
            f" {free / 2**30:.1f} GiB are free there. Make room, or give a larger disk"
            " with XDG_CACHE_HOME=DIR."
        )
    with (
        phase(
            f"Copying {source} to {directory} ({size / 2**20:,.0f} MiB)",
            usually="once: what is copied is kept",
            total=len(missing),
            unit="files",
        ) as copying,
        concurrent.futures.ThreadPoolExecutor(_AT_A_TIME) as threads,
        record.open("a", encoding="utf-8") as lines,
    ):
        running = {
            threads.submit(_copy, source / name, directory / name, of): name
            for name, of in missing.items()
        }
        try:
            for done, copied in enumerate(
                concurrent.futures.as_completed(running), start=1
            ):
                copied.result()
                name = running[copied]
                lines.write(json.dumps([name, missing[name].crc32c]) + "\n")
                lines.flush()
                copying.at(done)
        finally:
            threads.shutdown(cancel_futures=True)


def _copy(file: AnyPath, to: pathlib.Path, of: Object) -> None:
    with replacing(to) as unfinished:
        # It is held against its CRC32C as it comes.
        bucket.download(file, unfinished)
        if unfinished.stat().st_size != of.size:
            raise BucketError(
                f"{file} has changed while it was copied: give the same command again."
            )


def _read(record: pathlib.Path) -> dict[str, str]:
    """CRC32C of the files that are whole, by their names."""
    kept = {}
    with contextlib.suppress(FileNotFoundError):
        for line in record.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # One that was cut short.
                name, kept[name] = json.loads(line)
    return kept


def _write(record: pathlib.Path, kept: Mapping[str, str]) -> None:
    lines = [json.dumps(list(item)) + "\n" for item in kept.items()]
    with replacing(record) as unfinished:
        unfinished.write_text("".join(lines), encoding="utf-8")


def _size(file: pathlib.Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
