from spade_jax.metrics import protocols, published_results


def test_the_papers_table_is_complete():
    methods = {
        dataset: [
            result.method
            for result in published_results.of_dataset(dataset)
            if result.protocol == "paper" and "table 1" in result.source
        ]
        for dataset in ("coco_stuff", "ade20k", "ade20k_outdoor", "cityscapes")
    }
    without_sims = ["CRN", "pix2pixHD", "SPADE"]
    with_sims = ["CRN", "SIMS", "pix2pixHD", "SPADE"]
    assert methods == {
        "coco_stuff": without_sims,
        "ade20k": without_sims,
        "ade20k_outdoor": with_sims,
        "cityscapes": with_sims,
    }


def test_targets_are_those_that_the_recipes_quote(repository):
    for recipe, dataset in (
        ("coco", "coco_stuff"),
        ("ade20k", "ade20k"),
        ("cityscapes", "cityscapes"),
    ):
        target = published_results.target(dataset, "paper")
        text = " ".join((repository / "configs" / f"{recipe}.py").read_text().split())
        assert (
            f"mIoU {target.mean_iou}, pixel accuracy {target.accuracy}, FID"
            f" {target.fid} " in text
        )
    assert published_results.target("cityscapes", "clade") is None
    assert published_results.target("scenes", "own") is None


def test_every_number_has_a_source_and_a_protocol_that_exists():
    for result in published_results.RESULTS:
        assert result.source
        if result.protocol is not None:
            protocols.find(result.protocol, result.dataset)
        numbers = (result.mean_iou, result.accuracy, result.fid)
        assert any(number is not None for number in numbers)
        assert all(0 < n < 100 for n in numbers[:2] if n is not None)


def test_the_document_holds_the_tables(repository):
    text = (repository / "docs" / "evaluation.md").read_text()
    for dataset in dict.fromkeys(
        result.dataset for result in published_results.RESULTS
    ):
        assert published_results.table(dataset) in text
    for name in protocols.names():
        assert f"`{name}`" in text
