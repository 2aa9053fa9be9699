"""npm: files out of its packages, without installing them."""

import pathlib
import subprocess
import tarfile
from collections.abc import Sequence


def unpack(
    package: str, members: Sequence[str], directory: pathlib.Path, *, npm: str
) -> None:
    """Fetches a package, and writes some of its files.

    Args:
      package: its name and version, `NAME@VERSION`.
      members: paths of the files in it; they are written by their names.
      directory: of the files; it is there, and holds no archive.
      npm: the program.

    Raises:
      RuntimeError: npm finds no package index, or no such package.
    """
    pack = [npm, "pack", package, "--silent", "--pack-destination", str(directory)]
    packed = subprocess.run(pack, capture_output=True, text=True, check=False)
    if packed.returncode:
        raise RuntimeError(f"npm pack {package}: {packed.stderr.strip()}")
    (archive,) = directory.glob("*.tgz")
    with tarfile.open(archive) as tar:
        for path in members:
            member = tar.extractfile(f"package/{path}")
            assert member is not None
            name = pathlib.PurePosixPath(path).name
            (directory / name).write_bytes(member.read())
    archive.unlink()
