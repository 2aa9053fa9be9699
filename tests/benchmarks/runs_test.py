import pytest

from benchmarks import runs


def report(seconds, *, cpu="A", width=64):
    rows = [
        {"variant": "PyTorch", "seconds": 2.0, "by_layout": {"a": [1.0]}},
        {"variant": "ours", "seconds": seconds, "x": 2 / seconds},
    ]
    table = {"title": "Inference", "rows": rows, "notes": []}
    return {
        "machine": {"cpu": cpu},
        "problem": {"width": width},
        "sections": {"inference": {"seconds": 9.0, "tables": [table]}},
    }


def test_medians_stand_with_their_range():
    (found,) = runs.tables([report(1.0), report(0.5), report(0.8)]).items()
    assert runs.markdown(*found).splitlines() == [
        "### Inference; runs: 3",
        "",
        "|  | seconds | x |",
        "| --- | ---: | ---: |",
        "| PyTorch | 2 |  |",
        "| ours | 0.8 (0.5 to 1) | 2.5 (2 to 4) |",
    ]


@pytest.mark.parametrize(
    ("other", "what"), [({"cpu": "B"}, "machine's cpu"), ({"width": 32}, "problem")]
)
def test_what_is_not_the_same_is_not_put_together(other, what):
    with pytest.raises(ValueError, match=f"differ in their {what}: give"):
        runs.tables([report(1.0), report(1.0, **other)])
