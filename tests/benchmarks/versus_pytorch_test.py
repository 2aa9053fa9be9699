import json

import pytest

from benchmarks import variants, versus_pytorch

TINY = variants.Problem(num_classes=5, size=32, width=2, hidden=4)
BENCH = versus_pytorch.Bench(TINY, root=None, repeats=1, limit=2, peak=1e9)
CANDIDATE = "PyTorch, channels_last"


@pytest.fixture(autouse=True)
def few_variants(monkeypatch):
    ours = (versus_pytorch.DENSE, versus_pytorch.FACTORED)
    monkeypatch.setattr(versus_pytorch, "OURS", {"inference": ours})
    monkeypatch.setattr(versus_pytorch, "CANDIDATES", {"inference": (CANDIDATE,)})


def test_a_table_compares_all_variants():
    (table,) = versus_pytorch.inference(BENCH)
    rows = {row["variant"]: row for row in table.rows}
    official = rows[versus_pytorch.OFFICIAL]
    assert official["x official"] == 1
    assert rows[versus_pytorch.BEST]["x best"] == 1
    dense, factored = rows[versus_pytorch.DENSE], rows[versus_pytorch.FACTORED]
    assert official["GFLOP"] == dense["GFLOP"] > factored["GFLOP"]
    assert list(factored["seconds_by_layout"]) == ["landscape 0", "landscape 1"]
    assert json.loads(json.dumps(table.rows)) == table.rows

    text = versus_pytorch.markdown(table).splitlines()
    assert text[0].startswith("### Inference, 32x32")
    header, _, *lines = [line for line in text if line.startswith("|")]
    assert len(lines) == len(rows)
    assert {line.count("|") for line in lines} == {header.count("|")}
    assert CANDIDATE in text[-1]


def test_a_variant_that_computes_something_else_is_refused(monkeypatch):
    def wrong(problem, name):
        variant = variants.our_inference(problem, name)

        def prepare(layout):
            run = variant.prepare(layout)
            return lambda: run() + 0.01

        return variant._replace(prepare=prepare)

    monkeypatch.setitem(variants.INFERENCE, versus_pytorch.DENSE, wrong)
    with pytest.raises(RuntimeError, match="spade_jax, dense, frozen"):
        list(versus_pytorch.inference(BENCH))


def test_sections_are_chosen_on_the_command_line():
    options = versus_pytorch.parse(["--sections=growth,training", "--repeats=5"])
    assert options.sections == "growth,training"
    assert options.repeats == 5
    assert set(versus_pytorch.parse([]).sections.split(",")) == set(
        versus_pytorch.SECTIONS
    )
