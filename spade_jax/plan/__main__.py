"""Plans a training run on TPUs, on a machine without one.

python -m spade_jax.plan --config=configs/coco.py --topology=v5e:2x4 \
    --config.dtype=bfloat16

It compiles the whole train step for the chips and tells their memory, the arithmetic
and the traffic of a step, its collectives, the least time these take and the days of
the recipe. It needs libtpu (pip install 'spade-jax[tpu]'), no data and no weights. At
full size compiling takes many minutes; the result is kept.
"""

import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags
from ml_collections import config_flags

from spade_jax.commands import command_line
from spade_jax.plan import counted, report
from spade_jax.plan.chips import parse_topology
from spade_jax.recipe import describe

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Recipe, for example configs/coco.py.", lock_config=True
)
_TOPOLOGY = flags.DEFINE_string("topology", None, "TPUs, for example v5e:2x4.")
_NUM_EXAMPLES = flags.DEFINE_integer(
    "num_examples",
    None,
    "Training pictures; by default those of the published dataset.",
    lower_bound=1,
)
_DISTINCT = flags.DEFINE_list(
    "distinct",
    [f"{width}:{share}" for width, share in counted.DISTINCT.items()],
    "With config.factored=True: WIDTH:SHARE,..., the share of the pixels of a scale of"
    " that width whose neighbourhoods are distinct.",
)
_JSON = flags.DEFINE_string("json", None, "File to write the plan to.")


def main(argv: Sequence[str]) -> None:
    """Makes and prints a plan; exits with status 1 if the step does not fit."""
    if len(argv) > 1:
        sys.exit(f"Arguments without a flag: {' '.join(argv[1:])}")
    # libtpu would otherwise look for TPUs, and take those that are here.
    jax.config.update("jax_platforms", "cpu")
    # See spade_jax.plan.kept.
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        plan = _plan()
    except ValueError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(report.describe(plan, title=_config_file()))
    if _JSON.value:
        written = {"config": _config_file()} | plan
        pathlib.Path(_JSON.value).write_text(json.dumps(written, indent=1) + "\n")
    if not plan["fits"]:
        sys.exit(1)


def _plan():
    config = _given(_CONFIG, "configs/coco.py")
    topology = _given(_TOPOLOGY, "v5e:2x4")
    if _JSON.value and not pathlib.Path(_JSON.value).parent.is_dir():
        raise ValueError(f"--json={_JSON.value}: its directory does not exist.")
    return report.make_plan(
        describe(config),
        parse_topology(topology),
        num_examples=_NUM_EXAMPLES.value,
        distinct=counted.parse_distinct(_DISTINCT.value),
        cache=_cache(),
    )


def _given(flag: flags.FlagHolder, example: str) -> Any:
    if flag.value is None:
        raise ValueError(f"--{flag.name} is missing, for example {example}.")
    return flag.value


def _cache() -> pathlib.Path:
    directory = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return pathlib.Path(directory).expanduser() / "spade_jax" / "plans"


def _config_file() -> str:
    return config_flags.get_config_filename(flags.FLAGS["config"])


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_flags)
