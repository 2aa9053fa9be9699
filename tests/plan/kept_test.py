import jax
import pytest

from spade_jax.plan import ahead, kept

COMPILED = ahead.Compiled(
    memory=ahead.Memory(5, 4, 3, 2, 1),
    flops=2e9,
    bytes_accessed=3e6,
    text="HloModule jit_step\n",
    seconds=12.5,
)


class Lowered:
    """Stands for a step."""

    def __init__(self, text):
        self._text = text

    def as_text(self):
        return self._text


@pytest.fixture
def compile_once(monkeypatch, tmp_path):
    """`compile_once(text, chip, found)`, and in `.compiled` how often it compiled."""
    monkeypatch.setattr(ahead, "libtpu_version", lambda: "0.0.99")

    def run(text="a", chip="v5e", found=COMPILED):
        def compile_step(_):
            run.compiled += 1
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(ahead, "compile_step", compile_step)
        directory = tmp_path / "not" / "yet"
        return kept.compile_once(Lowered(text), chip=chip, directory=directory)

    run.compiled = 0
    return run


def test_a_step_is_compiled_once(compile_once):
    assert compile_once() == COMPILED
    assert compile_once() == COMPILED
    assert compile_once.compiled == 1


def test_another_step_is_another(compile_once, monkeypatch):
    for change in (
        lambda: compile_once("b"),
        lambda: compile_once(chip="v5p"),
        lambda: monkeypatch.setattr(ahead, "libtpu_version", lambda: "0.0.100"),
        lambda: monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_x=1"),
        lambda: monkeypatch.setattr(jax, "__version__", "0.99"),
    ):
        compile_once()
        before = compile_once.compiled
        change()
        compile_once()
        assert compile_once.compiled == before + 1


def test_that_a_step_does_not_fit_is_kept_too(compile_once):
    error = ahead.DoesNotFitError("RESOURCE_EXHAUSTED: Used 20.5G of 15.75G hbm.")
    for _ in range(2):
        with pytest.raises(ahead.DoesNotFitError, match="Used 20") as raised:
            compile_once(found=error)
        assert raised.value.needed == 20.5 * 2**30
    assert compile_once.compiled == 1
