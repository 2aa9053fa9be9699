"""Published results, to be printed beside what is measured.

Only numbers with a source are here: a paper's own table, or what a public thread quotes
from it. A number that could not be looked up is None. They are percentages, as printed;
mean IoU and accuracy are those of a segmenter on the pictures, so that those of real
pictures are no 100.
"""

from typing import NamedTuple

_SPADE_PAPER = "Park et al., CVPR 2019, table 1"
_CC_FPSE = "Liu et al., NeurIPS 2019, as quoted by paperswithcode"
_OASIS = "Sushko et al., ICLR 2021, as quoted by paperswithcode"


class Result(NamedTuple):
    """A method's scores on a dataset's validation split.

    Attributes:
      dataset: a value of `config.data.source`.
      method: its name; "real pictures" for what the segmenter makes of those.
      mean_iou: percent, or None.
      accuracy: percent of pixels, or None.
      fid: against whatever the source took for reference, or None.
      protocol: a name of `spade_jax.metrics.protocols`, or None where it is another or
        not known.
      source: of the numbers.
      note: what has to be known to compare them, or nothing.
    """

    dataset: str
    method: str
    mean_iou: float | None
    accuracy: float | None
    fid: float | None
    protocol: str | None
    source: str
    note: str = ""


def _paper(
    dataset: str, method: str, mean_iou: float, accuracy: float, fid: float
) -> Result:
    return Result(dataset, method, mean_iou, accuracy, fid, "paper", _SPADE_PAPER)


RESULTS = (
    _paper("coco_stuff", "CRN", 23.7, 40.4, 70.4),
    _paper("coco_stuff", "pix2pixHD", 14.6, 45.8, 111.5),
    _paper("coco_stuff", "SPADE", 37.4, 67.9, 22.6),
    _paper("ade20k", "CRN", 22.4, 68.8, 73.3),
    _paper("ade20k", "pix2pixHD", 20.3, 69.2, 81.8),
    _paper("ade20k", "SPADE", 38.5, 79.9, 33.9),
    _paper("ade20k_outdoor", "CRN", 16.5, 68.6, 99.0),
    _paper("ade20k_outdoor", "SIMS", 13.1, 74.7, 67.7),
    _paper("ade20k_outdoor", "pix2pixHD", 17.4, 71.6, 97.8),
    _paper("ade20k_outdoor", "SPADE", 30.8, 82.9, 63.3),
    _paper("cityscapes", "CRN", 52.4, 77.1, 104.7),
    _paper("cityscapes", "SIMS", 47.2, 75.5, 49.7),
    _paper("cityscapes", "pix2pixHD", 58.3, 81.4, 95.0),
    _paper("cityscapes", "SPADE", 62.3, 81.9, 71.8),
    # SPADE measured again by others; SMIS says with the published weights.
    Result(
        *("cityscapes", "SPADE, re-measured", 62.2, 93.5, 63.36, None),
        "NVlabs/SPADE, issue 100",
        "label maps reduced bilinearly; ignored pixels are not counted",
    ),
    Result(
        *("cityscapes", "SPADE, re-measured", 62.3, 93.5, None, None),
        "Seanseattle/SMIS, issue 6",
        "ignored pixels are not counted",
    ),
    Result(
        *("cityscapes", "SPADE, re-measured", None, None, 63.0, None),
        "NVlabs/SPADE, issue 51",
        "in June 2019, with pytorch-fid",
    ),
    Result(
        *("ade20k", "SPADE, re-measured", 42.0, 81.4, None, None),
        "Seanseattle/SMIS, issue 6",
        "ignored pixels are not counted",
    ),
    # Later methods.
    Result(
        *("coco_stuff", "CC-FPSE", 41.6, 70.7, 19.2, "paper"),
        f"{_CC_FPSE}; accuracy: xh-liu/CC-FPSE, issue 4",
    ),
    Result("ade20k", "CC-FPSE", 43.7, None, 31.7, None, _CC_FPSE),
    Result("cityscapes", "CC-FPSE", 65.5, None, 54.3, None, _CC_FPSE),
    Result(
        *("cityscapes", "TSIT", None, 94.4, None, None),
        "Jiang et al., ECCV 2020, table 2, as quoted in EndlessSora/TSIT, issue 1",
        "ignored pixels are not counted",
    ),
    Result(
        *("cityscapes", "TSIT", None, 82.7, None, None),
        "EndlessSora/TSIT, issue 1",
        "ignored pixels count as wrong, as in SPADE's table",
    ),
    Result(
        *("coco_stuff", "OASIS", 44.1, None, 17.0, "oasis"), "Sushko et al., ICLR 2021"
    ),
    Result("ade20k", "OASIS", 48.8, None, 28.3, "oasis", _OASIS),
    Result("ade20k_outdoor", "OASIS", 40.4, None, 48.6, "oasis", _OASIS),
    Result("cityscapes", "OASIS", 69.3, None, 47.7, "oasis", _OASIS),
    Result(
        *("ade20k", "OASIS, re-measured", 42.76, None, None, None),
        "boschresearch/OASIS, issue 17",
        "UperNet at one short side, 256",
    ),
    # What the segmenters make of real pictures at their own sizes.
    Result(
        *("coco_stuff", "real pictures", 39.1, 66.8, None, None),
        "kazuto1011/deeplab-pytorch, README.md",
        "native sizes, without CRF",
    ),
    Result(
        *("ade20k", "real pictures", 42.66, 81.01, None, None),
        "CSAILVision/semantic-segmentation-pytorch, README.md",
        "native sizes, five scales; 42.00 and 80.79 with one",
    ),
    Result(
        *("cityscapes", "real pictures", 75.6, None, None, None),
        "fyu/drn, README.md",
        "1024x2048",
    ),
)


def of_dataset(dataset: str) -> tuple[Result, ...]:
    """All results on a dataset; none where nothing is published."""
    return tuple(result for result in RESULTS if result.dataset == dataset)


def target(dataset: str, protocol: str) -> Result | None:
    """SPADE's own result on a dataset by a protocol, if there is one."""
    for result in of_dataset(dataset):
        if (result.method, result.protocol) == ("SPADE", protocol):
            return result
    return None


def table(dataset: str) -> str:
    """The results on a dataset as a Markdown table, "-" for what is not known."""
    lines = [
        "| method | mIoU | accuracy | FID | protocol | source |",
        "|---|---|---|---|---|---|",
    ]
    for result in of_dataset(dataset):
        numbers = (result.mean_iou, result.accuracy, result.fid)
        cells = (
            result.method,
            *("-" if number is None else f"{number:g}" for number in numbers),
            result.protocol or "-",
            f"{result.source}; {result.note}" if result.note else result.source,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
