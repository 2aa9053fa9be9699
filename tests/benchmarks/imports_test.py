"""The benchmarks beside PyTorch run where nothing that reads data is installed."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

SCRIPT = """
    import sys

    BLOCKED = {"tensorflow", "clu", "tensorflow_datasets", "grain", "ml_collections"}


    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in BLOCKED:
                raise ImportError(f"{name} is blocked")


    sys.meta_path.insert(0, Blocker())

    from benchmarks import variants, versus_pytorch
    from benchmarks.gpu import __main__, camvid, sections, tables
    from benchmarks.versus import kinds, table, timing

    problem = variants.Problem(num_classes=5, size=32, width=2, hidden=4)
    bench = timing.Bench(problem, root=sys.argv[1], repeats=1, limit=1, peak=1e9)
    layouts = kinds.typical(bench, problem)
    (layout,) = layouts.values()
    for kind in kinds.KINDS.values():
        variant = kind.make(kind.ours[0], problem)
        print(kind.name, kind.flops(problem, variant, layout) > 0)
    run = kinds.INFERENCE_KIND.make(kinds.FACTORED, problem).prepare(layout)
    print(*run().shape)
"""


@pytest.mark.long
def test_versus_pytorch_needs_nothing_that_reads_data(repository, tmp_path):
    pytest.importorskip("torch")
    for name in ("val_label", "val_inst"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / name / "a.png")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "inference True",
        "training True",
        "1 32 32 3",
    ]
