"""A trained model as a file that runs with JAX alone.

    python -m spade_jax.export PATH --out=FILE
    python -m spade_jax.export PATH --out=DIR --format=saved_model

In comes a model's path; out goes FILE, the generator with its weights, for batches of
any size, on CPUs, CUDA GPUs and TPUs, as `jax.export` writes it (StableHLO). The
encoder of a VAE model goes beside it, and so does a card in JSON that says what goes in
and what comes out. See `docs/export.md`.

    programs.py     the networks as programs of `jax.export`, and their files
    saved_model.py  the same programs for TensorFlow
    card.py         what one has to know to use them
    __main__.py     the command

May import: jax, tensorflow, `assemble`, `files`, `layout`, `models`, `workdir`.
"""

import json
import os
import pathlib

from spade_jax.export import card, programs, saved_model
from spade_jax.files import outputs
from spade_jax.models.opening import find, load_model
from spade_jax.workdir import paths

__all__ = ["FORMATS", "export"]

FORMATS = ("jax", "saved_model")


def export(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str = "jax",
) -> list[pathlib.Path]:
    """Writes a model's programs, and the card that describes them.

    Args:
      path: of the model; see `spade_jax.models.predictor.load`.
      out: file for the generator. The encoder's has `.encoder` before the suffix, and
        the card has the suffix `.json`. For a SavedModel the directory of both.
      format: one of `FORMATS`.

    Returns:
      What was written, the card last.

    Raises:
      CheckpointError: there is no model.
      ValueError: `out` cannot be written to, or something would be lost, see
        `spade_jax.files.outputs.claim`; or see `spade_jax.models.predictor.load`.
      ImportError: flatbuffers, which `jax.export` writes with, is not installed.
    """
    out = pathlib.Path(out)
    _check_out(out, format)
    model = load_model(path, portable=True)
    card_file = out.with_suffix(".json")
    names = [(out.name, "the generator"), (card_file.name, "the card")]
    if model.encoder is not None and format == "jax":
        names.append((programs.file_name(out, "encoder").name, "the encoder"))
    claimed = outputs.claim(
        out.parent,
        names,
        command="export",
        flag="--out",
        inputs={"PATH": paths.checkpoints(find(path)[0])},
    )
    found, described = programs.programs(model), card.describe(model)
    if format == "saved_model":
        saved_model.write(out, found, described["programs"])
        described["format"] = "saved_model"
        written = [out]
    else:
        files = programs.write(out, found, replacing=claimed.replacing)
        for name, file in files.items():
            described["programs"][name] |= file
        written = [out.with_name(file["file"]) for file in files.values()]
    # Last, so that a card never tells of programs that are not there.
    with claimed.replacing(card_file) as unfinished:
        text = json.dumps(described, indent=1, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return [*written, card_file]


def _check_out(out: pathlib.Path, format: str) -> None:
    if not out.parent.is_dir():
        raise ValueError(f"--out={out}: its directory does not exist. Create it first.")
    if format == "saved_model" and out.exists():
        raise ValueError(f"--out={out} exists already. Give another directory.")
    if out.is_dir():
        raise ValueError(f"--out={out} is a directory. Give a file, as model.jax.")
    if out.suffix == ".json":
        raise ValueError(
            f"--out={out}: the card gets this name. Give another suffix, as in"
            f" {out.with_suffix('.jax')}."
        )
