import textwrap

import pytest

from spade_jax.plan import hlo
from spade_jax.plan.traffic import Loop, Traffic, moves, traffic

# What one array of each form takes.
K = 1024
ROW = "f32[8,128]{1,0:T(8,128)}"  # 4 KiB, in memory
CHIP = "f32[8,128]{1,0:T(8,128)S(1)}"  # the same on the chip
LARGE = "f32[80,128]{1,0:T(8,128)}"  # 40 KiB
AT = "s32[]{:T(128)S(6)}"


def program(main, *others):
    """A program of these instructions, after the computations in `others`."""
    main = "ENTRY %main (p: f32[]) -> f32[] {\n" + main + "\n}\n"
    texts = (textwrap.dedent(t).strip() + "\n\n" for t in others)
    return hlo.parse("".join(texts) + main)


def bytes_of(main, *others):
    found = traffic(program(main, *others))
    assert found.loops == ()
    return found.bytes


def test_only_what_lies_in_memory_counts():
    assert (
        bytes_of(f"""
  %a = {ROW} parameter(0)
  %b = {CHIP} negate(%a)
  %c = {CHIP} add(%b, %b)
  ROOT %d = {LARGE} broadcast(%c)""")
        == 4 * K + 40 * K
    )


def test_the_rest_of_a_tile_moves_too():
    assert (
        bytes_of("""
  %a = f32[8,3]{1,0:T(8,128)} parameter(0)
  ROOT %b = bf16[8,3]{1,0:T(8,128)(2,1)S(1)} convert(%a)""")
        == 4 * K
    )


def test_what_only_passes_on_moves_nothing():
    assert (
        bytes_of(f"""
  %a = {ROW} parameter(0)
  %b = f32[1024]{{0:T(1024)}} bitcast(%a)
  %c = {ROW} custom-call(), custom_call_target="AllocateBuffer"
  %d = ({ROW}, {ROW}) tuple(%a, %c)
  ROOT %e = {ROW} get-tuple-element(%d), index=0""")
        == 0
    )


def test_an_asynchronous_copy_to_the_chip_is_read_once():
    assert (
        bytes_of(f"""
  %a = {LARGE} parameter(0)
  %s = (f32[80,128]{{1,0:T(8,128)S(1)}}, {LARGE}, u32[]{{:S(2)}}) copy-start(%a)
  ROOT %b = f32[80,128]{{1,0:T(8,128)S(1)}} copy-done(%s)""")
        == 40 * K
    )


@pytest.mark.parametrize("space", ["S(1)", ""])
def test_an_asynchronous_slice_moves_its_own_size(space):
    written = 0 if space else 4 * K
    assert (
        bytes_of(f"""
  %a = {LARGE} parameter(0)
  %s = (({LARGE}), f32[8,128]{{1,0:T(8,128){space}}}, s32[]{{:S(2)}}) \
slice-start(%a), slice={{[0:8], [0:128]}}
  ROOT %b = f32[8,128]{{1,0:T(8,128){space}}} slice-done(%s)""")
        == 4 * K + written
    )


def test_what_begins_asynchronously_is_what_it_calls():
    body = f"""
        %begun (x: f32[80,128]) -> f32[8,128] {{
          %x = {LARGE} parameter(0)
          ROOT %y = {CHIP} slice(%x), slice={{[0:8], [0:128]}}
        }}"""
    assert (
        bytes_of(
            f"""
  %a = {LARGE} parameter(0)
  %s = (({LARGE}), {CHIP}, s32[]{{:S(2)}}) async-start(%a), calls=%begun
  ROOT %b = {CHIP} async-done(%s)""",
            body,
        )
        == 4 * K
    )


def test_collectives_read_and_write():
    assert (
        bytes_of(f"""
  %a = {ROW} parameter(0)
  %b = {CHIP} all-reduce(%a), to_apply=%sum
  %s = {ROW} all-reduce-start(%a), to_apply=%sum
  %t = {ROW} all-reduce-done(%s)
  %g = ({ROW}, {LARGE}) all-gather-start(%t), dimensions={{0}}
  ROOT %h = {LARGE} all-gather-done(%g)""")
        == 4 * K + 2 * 4 * K + 4 * K + 40 * K
    )


def test_slices_and_look_ups_read_what_they_return():
    assert (
        bytes_of(f"""
  %a = {LARGE} parameter(0)
  %at = {AT} parameter(1)
  %b = {CHIP} dynamic-slice(%a, %at, %at), dynamic_slice_sizes={{8,128}}
  ROOT %c = {CHIP} gather(%a, %at), slice_sizes={{1,128}}""")
        == 2 * 4 * K
    )


def test_an_update_in_place_writes_what_is_new():
    assert (
        bytes_of(f"""
  %a = {LARGE} parameter(0)
  %new = {ROW} parameter(1)
  %at = {AT} parameter(2)
  ROOT %b = {LARGE} dynamic-update-slice(%a, %new, %at, %at)""")
        == 2 * 4 * K
    )


def test_what_is_added_at_some_rows_reads_and_writes_these():
    assert (
        bytes_of(f"""
  %a = {LARGE} parameter(0)
  %at = {AT} parameter(1)
  %new = {ROW} parameter(2)
  ROOT %b = {LARGE} scatter(%a, %at, %new), to_apply=%sum""")
        == 3 * 4 * K
    )


