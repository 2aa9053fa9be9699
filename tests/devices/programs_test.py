import functools

import jax
import jax.numpy as jnp
import pytest
from jax._src import compilation_cache, compiler, distributed

from spade_jax.devices.programs import keep_programs

FIELDS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def untold(monkeypatch, tmp_path):
    """JAX as it is where nobody told it anything; as it was afterwards."""
    before = {field: getattr(jax.config, field) for field in FIELDS}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield
    for field, value in before.items():
        jax.config.update(field, value)


def test_programs_are_kept_in_the_users_cache(tmp_path, caplog):
    with caplog.at_level("INFO", "spade_jax"):
        keep_programs()
        keep_programs()
    directory = str(tmp_path / "spade_jax" / "compiled")
    assert jax.config.jax_compilation_cache_dir == directory
    assert jax.config.jax_persistent_cache_min_compile_time_secs < 1
    (told,) = caplog.messages
    assert directory in told
    assert "JAX_ENABLE_COMPILATION_CACHE=false" in told


def test_jax_may_have_been_told_where_to_keep_them():
    jax.config.update("jax_compilation_cache_dir", "elsewhere")
    keep_programs()
    assert jax.config.jax_compilation_cache_dir == "elsewhere"


def test_jax_may_have_been_told_to_keep_none():
    jax.config.update("jax_enable_compilation_cache", False)
    keep_programs()
    assert jax.config.jax_compilation_cache_dir is None


def test_without_a_home_none_are_kept(monkeypatch, caplog):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
    assert "HOME is not set" in caplog.text


@pytest.fixture
def compile_as(tmp_path, monkeypatch):
    """`compile_as(process)`: the programs kept by a process of several, which are new.

    They are named by the process, as their keys are on CPUs.
    """
    monkeypatch.setattr(compiler, "_cache_write", compiler._cache_write)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

    def compiled(process):
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "kept"))
        before = set(tmp_path.rglob("*-cache"))
        monkeypatch.setattr(
            distributed.global_state, "process_id", process, raising=False
        )
        compilation_cache.reset_cache()
        keep_programs(process=process)
        function = functools.partial(jnp.multiply, process + 2)
        jax.jit(function).lower(jnp.ones(3)).compile()
        return set(tmp_path.rglob("*-cache")) - before

    yield compiled
    compilation_cache.reset_cache()


def test_every_process_keeps_its_programs(compile_as, tmp_path):
    """JAX itself keeps those of process 0 only."""
    for process, place in enumerate(["kept", "kept/process_1", "kept/process_2"]):
        found = compile_as(process)
        assert {path.parent for path in found} == {tmp_path / place}


def test_where_none_are_kept_no_process_keeps_any(monkeypatch):
    jax.config.update("jax_enable_compilation_cache", False)
    keep_programs(process=1)
    assert jax.config.jax_compilation_cache_dir is None


def test_where_nothing_can_be_kept_is_told(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level("INFO", "spade_jax"):
        keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
    (told,) = caplog.messages
    assert "Nothing may be written" in told
    assert "XDG_CACHE_HOME=DIR" in told
