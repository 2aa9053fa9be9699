import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from spade_jax.studio import protocol
from spade_jax.studio.protocol import Answer, ProtocolError, Request

SIZE = (6, 8)


def read(message, *, has_class_styles=True):
    return protocol.decode_request(
        message,
        size=SIZE,
        num_classes=5,
        style_size=3,
        has_class_styles=has_class_styles,
        largest_style=10,
    )


@pytest.fixture
def request_message():
    """`request_message(ids=..., style=..., own=...)`: a layout as a message."""

    def make(*, ids=None, style=(1, -2.5, 0), own=()):
        ids = np.arange(48).reshape(SIZE) // 10 if ids is None else ids
        styles = {i: np.array(given) for i, given in dict(own).items()}
        return protocol.encode_request(Request(7, ids, np.array(style), styles))

    return make


def test_a_layout_comes_back(request_message):
    found = read(request_message())
    assert found.number == 7
    assert found.ids.dtype == np.uint16
    np.testing.assert_array_equal(found.ids, np.arange(48).reshape(SIZE) // 10)
    np.testing.assert_array_equal(found.style, np.array([1, -2.5, 0], np.float32))


def test_styles_of_classes_come_back(request_message):
    found = read(request_message(own={4: (1, 2, 3), 0: (0, -1.5, 9)}))
    assert {i: own.tolist() for i, own in found.class_styles.items()} == {
        4: [1, 2, 3],
        0: [0, -1.5, 9],
    }
    assert found.class_styles[4].dtype == np.float32
    np.testing.assert_array_equal(found.ids, np.arange(48).reshape(SIZE) // 10)


def test_styles_of_classes_that_cannot_be_are_refused(request_message):
    own = {4: (1, 2, 3), 0: (0, -1.5, 9)}
    with pytest.raises(ProtocolError, match="one for the whole picture"):
        read(request_message(own=own), has_class_styles=False)
    with pytest.raises(ProtocolError, match="An id 5: this model has 5 classes"):
        read(request_message(own={5: (1, 2, 3)}))
    with pytest.raises(ProtocolError, match="not finite, or beyond"):
        read(request_message(own={1: (1, np.nan, 3)}))
    message = request_message(own=own)
    twice = message[:26] + message[40:42] + message[28:]
    with pytest.raises(ProtocolError, match="Two styles of one class"):
        read(twice)
    with pytest.raises(ProtocolError, match="within its styles"):
        read(message[:50])


def test_long_runs_are_cut():
    ids = np.zeros((300, 500), np.uint16)
    ids[299, 499] = 3
    runs = protocol.encode_runs(ids)
    assert len(runs) == 4 * 4  # 149,999 zeros in three, and one 3
    np.testing.assert_array_equal(protocol.decode_runs(runs, size=ids.shape), ids)


@hypothesis.given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_runs_of_any_ids_come_back(height, width, data):
    numbers = st.lists(st.integers(0, 65535), min_size=81, max_size=81)
    ids = np.array(data.draw(numbers), np.uint16)[: height * width]
    ids = ids.reshape(height, width)
    found = protocol.decode_runs(protocol.encode_runs(ids), size=ids.shape)
    np.testing.assert_array_equal(found, ids)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m[:5], "5 bytes"),
        (lambda m: b"\2" + m[1:], "kind 2"),
        (lambda m: m[:1] + b"\7" + m[2:], "version 7"),
        (lambda m: m[:2] + b"\x09" + m[3:], "9x6"),
        (lambda m: m[:6] + b"\xff\xff" + m[8:], "65535 numbers"),
        (lambda m: m[:20], "within its styles"),
        (lambda m: m[:-1], "within a run"),
        (lambda m: m[:-4], "Runs of 40 pixels for a layout of 48"),
        (lambda m: m + m[-4:], "Runs of 56 pixels"),
        (lambda m: m + b"\0\0\0\0" * 3 + b"\0\0\xff\xff" * 1000, "65535048 pixels"),
    ],
)
def test_what_is_no_layout_is_refused(change, words, request_message):
    with pytest.raises(ProtocolError, match=words):
        read(change(request_message()))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38, 10.01])
def test_styles_are_finite_and_not_huge(number, request_message):
    with pytest.raises(ProtocolError, match="not finite, or beyond") as refused:
        read(request_message(style=(0, number, 0)))
    assert refused.value.number == 7


def test_ids_are_classes(request_message):
    ids = np.full(SIZE, 4)
    assert read(request_message(ids=ids)).ids.max() == 4
    with pytest.raises(ProtocolError, match="An id 5: this model has 5 classes"):
        read(request_message(ids=ids + 1))


@hypothesis.given(data=st.data())
def test_any_change_is_read_or_refused(data, mutated):
    ids = np.arange(48).reshape(SIZE) // 10
    message = protocol.encode_request(Request(7, ids, np.zeros(3)))
    try:
        found = read(mutated(data, message))
    except ProtocolError:
        return
    assert found.ids.shape == SIZE
    assert found.ids.max() < 5
    assert np.isfinite(found.style).all()


def test_answers_come_back():
    answer = Answer(protocol.PICTURE, 9, 12.5, b"content")
    assert protocol.decode_answer(protocol.encode_answer(answer)) == answer
