import logging
import re
import types

import jax
import pytest

from spade_jax.devices import present


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """`machine(*files, packages=())`: one with these in /dev; JAX found CPUs only."""
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)

    def make(*files, packages=()):
        for file in files:
            (tmp_path / file).touch()
        monkeypatch.setattr(
            present.importlib.util,
            "find_spec",
            lambda name: name if name in packages else None,
        )
        return tmp_path

    return make


def test_devices_are_described(monkeypatch):
    def device(platform, kind):
        return types.SimpleNamespace(platform=platform, device_kind=kind)

    assert present.describe() == "Computing on 8 cpu devices."
    monkeypatch.setattr(jax, "devices", lambda: [device("gpu", "NVIDIA H100")])
    assert present.describe() == "Computing on 1 gpu (NVIDIA H100) device."
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "devices", lambda: 4 * [device("tpu", "TPU v5e")])
    told = "Computing on 4 tpu (TPU v5e) devices of 2 processes."
    assert present.describe() == told


@pytest.mark.parametrize(
    ("files", "packages", "message"),
    [
        (["nvidia0"], [], r"^An NVIDIA GPU is here, .*pip install .* 'jax\[cuda12\]'$"),
        (["dxg"], [], r"^An NVIDIA GPU is here, .*pip install"),
        (["nvidia0"], ["jax_cuda13_plugin"], r"is installed but .*its driver"),
        (["accel0"], [], r"^A TPU is here, .*pip install .* 'jax\[tpu\]'$"),
        (["accel0"], ["libtpu"], r"is installed but could not use it"),
    ],
)
def test_what_is_not_used_is_told(
    machine, files, packages, message, caplog, monkeypatch
):
    found = present.unused(machine(*files, packages=packages))
    monkeypatch.setattr(present, "unused", lambda: found)
    with caplog.at_level(logging.INFO, "spade_jax"):
        present.log()
    first, second = caplog.messages
    assert first == "Computing on 8 cpu devices."
    assert re.search(message, second)


def test_nothing_is_told_where_nothing_is_missed(machine, monkeypatch):
    devices = machine("nvidiactl", "tty0")
    assert present.unused(devices) is None
    (devices / "nvidia0").touch()
    assert present.unused(devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert present.unused(devices) is None
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert present.unused(devices) is None
