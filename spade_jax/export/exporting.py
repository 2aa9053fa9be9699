"""A model written as files: which, where, and the card beside them."""

import json
import os
import pathlib
import tempfile
from collections.abc import Sequence

from spade_jax.export import card, onnx_file, programs, saved_model
from spade_jax.export.onnx_file import PRECISIONS
from spade_jax.files import bucket, outputs
from spade_jax.files.places import AnyPath, place
from spade_jax.models.opening import find, load_model
from spade_jax.workdir import paths

__all__ = ["FORMATS", "PRECISIONS", "export"]

FORMATS = ("jax", "onnx", "saved_model")


def export(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str | None = None,
    precision: str = "float32",
) -> list[AnyPath]:
    """Writes a model's programs, and the card that describes them.

    Args:
      path: of the model; see `spade_jax.models.predictor.load`.
      out: file for the generator. The encoder's has `.encoder` before the suffix, and
        the card has the suffix `.json`. For a SavedModel the directory of both. Its
        own directory is created where missing.
      format: one of `FORMATS`; None: "onnx" for a file with the suffix .onnx, else
        "jax".
      precision: of the weights in an ONNX file, one of `PRECISIONS`.

    Returns:
      What was written, the card last.

    Raises:
      CheckpointError: there is no model.
      ValueError: `out` cannot be written to, or not so, or something would be lost,
        see `spade_jax.files.outputs.claim`; or see `spade_jax.models.predictor.load`
        and `onnx_file.contents`.
      ImportError: the package that the format is written with is not installed:
        flatbuffers, onnx or TensorFlow.
    """
    out = place(out)
    if format is None:
        format = "onnx" if out.suffix.lower() == ".onnx" else "jax"
    _check(out, format, precision)
    model = load_model(path, portable=True)
    card_file = out.with_suffix(".json")
    names = [(out.name, "the generator"), (card_file.name, "the card")]
    if model.encoder is not None and format != "saved_model":
        names.append((programs.file_name(out, "encoder").name, "the encoder"))
    claimed = outputs.claim(
        out.parent,
        names,
        command="export",
        flag="--out",
        inputs={"PATH": paths.checkpoints(find(path)[0])},
    )
    _check_card(card_file, [name for name, _ in names])
    if format == "onnx":
        described = card.describe(
            model,
            form=onnx_file.form(precision=precision),
            any_size=onnx_file.takes_any_size(model),
        )
        graphs = onnx_file.graphs(model, precision=precision)
        contents = onnx_file.contents(graphs, described)
        written = _write(out, contents, described, claimed)
    else:
        found = programs.programs(model)
        described = card.describe(model, form=programs.form(model))
        if format == "saved_model":
            described["format"] = "saved_model"
            _write_saved_model(out, found, described["programs"])
            written = [out]
        else:
            for name, program in found.items():
                version = program.calling_convention_version
                described["programs"][name]["calling_convention"] = version
            contents = {name: program.serialize() for name, program in found.items()}
            written = _write(out, contents, described, claimed)
    # Last, so that a card never tells of programs that are not there.
    with claimed.replacing(card_file) as unfinished:
        text = json.dumps(described, indent=1, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return [*written, card_file]


def _write_saved_model(out: AnyPath, found, described) -> None:
    if isinstance(out, pathlib.Path):
        saved_model.write(out, found, described)
        return
    with tempfile.TemporaryDirectory() as directory:
        saved_model.write(directory, found, described)
        # Last the file by which TensorFlow knows such a directory.
        made = [path for path in pathlib.Path(directory).rglob("*") if path.is_file()]
        for file in sorted(made, key=lambda path: path.name == "saved_model.pb"):
            bucket.upload(file, out / file.relative_to(directory).as_posix())


def _write(out, contents, described, claimed) -> list[AnyPath]:
    """Writes files, and adds what there is to say of them to the card."""
    files = programs.write(out, contents, replacing=claimed.replacing)
    for name, file in files.items():
        described["programs"][name] |= file
    return [out.with_name(file["file"]) for file in files.values()]


def _check_card(path: AnyPath, names: Sequence[str]) -> None:
    """Refuses to replace the card of files that stay, as `a.jax` has that of `a.onnx`.

    Args:
      path: of the card, which need not be there.
      names: of the files that are written beside it.
    """
    if not path.is_file():
        return
    described = json.loads(path.read_text(encoding="utf-8"))["programs"].values()
    # A SavedModel is a directory of the card's name.
    theirs = [program.get("file", path.stem) for program in described]
    left = [x for x in theirs if x not in names and path.with_name(x).exists()]
    if left:
        raise ValueError(
            f"--out: {path} is the card of {left[0]}, which would be left without one."
            f" Give another name, as {path.stem}_2{pathlib.Path(names[0]).suffix}, or"
            f" move {left[0]} away."
        )


def _check(out: AnyPath, format: str, precision: str) -> None:
    for name, value, choices in (
        ("format", format, FORMATS),
        ("precision", precision, PRECISIONS),
    ):
        if value not in choices:
            raise ValueError(f"{name}={value!r} is not one of {', '.join(choices)}.")
    if format == "saved_model" and out.exists():
        raise ValueError(f"--out={out} exists already. Give another directory.")
    if out.is_dir():
        raise ValueError(f"--out={out} is a directory. Give a file, as model.jax.")
    if out.name.lower() == ".onnx":
        raise ValueError(f"--out={out} is a suffix alone. Give a file, as model.onnx.")
    if os.fsencode(out.name).decode(errors="replace") != out.name:
        raise ValueError(f"--out={out}: the card has this name, which is no text.")
    if out.suffix.lower() == ".json":
        raise ValueError(
            f"--out={out}: the card gets this name. Give another suffix, as in"
            f" {out.with_suffix('.jax')}."
        )
    if (format == "onnx") != (out.suffix.lower() == ".onnx"):
        raise ValueError(
            f"--out={out} --format={format}: files of ONNX, and no others, have the"
            " suffix .onnx. Leave --format out, or give another suffix."
        )
    if format != "onnx" and precision != "float32":
        raise ValueError(
            f"--precision={precision} is for files of ONNX. Give --out=FILE.onnx, or"
            " leave it out."
        )
    if format == "onnx":
        onnx_file.import_onnx()
