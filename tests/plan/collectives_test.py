from spade_jax.plan import hlo
from spade_jax.plan.collectives import collectives

# In the forms that the CPU and the TPU compilers write, shortened.
TEXT = """\
HloModule jit_parallel, is_scheduled=true

%region_1.2 (x: f32[], y: f32[]) -> f32[] {
  ROOT %add.3 = f32[] add(%x, %y), metadata={op_name="psum all-reduce(x)"}
}

ENTRY %main.4_spmd (p0: f32[16], p1: bf16[2,8]) -> f32[16] {
  %psum.1 = f32[64]{0:T(128)S(1)} all-reduce(%p0), channel_id=1, to_apply=%region_1.2
  %psum.2 = f32[64]{0:T(128)} all-reduce(%p2), channel_id=2, to_apply=%region_1.2
  %all-reduce.7 = (f32[3,3,8,16]{3,2,1,0:T(8,128)(2,1)}, f32[]{:T(128)}, bf16[4]{0}) \
all-reduce(%a, %b, %c), channel_id=3, to_apply=%region_1.2
  %all-reduce-start.1 = s32[8]{0} all-reduce-start(%d), channel_id=4
  %all-reduce-done.1 = s32[8]{0} all-reduce-done(%all-reduce-start.1)
  %ag = (bf16[2,8]{1,0:T(8,128)(2,1)}, bf16[16,8]{1,0}) all-gather-start(%p1), dim=0
  %agd = bf16[16,8]{1,0} all-gather-done(%ag)
  %ag2 = ((f32[2]{0}, pred[4]{0}), (f32[4]{0}, pred[8]{0})) all-gather-start(%e, %f)
  %cp = (f32[5]{0}, f32[5]{0}, u32[]{:T(128)}, u32[]) collective-permute-start(%g)
  ROOT %reduce-scatter = f32[16]{0} reduce-scatter(%h), dimensions={0}
}
"""


def test_collectives_are_found_with_their_sizes():
    assert collectives(hlo.parse(TEXT)) == [
        ("all-reduce", "bf16+f32", 4 * (9 * 8 * 16 + 1) + 2 * 4, 3, None, 1),
        ("all-gather", "bf16", 256, 1, (16, 8), 1),
        ("all-reduce", "f32", 256, 1, (64,), 2),
        ("reduce-scatter", "f32", 64, 1, (16,), 1),
        ("all-reduce", "s32", 32, 1, (8,), 1),
        ("all-gather", "f32+pred", 24, 2, None, 1),
        ("collective-permute", "f32", 20, 1, (5,), 1),
    ]


def test_a_program_without_collectives_has_none():
    text = "ENTRY %main (b: f32[]) -> f32[] {\n  ROOT %a = f32[] add(%b, %b)\n}\n"
    assert collectives(hlo.parse(text)) == []
