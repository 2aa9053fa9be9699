import pytest

from spade_jax.plan import hlo

TEXT = """\
HloModule jit_parallel, is_scheduled=true

%fused.1 (param_0.1: bf16[2,3]) -> bf16[2,3] {
  %param_0.1 = bf16[2,3]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %negate.1 = bf16[2,3]{1,0:T(8,128)(2,1)} negate(%param_0.1), \
metadata={op_name="jit(step)/neg(%not_an_operand)"}
}

ENTRY %main.4_spmd (p0: bf16[2,3]) -> (bf16[2,3], f32[]) {
  %p0 = bf16[2,3]{1,0:T(8,128)(2,1)} parameter(0)
  %fusion.1 = bf16[2,3]{1,0:T(8,128)(2,1)S(1)} fusion(%p0), kind=kLoop, calls=%fused.1
  %constant.1 = f32[]{:T(128)} constant(0)
  ROOT %tuple.1 = (bf16[2,3]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/f32[]{:T(128)}) \
tuple(%fusion.1, %constant.1)
}
"""


def test_a_program_is_read():
    program = hlo.parse(TEXT)
    assert program.entry == "main.4_spmd"
    main = program.computations[program.entry]
    assert list(main.instructions) == ["p0", "fusion.1", "constant.1", "tuple.1"]
    assert main.root == "tuple.1"
    assert main.instructions["p0"].literal == main.instructions["constant.1"].literal
    assert main.instructions["constant.1"].literal == "0"
    fusion, root = main.instructions["fusion.1"], main.instructions["tuple.1"]
    assert (fusion.kind, fusion.operands) == ("fusion", ("p0",))
    assert fusion.called("calls") == ["fused.1"]
    assert fusion.called("body") == []
    assert root.operands == ("fusion.1", "constant.1")
    assert [a.shape for a in hlo.arrays(root.type)] == [(2, 3), ()]
    fused = program.computations["fused.1"]
    assert fused.instructions[fused.root].operands == ("param_0.1",)


def test_what_an_instruction_calls():
    of = hlo.Instruction("a", "conditional", "f32[]", (), "")
    branches = of._replace(attributes=", branch_computations={%one.1, %two.2}")
    assert branches.called("branch_computations") == ["one.1", "two.2"]
    loop = of._replace(attributes=", condition=%until, body=%round")
    assert loop.called("body", "condition") == ["until", "round"]


@pytest.mark.parametrize(
    ("type_", "values", "size", "space"),
    [
        ("f32[3,5]", 60, 60, 0),
        ("pred[7]{0}", 7, 7, 0),
        ("u4[3]{0}", 2, 2, 0),
        ("f32[]{:T(128)}", 4, 512, 0),
        # The last axes of the layout's order fill tiles: 5 rows of 3, then 3 of 5.
        ("f32[2,5,3]{2,1,0:T(8,128)}", 120, 2 * 8 * 128 * 4, 0),
        ("f32[3,5]{0,1:T(8,128)S(1)}", 60, 8 * 128 * 4, 1),
        ("f32[9,2,3]{1,0,2:T(8,128)}", 216, 3 * 16 * 128 * 4, 0),
        ("bf16[16,256]{1,0:T(8,128)(2,1)}", 8192, 8192, 0),
        ("bf16[3]{0:T(256)(128)(2,1)S(3)}", 6, 512, 3),
        ("f32[4]{0:T(8,128)}", 16, 4096, 0),
    ],
)
def test_an_array_takes_whole_tiles(type_, values, size, space):
    (array,) = hlo.arrays(type_)
    assert (array.values, array.bytes, array.space) == (values, size, space)


def test_a_text_without_an_entry_is_none():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.parse("HloModule nothing\n")
