"""Runs the notebooks from top to bottom and keeps what they show.

    python notebooks/run.py [NAME.ipynb ...]

Without names it is all of them. What would tell of this machine is left out: versions,
times, and the directories that it was done in.
"""

import os
import pathlib
import re
import sys
import tempfile

import nbformat
from nbclient import NotebookClient

from spade_jax.files.whole import replacing

_NOTEBOOKS = pathlib.Path(__file__).resolve().parent
# A cell may train for some minutes.
_SECONDS_PER_CELL = 1800


def main(paths: list[pathlib.Path]) -> None:
    """Executes notebooks in place; one that fails stays as it was.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell did.
      SystemExit: there is no such notebook.
    """
    if missing := [str(path) for path in paths if not path.is_file()]:
        sys.exit(f"There is no notebook {', '.join(missing)}.")
    # Where TPUs' library is installed it would say that there are none.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    for path in paths:
        print(path.name, flush=True)
        notebook = nbformat.read(path, as_version=4)
        # Elsewhere than in the repository, as those who installed the package are.
        with tempfile.TemporaryDirectory() as directory:
            NotebookClient(
                notebook,
                timeout=_SECONDS_PER_CELL,
                record_timing=False,
                coalesce_streams=True,
                resources={"metadata": {"path": directory}},
            ).execute()
        forget_machine(notebook)
        with replacing(path) as unfinished:
            nbformat.write(notebook, unfinished)


def forget_machine(notebook: nbformat.NotebookNode) -> None:
    """Takes versions, times and directories of this machine out of what was shown."""
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text" in output:
                output["text"] = _without_machine(output["text"])
            data = output.get("data", {})
            if "text/plain" in data:
                data["text/plain"] = _without_machine(data["text/plain"])


def _without_machine(text: str) -> str:
    text = re.sub(r"^\d\d:\d\d:\d\d ", "", text, flags=re.MULTILINE)
    # tempfile's names are tmp and eight characters.
    temporary = re.escape(tempfile.gettempdir())
    text = re.sub(rf"{temporary}/tmp\w{{8}}", "/tmp/notebook", text)
    for directory in (_NOTEBOOKS.parent, sys.prefix, pathlib.Path.home()):
        text = text.replace(f"{directory}/", "")
    return text


if __name__ == "__main__":
    main(list(map(pathlib.Path, sys.argv[1:])) or sorted(_NOTEBOOKS.glob("*.ipynb")))
