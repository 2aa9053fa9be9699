import shutil

from benchmarks import browser


def test_who_is_quicker_fetches_a_package(tmp_path, monkeypatch):
    def unpack(package, members, directory, *, npm):
        # Another process is ready first.
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.js").write_text("theirs")
        (directory / "a.js").write_text("ours")

    monkeypatch.setattr(browser, "unpack", unpack)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    for _ in range(2):
        found = browser.fetched(tmp_path, "a@1", ["a.js"])
        assert (found / "a.js").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["a@1"]
