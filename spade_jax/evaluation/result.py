"""The result of an evaluation: a file that says what was measured and how, and a table.

`WORKDIR/eval/PROTOCOL/eval-STEP.json`
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from spade_jax import files
from spade_jax.evaluation import sources
from spade_jax.evaluation.evaluator import Evaluator, Scores
from spade_jax.files import provenance
from spade_jax.files.finite import without_nan
from spade_jax.files.places import AnyPath, place
from spade_jax.metrics import own_segmenter, published_results, segmentation
from spade_jax.recipe import Recipe

# Beside the project's own: what the numbers depend on.
_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "scipy", "pillow")
# mIoU of real pictures, in percent: about half of what the segmenter finds that comes
# with the project.
_USEFUL = 35.0
# What a table calls the scores, and what they are compared with in published results.
_ROWS = {
    "fid": ("FID", "fid"),
    "fd_own": ("FD-own", None),
    "kid": ("KID", None),
    "kd_own": ("KD-own", None),
    "mean_iou": ("mIoU, %", "mean_iou"),
    "accuracy": ("accuracy, %", "accuracy"),
    "labelled_accuracy": ("accuracy of labelled pixels, %", None),
    "mean_accuracy": ("mean accuracy of classes, %", None),
    "l1": ("L1 to the real picture", None),
    "perceptual": ("perceptual distance to it", None),
    "diversity": ("diversity (LPIPS)", None),
}


def directory(workdir: str | os.PathLike[str]) -> AnyPath:
    """Where a work dir keeps everything about its evaluations."""
    return place(workdir) / "eval"


def path(workdir: str | os.PathLike[str], protocol: str, step: int) -> AnyPath:
    """The file of a checkpoint's result by a protocol."""
    return directory(workdir) / protocol / f"eval-{step}.json"


def metric(protocol: str, score: str) -> str:
    """The name of a protocol's score among a run's metrics."""
    return f"eval/{protocol}/{score}"


def metrics(protocol: str, scores: Mapping[str, float]) -> dict[str, float]:
    """A protocol's scores by their names among a run's metrics."""
    return {metric(protocol, name): value for name, value in scores.items()}


def describe(
    evaluator: Evaluator,
    scores: Scores,
    *,
    recipe: Recipe,
    workdir: str | os.PathLike[str],
    step: int,
    seconds: float,
    untrained: Mapping[str, float] | None = None,
    diversity: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the file of a result holds.

    Args:
      evaluator: that measured.
      scores: what it measured.
      recipe: of the model, with the data that it was measured on.
      workdir: of the model.
      step: iterations that it was trained for.
      seconds: that it took.
      untrained: scores of the model before its first iteration, or None.
      diversity: how it was measured, or None where it was not.
    """
    protocol, of = evaluator.protocol, recipe.data
    is_own = protocol.segmenter.network == own_segmenter.NETWORK
    ceiling = evaluator.ceiling if is_own else {}
    return {
        "step": step,
        "scores": scores.values,
        "untrained": untrained,
        "ceiling": ceiling or None,
        "target": target(sources.dataset(of), protocol.name),
        "warnings": [*scores.warnings, *worth(ceiling.get("mean_iou"))],
        "dataset": {
            "source": of.source,
            "root": of.root or of.manual_dir or None,
            "split": of.val_split,
            "pictures": scores.pictures,
            "reference_pictures": evaluator.reference.statistics.count,
        },
        "protocol": protocol.description(),
        "diversity": diversity,
        "networks": evaluator.observers.description,
        "model": {
            "workdir": os.fspath(workdir),
            "ema": recipe.schedule.ema_decay > 0,
        },
        "classes": segmentation.class_rows(
            scores.confusion, evaluator.observers.class_names
        ),
        "seconds": seconds,
        "versions": {
            **provenance.versions(_PACKAGES),
            "git_revision": provenance.git_revision(),
        },
    }


def write(file: AnyPath, result: Mapping[str, Any]) -> None:
    """Writes a result; what was there stays until the new file is whole.

    What does not exist, such as the IoU of an absent class, is null.
    """
    told = json.dumps(without_nan(result), indent=1) + "\n"
    with files.replacing(file) as unfinished:
        unfinished.write_text(told, encoding="utf-8")


def target(dataset: str, protocol: str) -> dict[str, Any] | None:
    """SPADE's published result by a protocol, for the file; None without one."""
    found = published_results.target(dataset, protocol)
    return None if found is None else found._asdict()


def table(result: Mapping[str, Any]) -> str:
    """Measured scores beside the published target and what else is known.

    That is the scores of real pictures, and of the model before it was trained.
    """
    published_scores, ceiling = result["target"] or {}, result["ceiling"] or {}
    untrained = result["untrained"] or {}
    columns = ["measured"]
    columns += ["published"] * bool(published_scores)
    columns += ["untrained"] * bool(untrained)
    columns += ["real pictures"] * bool(ceiling)
    lines = [f"{'':30}" + "".join(f"{column:>15}" for column in columns)]
    for name, value in result["scores"].items():
        if name not in _ROWS:
            continue
        title, published_name = _ROWS[name]
        cells = [_cell(value)]
        if published_scores:
            cells.append(_cell(published_scores.get(published_name)))
        if untrained:
            cells.append(_cell(untrained.get(name)))
        if ceiling:
            cells.append(_cell(ceiling.get(name)))
        lines.append(f"{title:30}" + "".join(f"{cell:>15}" for cell in cells))
    data, protocol = result["dataset"], result["protocol"]["name"]
    head = (
        f"Step {result['step']} by --protocol={protocol}: {data['pictures']} pictures"
        f" of {data['source']}/{data['split']}"
    )
    if published_scores:
        head += f"; published: {published_scores['source']}"
    return "\n".join([head, *lines, *result["warnings"]])


def worth(mean_iou: float | None) -> tuple[str, ...]:
    """A warning where what a segmenter finds says little.

    Args:
      mean_iou: of what it finds on real pictures, in percent; None: not known.
    """
    if mean_iou is None or mean_iou >= _USEFUL:
        return ()
    return (
        f"The segmenter finds an mIoU of only {mean_iou:.1f} % in real pictures: mIoU,"
        " accuracy and FD-own by it are worth little, and hardly say which of two"
        " models is better. Judge by the pictures, and train a better segmenter:"
        " --mode=train_segmenter with more pictures or a higher"
        " config.segmenter.num_steps.",
    )


def _cell(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
