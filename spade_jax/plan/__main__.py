"""Plans a training run on TPUs, on a machine without one.

python -m spade_jax.plan --config=configs/coco.py --topology=v5e:2x4 \
    --config.dtype=bfloat16

It compiles the whole train step for the chips and tells their memory, the arithmetic
and the traffic of a step, its collectives, the least time these take and the days of
the recipe. It needs libtpu (pip install 'spade-jax[tpu]'), no data and no weights. At
full size compiling takes many minutes; the result is kept.
"""

from spade_jax.commands import beginning, ending

if __name__ == "__main__":
    beginning.importing()

import json
import sys
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags
from ml_collections import config_flags

from spade_jax.commands import command_line
from spade_jax.files import outputs
from spade_jax.files.outputs import Outputs
from spade_jax.files.places import cache_directory
from spade_jax.plan import counted, report
from spade_jax.plan.chips import parse_topology
from spade_jax.progress import phase, result
from spade_jax.recipe import closed, describe

_CONFIG = command_line.config_flag("Recipe, for example configs/coco.py.")
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
_QUIET, _LOG_JSON = command_line.output_flags()
_JSON = command_line.path_flag("json", None, "File to write the plan to.")


def main(argv: Sequence[str]) -> None:
    """Makes and prints a plan; exits with status 1 if the step does not fit."""
    fields = command_line.fields_without_config(argv)
    command_line.log_what_matters(quiet=_QUIET.value, log_json=_LOG_JSON.value)
    # libtpu would otherwise look for TPUs, and take those that are here.
    jax.config.update("jax_platforms", "cpu")
    # See spade_jax.plan.kept.
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        if fields:
            raise ValueError(f"{fields[0]}: --config=FILE is missing, of which it is.")
        claimed = _claimed(_JSON.value)
        plan = _plan()
        result(report.describe(plan, title=_config_file()), plan=plan)
        if claimed is not None and _JSON.value:
            text = json.dumps({"config": _config_file()} | plan, indent=1)
            with claimed.replacing(_JSON.value) as unfinished:
                unfinished.write_text(text + "\n")
    except (ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    if not plan["fits"]:
        sys.exit(1)


def _plan():
    config = _given(_CONFIG, "configs/coco.py")
    topology = _given(_TOPOLOGY, "v5e:2x4")
    cache = cache_directory()
    if cache is None:
        raise ValueError(
            "No home directory is known (HOME is not set), and compiled steps are kept:"
            " XDG_CACHE_HOME=DIR says where."
        )
    recipe = closed(describe(config), looks="a plan")
    chips = parse_topology(topology)
    with phase(
        f"Planning {_config_file()} on {topology}",
        usually="minutes the first time, seconds where the compiled step is kept",
    ):
        return report.make_plan(
            recipe,
            chips,
            num_examples=_NUM_EXAMPLES.value,
            distinct=counted.parse_distinct(_DISTINCT.value),
            cache=cache / "plans",
        )


def _claimed(file: str | None) -> Outputs | None:
    """The right to write the plan to a file, where that is wanted."""
    if not file:
        return None
    return outputs.claim_file(file, command="plan", flag="--json", inputs={})


def _given(flag: flags.FlagHolder, example: str) -> Any:
    if flag.value is None:
        raise ValueError(f"--{flag.name} is missing, for example {example}.")
    return flag.value


def _config_file() -> str:
    return config_flags.get_config_filename(flags.FLAGS["config"])


if __name__ == "__main__":
    beginning.imported()
    ending.run(lambda: app.run(main, flags_parser=command_line.parse_flags))
