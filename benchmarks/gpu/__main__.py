"""What has to be measured on a GPU, by one command; see the package.

    python -m benchmarks.gpu --out=DIR
    python -m benchmarks.gpu --out=DIR --sections=parity,training_dense_8

It takes `--minutes` at most, compilation included, and ends earlier where all is done.
In `DIR/gpu.json` is everything, with the machine; `DIR/*.hlo.txt.gz` are the programs
as compiled. XLA_FLAGS and JAX_COMPILATION_CACHE_DIR count as always, and are noted.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from benchmarks.gpu import report
from benchmarks.gpu.order import SECTIONS

_SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
_SLOWER = 20  # than a GPU, by which limits are larger where everything is tiny


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--out", required=True, help="directory for the report; made if need be")
    add("--sections", help="names, in the order to run; without it: all, by worth")
    add("--minutes", type=float, default=8.0, help="for all; default %(default)s")
    add("--root", help="directory with val_label and val_inst; without it: drawn ones")
    add("--tiny", action="store_true", help="everything small, to try it on a CPU")
    add("--section", help=argparse.SUPPRESS)  # only that one, in this process
    return parser.parse_args(arguments)


def setting(options: argparse.Namespace):
    """What the command line asks for, as sections take it."""
    from benchmarks.gpu.sections import Setting
    from benchmarks.variants import Problem

    small = Problem(num_classes=5, size=32, width=2, hidden=4)
    shared = {"root": options.root, "out": pathlib.Path(options.out)}
    if options.tiny:
        problem = Problem(num_classes=5, size=32, width=2, hidden=4, dtype="bfloat16")
        return Setting(
            problem=problem,
            small=small,
            product=64,
            copy_mib=1,
            seconds=0.01,
            **shared,
        )
    return Setting(
        problem=Problem(dtype="bfloat16"),
        small=Problem(num_classes=20, size=64, width=8, hidden=32),
        product=8192,
        copy_mib=4096,
        seconds=1.5,
        **shared,
    )


def main(options: argparse.Namespace) -> int:
    """Runs what is asked for; gives 1 where something failed or is not right."""
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    if options.section:
        from benchmarks.gpu import sections

        for row in getattr(sections, options.section)(setting(options)):
            print(report.ROW + json.dumps(row), flush=True)
        return 0
    names = options.sections.split(",") if options.sections else list(SECTIONS)
    if unknown := [name for name in names if name not in SECTIONS]:
        print(
            f"--sections: there is no {', '.join(unknown)}; there are"
            f" {', '.join(SECTIONS)}.",
            file=sys.stderr,
        )
        return 1
    found = report.gather(
        lambda name: _command(options, name),
        {
            name: (_SLOWER if options.tiny else 1) * SECTIONS[name].limit
            for name in names
        },
        out=out,
        seconds=60 * options.minutes,
        heading={"command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]])},
        environments={name: _SHARED for name in names if SECTIONS[name].shares},
    )
    # Not before: it imports both frameworks, and the sections have their own.
    from benchmarks.gpu import tables

    print("\n" + tables.text(found))
    rows = [row for s in found["sections"].values() for row in s["rows"]]
    failed = [s for s in found["sections"].values() if s["ended"] != "well"]
    wrong = [row for row in rows if not row.get("right", True) or "where" in row]
    return 1 if failed or wrong else 0


def _command(options: argparse.Namespace, section: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", f"--section={section}"]
    command.append(f"--out={options.out}")
    command += [f"--root={options.root}"] if options.root else []
    return command + (["--tiny"] if options.tiny else [])


if __name__ == "__main__":
    sys.exit(main(parse()))
