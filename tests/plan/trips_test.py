import pytest

from spade_jax.plan import hlo
from spade_jax.plan.trips import trips

# A loop as libtpu leaves it; its end and its step are constants, or carried.
TEXT = """\
%until (t: (s32[], f32[8], s32[], s32[])) -> pred[] {
  %t = (s32[], f32[8], s32[], s32[]) parameter(0)
  %seven = s32[] constant(7)
  %end = s32[] get-tuple-element(%t), index=2
  %i = s32[] get-tuple-element(%t), index=0
  ROOT %less = pred[] compare(%i, END), direction=LT
}

%round (u: (s32[], f32[8], s32[], s32[])) -> (s32[], f32[8], s32[], s32[]) {
  %u = (s32[], f32[8], s32[], s32[]) parameter(0)
  %one = s32[] constant(1)
  %j = s32[] get-tuple-element(%u), index=0
  %x = f32[8] get-tuple-element(%u), index=1
  %last = s32[] get-tuple-element(%u), index=2
  %step = s32[] get-tuple-element(%u), index=3
  %y = f32[8] negate(%x)
  %next = s32[] add(%j, STEP)
  %more = s32[] add(%last, %one)
  ROOT %v = (s32[], f32[8], s32[], s32[]) tuple(%next, %y, LAST, %step)
}

ENTRY %main (n: s32[], x: f32[8]) -> f32[8] {
  %n = s32[] parameter(0)
  %x = f32[8] parameter(1)
  %zero = s32[] constant(0)
  %start = s32[] copy(%zero)
  %three = s32[] constant(3)
  %twenty = s32[] constant(20)
  %w = (s32[], f32[8], s32[], s32[]) tuple(%start, %x, OF, %three)
  %loop = (s32[], f32[8], s32[], s32[]) while(%w), condition=%until, body=%round
  ROOT %z = f32[8] get-tuple-element(%loop), index=1
}
"""


def trips_of(*, end="%end", step="%step", last="%last", of="%twenty", **changes):
    text = TEXT.replace("END", end).replace("STEP", step).replace("LAST", last)
    text = text.replace("OF", of)
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    program = hlo.parse(text)
    around = program.computations["main"]
    return trips(program, around, around.instructions["loop"])


def test_constants_decide():
    assert trips_of(end="%seven", step="%one") == 7


def test_constants_that_are_carried_decide():
    # 0, 3, ... 18.
    assert trips_of() == 7


def test_what_the_compiler_writes_down_comes_first():
    written = 'body=%round, backend_config={"known_trip_count":{"n":"5"}}'
    assert trips_of(change=("body=%round", written)) == 5


def test_a_loop_may_have_no_round():
    assert trips_of(of="%start", step="%one") == 0


@pytest.mark.parametrize(
    "other",
    [
        {"of": "%n"},  # The end is an argument.
        {"last": "%more"},  # The end moves.
        {"step": "%last", "last": "%more"},  # The step does.
        {"change": ("tuple(%start", "tuple(%n")},
        {"change": ("direction=LT", "direction=NE")},
        {"change": ("add(%j", "multiply(%j")},
        {"change": ("add(%j", "add(%last")},
        {"change": ("compare(%i", "compare(%seven")},
        {"change": ("while(%w)", "while(%n)")},
    ],
)
def test_of_other_loops_it_does_not_know(other):
    assert trips_of(**other) is None