FUSED_SLICE = f"""
    %inner (i: f32[80,128]) -> f32[8,128] {{
      %i = {LARGE} parameter(0)
      ROOT %j = {ROW} slice(%i), slice={{[8:16], [0:128]}}
    }}

    %fused (x: f32[80,128], y: f32[80,128], z: f32[8,128]) -> f32[8,128] {{
      %x = {LARGE} parameter(0)
      %y = {LARGE} parameter(1)
      %z = {ROW} parameter(2)
      %u = {LARGE} bitcast(%x)
      %v = {ROW} slice(%u), slice={{[0:8], [0:128]}}
      %w = {ROW} fusion(%y), kind=kLoop, calls=%inner
      %vw = {ROW} add(%v, %w)
      ROOT %r = {ROW} add(%vw, %z)
    }}"""


def test_a_fusion_reads_what_it_uses():
    assert (
        bytes_of(
            f"""
  %a = {LARGE} parameter(0)
  %b = {ROW} parameter(1)
  ROOT %f = {CHIP} fusion(%a, %a, %b), kind=kLoop, calls=%fused""",
            FUSED_SLICE,
        )
        == 3 * 4 * K
    )


def test_a_fusion_reads_no_more_than_there_is():
    fused = f"""
        %fused (x: f32[8,128]) -> f32[8,128] {{
          %x = {ROW} parameter(0)
          %y = f32[8,128]{{1,0:T(8,128)}} slice(%x), slice={{[0:8], [0:128]}}
          %z = {ROW} slice(%x), slice={{[0:8], [0:128]}}
          ROOT %r = {ROW} add(%y, %z)
        }}"""
    main = f"""
  %a = {ROW} parameter(0)
  ROOT %f = {CHIP} fusion(%a), kind=kLoop, calls=%fused"""
    assert bytes_of(main, fused) == 4 * K


@pytest.mark.parametrize(("place", "moved"), [("%x", 2 * 4), ("%n", 40 + 4 + 40)])
def test_a_fusion_updates_in_place_what_it_is_given(place, moved):
    fused = f"""
        %fused (x: f32[80,128], y: f32[8,128]) -> (f32[80,128], f32[8,128]) {{
          %x = {LARGE} parameter(0)
          %y = {ROW} parameter(1)
          %at = {AT} constant(0)
          %n = {LARGE} negate(%x)
          %u = {LARGE} dynamic-update-slice({place}, %y, %at, %at)
          %b = {LARGE} bitcast(%u)
          ROOT %t = ({LARGE}, {CHIP}) tuple(%b, %y)
        }}"""
    if place == "%x":
        fused = fused.replace(f"%n = {LARGE} negate(%x)", f"%n = {ROW} negate(%y)")
    main = f"""
  %a = {LARGE} parameter(0)
  %b = {ROW} parameter(1)
  ROOT %f = ({LARGE}, {CHIP}) fusion(%a, %b), kind=kLoop, calls=%fused"""
    assert bytes_of(main, fused) == moved * K


ROUND = f"""
    %until (s: f32[8,128]) -> pred[] {{
      %s = {ROW} parameter(0)
      ROOT %c = pred[]{{:T(512)S(6)}} constant(true)
    }}

    %round (t: f32[8,128]) -> f32[8,128] {{
      %t = {ROW} parameter(0)
      ROOT %n = {ROW} negate(%t)
    }}"""


def test_a_loop_moves_as_often_as_it_runs():
    main = f"""
  %a = {ROW} parameter(0)
  ROOT %w = {ROW} while(%a), condition=%until, body=%round, \
backend_config={{"known_trip_count":{{"n":"7"}},"known_init_step":{{"init":"0"}}}}"""
    assert bytes_of(main, ROUND) == 7 * 2 * 4 * K


def test_a_loop_of_unknown_length_is_told_apart():
    outer = f"""
        %outer (t: f32[8,128]) -> f32[8,128] {{
          %o = {ROW} parameter(0)
          %i = {ROW} while(%o), condition=%until, body=%round, \
backend_config={{"known_trip_count":{{"n":"3"}}}}
          ROOT %j = {ROW} while(%i), condition=%until, body=%round
        }}"""
    main = f"""
  %a = {ROW} parameter(0)
  %b = {CHIP} negate(%a)
  %v = {ROW} while(%a), condition=%until, body=%outer, \
metadata={{op_name="jit(step)/up_3.modulations/while" stack_frame_id=2}}
  ROOT %w = {ROW} while(%v), condition=%until, body=%round"""
    assert traffic(program(main, ROUND, outer)) == Traffic(
        4 * K,
        (
            Loop("jit(step)/up_3.modulations/while", (3 + 1) * 2 * 4 * K, 8),
            Loop("", 2 * 4 * K, 8),
        ),
    )


def test_of_branches_the_dearest_counts():
    branches = f"""
        %one (s: f32[8,128]) -> f32[8,128] {{
          %s = {ROW} parameter(0)
          ROOT %c = {ROW} copy(%s)
        }}

        %two (t: f32[8,128]) -> f32[8,128] {{
          ROOT %t = {ROW} parameter(0)
        }}"""
    main = f"""
  %a = {ROW} parameter(0)
  %i = {AT} parameter(1)
  %c = {ROW} conditional(%i, %a, %a), branch_computations={{%one, %two}}
  ROOT %d = {ROW} call(%c), to_apply=%one"""
    assert bytes_of(main, branches) == 2 * 2 * 4 * K


def test_moves_tell_which_instruction_moves_what():
    main = f"""
  %a = {LARGE} parameter(0)
  ROOT %b = {ROW} slice(%a), slice={{[0:8], [0:128]}}"""
    ((instruction, read, written, rounds, loop),) = moves(program(main))
    assert instruction.name == "b"
    assert (read, written, rounds, loop) == (4 * K, 4 * K, 1, None)
