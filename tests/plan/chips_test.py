import pytest

from spade_jax.plan import chips


def test_topologies_are_parsed():
    assert chips.parse_topology("v5e:2x4") == ("v5e:2x4", "v5e", (2, 4))
    assert chips.parse_topology("v5e:2x4").num_chips == 8
    assert chips.parse_topology("v5p:2x2x4").num_chips == 16
    assert chips.parse_topology("tpu7x:2x2x1").chip == "tpu7x"


@pytest.mark.parametrize(
    "name", ["v5e", "v5e:", "v5e:8", "v5e:0x4", "v9z:2x4", "v5e:2x4x2x2", "2x4", ""]
)
def test_what_is_no_topology_is_refused(name):
    message = rf"^--topology={name} is not understood.*v4, v5e, .*v5e:2x4"
    with pytest.raises(ValueError, match=message):
        chips.parse_topology(name)


def test_cores_that_are_devices_share_their_chip():
    topology = chips.parse_topology("tpu7x:2x2x1")
    assert topology.device(4) == chips.CHIPS["tpu7x"]
    assert topology.device(8) == (2307e12 / 2, 7380e9 / 2, 96 * 2**30)


@pytest.mark.parametrize("chip", chips.CHIPS)
def test_chips_are_within_what_was_ever_built(chip):
    flops, bandwidth, memory = chips.CHIPS[chip]
    # A chip's arithmetic outruns its memory by so many FLOPs a byte, and reads all of
    # it in so many seconds: a misplaced digit is outside.
    assert 150 < flops / bandwidth < 600
    assert 0.01 < memory / bandwidth < 0.05


def test_the_roofline_is_the_longer_of_two_times():
    v5e = chips.CHIPS["v5e"]
    # What the design document found of the generator alone.
    found = chips.roofline(v5e, flops=4.53e12, bytes_accessed=58e9)
    assert found.arithmetic == pytest.approx(23e-3, rel=0.01)
    assert found.traffic == pytest.approx(71e-3, rel=0.01)
    assert found.seconds == found.traffic
    assert found.bound == "traffic"
    found = chips.roofline(v5e, flops=197e12, bytes_accessed=819e6)
    assert found.seconds == 1
    assert found.bound == "arithmetic"
