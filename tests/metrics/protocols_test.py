import dataclasses
import json

import numpy as np
import pytest

from spade_jax.metrics import protocols, weights

PUBLISHED = ("coco_stuff", "ade20k", "ade20k_outdoor", "cityscapes")


def test_each_published_dataset_has_the_published_protocols():
    for dataset in PUBLISHED:
        assert protocols.names(dataset) == ("paper", "oasis", "clade", "own")
    assert protocols.names("scenes") == ("own",)
    assert set(protocols.names()) == {"paper", "oasis", "clade", "own"}


def test_no_two_protocols_are_the_same_evaluation():
    assert len({(p.name, p.dataset) for p in protocols.PROTOCOLS}) == len(
        protocols.PROTOCOLS
    )
    for dataset in PUBLISHED:
        found = [
            dataclasses.replace(
                protocols.find(name, dataset), name="", sources=(), notes=""
            )
            for name in protocols.names(dataset)
        ]
        assert len(set(found)) == len(found)


def test_every_protocol_can_be_acted_upon_and_says_where_it_is_from():
    for protocol in protocols.PROTOCOLS:
        assert protocol.segmenter.network in ("own", *weights.PUBLISHED)
        assert protocol.sources
        assert protocol.notes
        description = json.loads(json.dumps(protocol.description()))
        assert description["segmenter"]["network"] == protocol.segmenter.network
        assert description.keys() == {
            field.name for field in dataclasses.fields(protocol)
        }


def test_what_public_sources_say():
    paper = {dataset: protocols.find("paper", dataset) for dataset in PUBLISHED}
    assert paper["ade20k"].segmenter.network == "upernet101_baseline"
    assert paper["cityscapes"].size == (256, 512)
    assert paper["cityscapes"].label_size == (1024, 2048)
    assert paper["cityscapes"].accuracy == "all_pixels"
    assert paper["coco_stuff"].label_size == (256, 256)
    assert [paper[dataset].mean_iou for dataset in PUBLISHED] == [
        *("present", "all", "all", "union")
    ]
    assert protocols.find("clade", "ade20k").reference_split == "train"
    oasis = protocols.find("oasis", "cityscapes")
    assert (oasis.reference_split, oasis.label_size) == ("val", (256, 512))
    assert oasis.segmenter.scales == (1, 0.5, 0.75, 1.25, 1.5, 1.75)
    assert protocols.find("oasis", "ade20k").segmenter.scales == (
        *(300, 375, 450, 525, 600),
    )


def test_only_inceptions_distance_is_called_fid():
    assert protocols.find("paper", "coco_stuff").distance_name == "FID"
    own = protocols.find("own", "camvid")
    assert own.distance_name == "FD-own"
    assert own.label_size is None


def test_what_does_not_exist_is_refused_with_what_does():
    with pytest.raises(ValueError, match="=spade is not one of paper, oasis, clade"):
        protocols.find("spade", "ade20k")
    with pytest.raises(
        ValueError, match=r"nothing of config\.data\.source='camvid'.*own"
    ):
        protocols.find("paper", "camvid")
    with pytest.raises(ValueError, match="square_root='exact' is not one of eigh, sq"):
        dataclasses.replace(protocols.PROTOCOLS[0], square_root="exact")
    other = protocols.SegmenterSpec("fcn8")
    with pytest.raises(
        ValueError, match=r"segmenter\.network='fcn8' is not one of own"
    ):
        dataclasses.replace(protocols.PROTOCOLS[0], segmenter=other)


def test_ids_become_the_segmenters_classes():
    coco = protocols.true_classes("coco_stuff", 183)
    np.testing.assert_array_equal(coco[:182], np.arange(182))
    assert coco[182] == -1
    ade20k = protocols.true_classes("ade20k_outdoor", 151)
    np.testing.assert_array_equal(ade20k, np.arange(-1, 150))
    cityscapes = protocols.true_classes("cityscapes", 35)
    assert sorted(cityscapes[cityscapes >= 0]) == list(range(19))
    np.testing.assert_array_equal(protocols.true_classes("scenes", 13), np.arange(13))
