import json

from spade_jax.evaluation import result

RESULT = {
    "step": 5,
    "scores": {"fid": 71.83, "kid": 0.0123, "mean_iou": 61.5, "accuracy": float("nan")},
    "untrained": None,
    "ceiling": None,
    "target": result.target("cityscapes", "paper"),
    "warnings": ["The reference set has 500 pictures."],
    "dataset": {"source": "cityscapes", "split": "val", "pictures": 500},
    "protocol": {"name": "paper"},
    "classes": ({"name": "road", "iou": float("nan")},),
}


def test_table_shows_the_published_numbers_beside_the_measured_ones():
    head, columns, *rows, warning = result.table(RESULT).splitlines()
    assert "Step 5 by --protocol=paper: 500 pictures of cityscapes/val" in head
    assert "Park et al., CVPR 2019" in head
    assert columns.split() == ["measured", "published"]
    assert [row.split()[-2:] for row in rows] == [
        ["71.83", "71.80"],
        ["0.0123", "-"],
        ["61.50", "62.30"],
        ["-", "81.90"],
    ]
    assert warning == RESULT["warnings"][0]


def test_table_shows_the_score_of_real_pictures():
    own = {**RESULT, "target": None, "ceiling": {"mean_iou": 90.0}, "warnings": []}
    _, columns, *rows = result.table(own).splitlines()
    assert columns.split() == ["measured", "real", "pictures"]
    assert [row.split()[-1] for row in rows] == ["-", "-", "90.00", "-"]


def test_table_shows_the_untrained_model_before_real_pictures():
    own = {**RESULT, "untrained": RESULT["scores"] | {"mean_iou": 3.0}}
    _, columns, *rows, _ = result.table(
        own | {"ceiling": {"fid": 2.5, "mean_iou": 90.0}}
    ).splitlines()
    columns = columns.split()
    assert columns == ["measured", "published", "untrained", "real", "pictures"]
    assert rows[0].split()[1:] == ["71.83", "71.80", "71.83", "2.50"]
    assert rows[2].split()[-4:] == ["61.50", "62.30", "3.00", "90.00"]


def test_file_is_json_without_nan(tmp_path):
    file = result.path(tmp_path, "paper", 5)
    assert file == tmp_path / "eval" / "paper" / "eval-5.json"
    result.write(file, RESULT)
    found = json.loads(file.read_text(), parse_constant=lambda name: 1 / 0)
    assert found["scores"] == {**RESULT["scores"], "accuracy": None}
    assert found["classes"] == [{"name": "road", "iou": None}]
    assert found["target"]["fid"] == 71.8
    assert [path.name for path in file.parent.iterdir()] == ["eval-5.json"]


def test_no_target_where_nothing_is_published():
    assert result.target("scenes", "own") is None


def test_a_segmenter_that_finds_little_is_told():
    (told,) = result.worth(19.7)
    assert "an mIoU of only 19.7 % in real pictures" in told
    assert "are worth little" in told
    assert result.worth(67.8) == result.worth(None) == ()
