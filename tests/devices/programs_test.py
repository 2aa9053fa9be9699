import jax
import pytest

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
