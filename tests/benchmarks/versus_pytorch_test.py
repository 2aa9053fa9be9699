import dataclasses
import json

import numpy as np
import pytest

from benchmarks import variants, versus_pytorch
from benchmarks.versus import family, kinds, memory
from benchmarks.versus.report import markdown
from benchmarks.versus.table import side_by_side
from benchmarks.versus.timing import Bench

TINY = variants.Problem(num_classes=5, size=32, width=2, hidden=4)
BENCH = Bench(TINY, root=None, repeats=1, limit=2, peak=1e9)
FEW = dataclasses.replace(
    kinds.INFERENCE_KIND,
    ours=(kinds.DENSE, kinds.FACTORED),
    candidates=(kinds.CHANNELS_LAST,),
)


@pytest.mark.long
def test_a_table_compares_all_variants():
    table = side_by_side(BENCH, FEW, BENCH.layouts(TINY))
    rows = {row["variant"]: row for row in table.rows}
    official = rows[kinds.OFFICIAL]
    assert official["x official"] == 1
    assert rows[kinds.BEST]["x best"] == 1
    dense, factored = rows[kinds.DENSE], rows[kinds.FACTORED]
    assert official["GFLOP"] == dense["GFLOP"] > factored["GFLOP"]
    assert list(factored["seconds_by_layout"]) == ["landscape 0", "landscape 1"]
    assert json.loads(json.dumps(table.rows)) == table.rows

    text = markdown(table).splitlines()
    assert text[0].startswith("### Inference, 32x32")
    header, _, *lines = [line for line in text if line.startswith("|")]
    assert len(lines) == len(rows)
    assert {line.count("|") for line in lines} == {header.count("|")}
    assert kinds.CHANNELS_LAST in text[-1]


@pytest.mark.long
def test_bfloat16_is_beside_mixed_precision():
    problem = dataclasses.replace(TINY, dtype="bfloat16")
    bench = dataclasses.replace(BENCH, problem=problem, limit=1)
    rows = {
        row["variant"]: row["difference"]
        for row in side_by_side(bench, FEW, bench.layouts(problem)).rows
        if "difference" in row
    }
    # From the official program, which computes in float32 whatever the rest does.
    for name in (kinds.BEST, kinds.DENSE, kinds.FACTORED):
        assert 1e-4 < rows[name] < 0.1


@pytest.mark.long
def test_a_variant_that_computes_something_else_is_refused():
    def wrong(problem, name):
        variant = variants.our_inference(problem, name)

        def prepare(layout):
            run = variant.prepare(layout)
            return lambda: run() + 0.01

        return variant._replace(prepare=prepare)

    some_wrong = dataclasses.replace(FEW, variants=FEW.variants | {kinds.DENSE: wrong})
    with pytest.raises(RuntimeError, match="spade_jax, dense, frozen"):
        side_by_side(BENCH, some_wrong, BENCH.layouts(TINY))


@pytest.mark.long
def test_the_family_is_timed():
    problem = dataclasses.replace(TINY, size=64, width=1)
    bench = dataclasses.replace(BENCH, problem=problem, limit=1)
    pictures = family.pictures(bench, ["CLADE", "OASIS", "OASIS with CLADE"])
    iterations = family.iterations(bench, ["OASIS"])
    for row in [*pictures.rows, *iterations.rows]:
        assert row["dense"] > 0
        assert row["factored"] > 0
    by_name = {row["network"]: row for row in pictures.rows}
    assert "restyling" in by_name["CLADE"]
    # There the style is in every modulation.
    assert "restyling" not in by_name["OASIS"]
    parameters = {name: row["parameters, M"] for name, row in by_name.items()}
    assert parameters["OASIS with CLADE"] < parameters["OASIS"]


@pytest.mark.long
def test_memory_is_that_of_the_network_that_is_named():
    problem = dataclasses.replace(TINY, size=64, width=1)
    bench = dataclasses.replace(BENCH, problem=problem, limit=1)
    for network in variants.FAMILY:
        found = memory.probe(bench, "inference", kinds.DENSE, network=network)
        assert found["peak_mib"] >= found["running_mib"]
        assert np.isfinite(found["start_seconds"])


def test_sections_are_chosen_on_the_command_line():
    options = versus_pytorch.parse(["--sections=growth,training", "--repeats=5"])
    assert options.sections == "growth,training"
    assert options.repeats == 5
    assert set(versus_pytorch.parse([]).sections.split(",")) == set(
        versus_pytorch.SECTIONS
    )
