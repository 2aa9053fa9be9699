import json

import pytest

from benchmarks import race, race_figures, race_speed


def test_pictures_are_thinned_evenly(tmp_path):
    camvid = tmp_path / "camvid"
    for part in ("train_img", "train_label", "val_img", "val_label"):
        (camvid / part).mkdir(parents=True)
        for i in range(7):
            (camvid / part / f"{i}.png").write_text(f"{part} {i}")
    thin = race.thinned(camvid, 3, tmp_path / "race")
    assert race.thinned(camvid, 3, tmp_path / "race") == thin
    for part in ("train_img", "train_label"):
        files = sorted((thin / part).iterdir())
        assert [file.name for file in files] == ["0.png", "2.png", "4.png"]
        assert files[1].read_text() == f"{part} 2"
    assert len(list((thin / "val_img").iterdir())) == 7


@pytest.fixture
def scored(monkeypatch):
    """The commands that would train and score, which here only write what they do."""
    given = []

    def command(*flags, log):
        given.append(flags)
        (workdir,) = (f.removeprefix("--workdir=") for f in flags if "--workdir" in f)
        out = log.parent / workdir / "eval" / "own"
        out.mkdir(parents=True, exist_ok=True)
        scores = {"fd_own": 0.5, "mean_iou": 40.0}
        text = {"step": 200, "scores": scores, "ceiling": {"mean_iou": 60.0}}
        (out / "eval-000200.json").write_text(json.dumps(text))
        line = {"step": 200} | {f"eval/own/{k}": v for k, v in scores.items()}
        lines = [json.dumps({"step": 100}), json.dumps(line)]
        (out.parents[1] / "metrics.jsonl").write_text("\n".join(lines))

    monkeypatch.setattr(race, "command", command)
    return given


def test_a_run_is_made_once_and_tells_its_fields(tmp_path, scored):
    def run(name="OASIS", **fields):
        return race.run(
            "camvid", name, 1, directory=tmp_path, fields=fields, places={"x": tmp_path}
        )

    row = run()
    assert row["fields"] == race.RACES["camvid"] | {"ema_decay": 0.99}
    assert (row["scores"]["diversity"], row["real"]) == (0.0, {"mean_iou": 60.0})
    assert row["curve"] == [{"step": 200, "fd_own": 0.5, "mean_iou": 40.0}]
    train, evaluate = scored
    assert {f"--config.x={tmp_path}", "--config.seed=1"} <= set(train)
    assert "--num_samples=4" in evaluate
    assert run() == row
    assert len(scored) == 2
    with pytest.raises(SystemExit, match=r"oasis-1/race\.json is of other fields"):
        run(init_gain=0.02)
    # What starts from the layout alone has one picture for it.
    run("SPADE")
    assert "--num_samples=4" not in scored[-1]


def test_a_table_tells_mean_and_range():
    runs = [
        {
            "entrant": entrant,
            "real": {"fd_own": 0.1, "mean_iou": 60.0 + i},
            "scores": {"fd_own": 0.25 * (i + 1), "mean_iou": 50.0},
        }
        for i, entrant in enumerate(("SPADE", "SPADE", "CLADE"))
    ]
    assert race_figures.table({"runs": runs}).splitlines() == [
        "| SPADE | 0.375 (0.250 to 0.500) | 50.0 |  |  |",
        "| CLADE | 0.750 | 50.0 |  |  |",
        "| real training pictures | 0.100 | 61.0 (60.0 to 62.0) |  |  |",
    ]


@pytest.mark.parametrize("name", race.RACES)
def test_speed_is_that_of_the_recipes(name):
    recipes = {who: race_speed.recipe_of(name, who) for who in race.ENTRANTS}
    assert {recipe.schedule.batch_size for recipe in recipes.values()} == {4}
    assert recipes["SPADE"].architecture.discriminator.name == "multiscale"
    norms = [recipe.architecture.generator.norm for recipe in recipes.values()]
    assert ["clade" in norm for norm in norms] == [False, True, False, True]
