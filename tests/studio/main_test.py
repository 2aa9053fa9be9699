"""The command, the notebook, and the files of the static page."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from spade_jax.data import scenes
from spade_jax.studio import __main__ as door
from spade_jax.studio import notebook, static
from spade_jax.studio.files import page_files


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port=70000"], "no port"),
        (["--runtime=."], "--runtime goes with --export"),
        (["--export="], "empty path"),
        (["--host="], "--host is empty"),
    ],
)
def test_arguments_are_checked(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        door.main(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_the_model_is_read(studio, monkeypatch):
    monkeypatch.setattr("spade_jax.load", None)
    port = studio.rstrip("/").rpartition(":")[2]
    with pytest.raises(SystemExit, match=f"--port={port}.*Give another"):
        door.main([f"--port={port}"])


def test_no_model_is_told(tmp_path):
    with pytest.raises(SystemExit, match="Error: "):
        door.main([str(tmp_path / "none"), "--port=0"])


@pytest.mark.long
def test_the_command_serves_until_it_is_told_to_end(tmp_path):
    """With the shipped model; it writes nothing where it runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "spade_jax.studio", "--port=0", "--host=0.0.0.0"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http://\S+", line)[0]
            assert "?token=" in address
            address = re.sub("//[^:/]+:", "//127.0.0.1:", address)
            model = address.replace("/?", "/api/model?")
            with urllib.request.urlopen(model, timeout=60) as answer:
                assert json.load(answer)["classes"] == list(scenes.CLASSES)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_the_page(monkeypatch, fake_engine):
    pytest.importorskip("uvicorn")
    monkeypatch.setattr(notebook, "load", lambda path: None)
    monkeypatch.setattr(
        "spade_jax.studio.engine.Engine", lambda predictor, name: fake_engine()
    )
    shown = notebook.show("scenes", height=500)
    try:
        html = shown._repr_html_()
        (address,) = re.findall(r'src="([^"]+)"', html)
        assert address == shown.address
        assert 'height="500"' in html
        with urllib.request.urlopen(address, timeout=60) as answer:
            # In a frame of the notebook's page.
            policy = answer.headers["Content-Security-Policy"]
            assert "frame-ancestors *" in policy
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(address.partition("?")[0], timeout=60)
    finally:
        shown.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=60)


# ---- Static files --------------------------------------------------------------------


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """Two files in the place of the runtime's, which pass for them."""
    directory = tmp_path / "runtime"
    directory.mkdir()
    digests = {}
    for name in static._SHA256:
        (directory / name).write_bytes(name.encode())
        digests[name] = hashlib.sha256(name.encode()).hexdigest()
    monkeypatch.setattr(static, "_SHA256", digests)
    return directory


@pytest.fixture
def workdir(tmp_path, save_model, two_blocks):
    with two_blocks():
        save_model(tmp_path / "model", **{"data.instances": True})
        yield tmp_path / "model"


def test_the_static_page_is_whole(workdir, runtime, tmp_path):
    pytest.importorskip("onnx")
    out = tmp_path / "site"
    written = static.write(workdir, out, runtime=runtime)
    names = {path.name for path in written}
    assert names == {
        *page_files(),
        *static._SHA256,
        "model.json",
        "landscapes.json",
        "generator.onnx",
    }
    model = json.loads((out / "model.json").read_text())
    assert (model["width"], model["height"], model["edges"]) == (32, 32, True)
    assert model["classes"] == ["sky", "sea", "<sand>", "unknown"]
    index = (out / "index.html").read_text()
    assert '<html data-engine="worker"' in index
    assert "script-src 'self' 'wasm-unsafe-eval'" in index
    # It does not write over what somebody has changed.
    (out / "main.js").write_text("mine")
    with pytest.raises(ValueError, match=r"main\.js is there already"):
        static.write(workdir, out, runtime=runtime)
    assert (out / "main.js").read_text() == "mine"


def test_another_runtime_is_refused(workdir, runtime, tmp_path):
    pytest.importorskip("onnx")
    name = next(iter(static._SHA256))
    (runtime / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"is not that of onnxruntime-web@[\d.]+"):
        static.write(workdir, tmp_path / "site", runtime=runtime)
    (runtime / name).unlink()
    with pytest.raises(ValueError, match=f"there is no {name}"):
        static.write(workdir, tmp_path / "site", runtime=runtime)
    assert not (tmp_path / "site").exists()


def test_modules_import_what_is_there():
    """And nothing from elsewhere: there is no other host, and no build step."""
    files = page_files()
    external = {"ort.wasm.bundle.min.mjs"}
    for name, file in files.items():
        text = file.content.decode()
        if name.endswith(".js"):
            assert len(text.splitlines()) <= 200, name
            for imported in re.findall(r'(?:from|import\()\s*"([^"]+)"', text):
                path = imported.removeprefix("./")
                assert path in files or path in external, (name, imported)
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name
    assert "on" + "click=" not in files["index.html"].content.decode()
