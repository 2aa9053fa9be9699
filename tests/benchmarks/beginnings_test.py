from benchmarks import beginnings
from benchmarks.beginnings import Case


def test_what_goes_on_brings_what_it_goes_on_with():
    cases = {
        "a picture": Case(["a"]),
        "a run": Case(["b"]),
        "eval of it": Case(["c"], keeps=True),
        "going on": Case(["d"], keeps=True),
    }
    assert list(beginnings.asked_for(cases, "")) == list(cases)
    assert list(beginnings.asked_for(cases, "picture")) == ["a picture"]
    assert list(beginnings.asked_for(cases, "going")) == list(cases)[1:]
