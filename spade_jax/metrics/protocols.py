"""What published evaluations did, as far as it is known, each under a name.

A number is comparable only with numbers of the same protocol. SPADE's evaluation code
was never released, so that part of "paper" is what others found to reproduce its
numbers; `notes` says what is not known. `docs/evaluation.md` tells the whole story.

Sizes are (height, width).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from spade_jax.metrics import frechet, segmentation, weights
from spade_jax.metrics.nets import drn, upernet


@dataclasses.dataclass(frozen=True)
class SegmenterSpec:
    """Which segmenter looks for the layout in the pictures, and how.

    Attributes:
      network: a key of `spade_jax.metrics.weights.PUBLISHED`, or "own": the project's
        own segmenter, trained on the dataset's real pictures.
      scales: for "drn105" of the picture's sides, whose log-probabilities are summed;
        for UperNets the short sides in pixels, whose probabilities are averaged. Empty:
        the picture as it is. DeepLab-V2 has its three scales inside.
      size: the pictures are resized to it first, by Pillow's bicubic filter; None: they
        keep the generator's.
    """

    network: str
    scales: tuple[float, ...] = ()
    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How pictures are made, compared and scored.

    The true layout is the generator's, but for its size: it comes from the label file
    by nearest neighbour, at the size that the segmenter works at.

    Attributes:
      name: of the protocol.
      dataset: a value of `config.data.source`, or "any".
      reference_split: "val" or "train": the real pictures of the Frechet distance. What
        is synthesised is always the validation split's.
      size: of the pictures, real and synthesised; None: the model's own.
      quantise: "truncate" as the official program writes PNGs, or "none": the
        generator's floating-point output as it is.
      segmenter: who looks for the layout.
      mean_iou: one of `spade_jax.metrics.segmentation.MEAN_IOU_RULES`.
      accuracy: one of `spade_jax.metrics.segmentation.ACCURACY_RULES`.
      features: of the Frechet distance: "inception", or "own" for those of the
        project's own segmenter, which make it a distance but not FID.
      square_root: a key of `spade_jax.metrics.frechet.SQUARE_ROOTS`.
      sources: where each choice comes from.
      notes: what is not known, or disputed.
    """

    name: str
    dataset: str
    reference_split: str
    size: tuple[int, int] | None
    quantise: str
    segmenter: SegmenterSpec
    mean_iou: str
    accuracy: str
    features: str
    square_root: str
    sources: tuple[str, ...]
    notes: str

    def __post_init__(self):
        choices = {
            "reference_split": ("val", "train"),
            "quantise": ("truncate", "none"),
            "mean_iou": segmentation.MEAN_IOU_RULES,
            "accuracy": segmentation.ACCURACY_RULES,
            "features": ("inception", "own"),
            "square_root": tuple(frechet.SQUARE_ROOTS),
        }
        for field, allowed in choices.items():
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(
                    f"Protocol {self.name}: {field}={value!r} is not one of"
                    f" {', '.join(allowed)}."
                )
        networks = ("own", *weights.PUBLISHED)
        if self.segmenter.network not in networks:
            raise ValueError(
                f"Protocol {self.name}: segmenter.network={self.segmenter.network!r} is"
                f" not one of {', '.join(networks)}."
            )

    @property
    def networks(self) -> frozenset[str]:
        """Through which pictures are looked at, "own" among them if it is one."""
        return frozenset({self.features, self.segmenter.network})

    @property
    def label_size(self) -> tuple[int, int] | None:
        """Size of the true layouts; None: the model's own."""
        return self.segmenter.size or self.size

    @property
    def distance_name(self) -> str:
        """What the Frechet distance may be called."""
        return "FID" if self.features == "inception" else "FD-own"

    def description(self) -> dict[str, object]:
        """All of it, as `json.dumps` takes it: for the file of results."""
        return dataclasses.asdict(self)


def as_flag(field: str) -> str:
    """A field as messages name it by default: `--FIELD`."""
    return f"--{field}"


def find(
    name: str, dataset: str, *, called: Callable[[str], str] = as_flag
) -> Protocol:
    """The protocol of a name for a dataset.

    Args:
      name: one of `names()`.
      dataset: a value of `config.data.source`.
      called: what messages call the field "protocol", in which the name was given.

    Raises:
      ValueError: there is none; the message says which there are.
    """
    for protocol in PROTOCOLS:
        if protocol.name == name and protocol.dataset in (dataset, "any"):
            return protocol
    if name not in names():
        raise ValueError(
            f"{called('protocol')}={name} is not one of {', '.join(names())}."
        )
    raise ValueError(
        f"{called('protocol')}={name} says nothing of config.data.source={dataset!r},"
        f" for which there is {called('protocol')}={' or '.join(names(dataset))}."
    )


def names(dataset: str | None = None) -> tuple[str, ...]:
    """The names of all protocols, or of a dataset's, without repetition."""
    return tuple(
        dict.fromkeys(
            protocol.name
            for protocol in PROTOCOLS
            if dataset is None or protocol.dataset in (dataset, "any")
        )
    )


def true_classes(dataset: str, num_ids: int) -> np.ndarray:
    """The segmenter's class of each id in a dataset's label maps; -1: ignored.

    Args:
      dataset: a value of `config.data.source`.
      num_ids: ids that a label map of the pipeline may hold, "unknown" among them.

    Returns:
      int32 `[num_ids]`. For datasets without a published segmenter the classes are the
      ids.
    """
    classes = np.arange(num_ids, dtype=np.int32)
    match dataset:
        case "coco_stuff":  # 0..181 as stored; the pipeline's 182 is "unlabelled"
            classes[_COCO_CLASSES:] = -1
        case "ade20k" | "ade20k_outdoor":  # 0 is "unknown"
            classes -= 1
        case "cityscapes":
            classes[:] = -1
            for train_id, label_id in enumerate(_CITYSCAPES_TRAIN):
                classes[label_id] = train_id
    return classes


# kazuto1011/deeplab-pytorch, 4219467, configs/cocostuff164k.yaml; eleven never occur.
_COCO_CLASSES = 182
# The ids of the 19 classes that are scored, in the order of the "trainIds" of
# cityscapesScripts/helpers/labels.py; fyu/drn, d75db2e, datasets/cityscapes/
# prepare_data.py:47.
_CITYSCAPES_TRAIN = (
    *(7, 8, 11, 12, 13, 17),
    *(19, 20, 21, 22, 23, 24, 25, 26, 27, 28),
    *(31, 32, 33),
)

_SQUARE = (256, 256)
_WIDE = (256, 512)
_PYTORCH_FID = "FID by mseitzer/pytorch-fid: NVlabs/SPADE, issue 14 (the author)"
_ISSUE_39 = "segmenters by name: NVlabs/SPADE, issue 39 (its question)"
_OASIS_FID = "FID: boschresearch/OASIS, utils/fid_scores.py, commit 307c852"
_CLADE_FID = (
    "FID against the training set: tzt101/CLADE, README.md, commit 1ffd19d, and"
    " train.py, datasets/train_mu_si"
)
_NO_CODE = "The paper's evaluation code was never released (NVlabs/SPADE, issue 14)."
_UNQUANTISED = (
    "Covariances there are in float32, here in float64; pictures go to Inception as the"
    " generator's floats, without PNGs between."
)
_NO_SEGMENTATION = (
    "CLADE's public files do not say how mIoU was measured; here as by `paper`."
)


def _paper(
    dataset: str,
    segmenter: SegmenterSpec,
    *,
    mean_iou: str,
    sources: tuple[str, ...],
    notes: str,
    size: tuple[int, int] = _SQUARE,
    accuracy: str = "labelled",
) -> Protocol:
    return Protocol(
        name="paper",
        dataset=dataset,
        reference_split="val",
        size=size,
        quantise="truncate",
        segmenter=segmenter,
        mean_iou=mean_iou,
        accuracy=accuracy,
        features="inception",
        square_root="sqrtm",
        sources=(_PYTORCH_FID, _ISSUE_39, *sources),
        notes=f"{_NO_CODE} {notes}",
    )


_PAPER_COCO = _paper(
    "coco_stuff",
    SegmenterSpec("deeplabv2"),
    mean_iou="present",
    sources=(
        "256x256 into DeepLab, labels to 256x256 by nearest neighbour: xh-liu/CC-FPSE,"
        " issue 4 (of CC-FPSE's own numbers)",
        "mIoU over classes present: kazuto1011/deeplab-pytorch, libs/utils/metric.py:24"
        " (4219467)",
    ),
    notes="That SPADE's sizes are CC-FPSE's is an assumption. With pytorch-fid others"
    " get the paper's FID (NVlabs/SPADE, issue 51).",
)
_PAPER_ADE20K = _paper(
    "ade20k",
    SegmenterSpec("upernet101_baseline", scales=upernet.BASELINE_SHORT_SIDES),
    mean_iou="all",
    sources=(
        "one short side of 450: CSAILVision/semantic-segmentation-pytorch until commit"
        " 71c559e (2019-08-03)",
        "mIoU over all classes: CSAILVision/semantic-segmentation-pytorch, eval.py:98"
        " (8f27c9b)",
    ),
    notes="A re-measurement that ignores unlabelled pixels gives mIoU 42.0 and accuracy"
    " 81.4 where the paper has 38.5 and 79.9 (Seanseattle/SMIS, issue 6). With"
    " pytorch-fid others get the paper's FID (NVlabs/SPADE, issue 51).",
)
_PAPER_CITYSCAPES = _paper(
    "cityscapes",
    SegmenterSpec("drn105", size=(1024, 2048)),
    size=_WIDE,
    mean_iou="union",
    accuracy="all_pixels",
    sources=(
        "pictures enlarged to 1024x2048 reproduce SPADE's mIoU: boschresearch/OASIS,"
        " issue 18",
        "accuracy counts ignored pixels as wrong: EndlessSora/TSIT, issue 1",
        "mIoU over classes in the union: fyu/drn, segment.py:452 (d75db2e)",
    ),
    notes="Disputed: NVlabs/SPADE, issue 100, has mIoU 62.2 and accuracy 93.5 with"
    " label maps reduced bilinearly instead, as the author is said to have answered in"
    " issue 39. The filter of the enlargement, and whether DRN saw several scales, are"
    " not known; here bicubic, one scale. Others measure FID 63 (issues 51 and 100),"
    " not the paper's 71.8.",
)


def _oasis(base: Protocol, segmenter: SegmenterSpec, *, sources, notes) -> Protocol:
    return dataclasses.replace(
        base,
        name="oasis",
        quantise="none",
        segmenter=segmenter,
        accuracy="labelled",
        sources=(_OASIS_FID, *sources),
        notes=f"{notes} {_UNQUANTISED}",
    )


def _clade(base: Protocol) -> Protocol:
    return dataclasses.replace(
        base,
        name="clade",
        reference_split="train",
        sources=(_CLADE_FID, *base.sources[1:]),
        notes=_NO_SEGMENTATION,
    )


def _for_outdoor(protocol: Protocol) -> Protocol:
    return dataclasses.replace(protocol, dataset="ade20k_outdoor")


_OASIS_ADE20K = _oasis(
    _PAPER_ADE20K,
    SegmenterSpec("upernet101", scales=upernet.SHORT_SIDES),
    sources=(
        "pictures 256x256, bicubic, validation split: boschresearch/OASIS,"
        " dataloaders/Ade20kDataset.py, commit 307c852",
        "ade20k-resnet101-upernet: boschresearch/OASIS, issue 17 (its question)",
        "the config's own five sizes: essunny310/FreestyleNet, issue 3 (of"
        " FreestyleNet's numbers)",
    ),
    notes="The scales are not told; a single one of 256 gives OASIS 42.76, not its"
    " published 48.8 (issue 17).",
)

PROTOCOLS = (
    _PAPER_COCO,
    _PAPER_ADE20K,
    _for_outdoor(_PAPER_ADE20K),
    _PAPER_CITYSCAPES,
    _oasis(
        _PAPER_COCO,
        SegmenterSpec("deeplabv2"),
        sources=(
            "pictures 256x256, bicubic, labels nearest, validation split:"
            " boschresearch/OASIS, dataloaders/CocoStuffDataset.py, commit 307c852",
        ),
        notes="The release and scales of DeepLab-V2 are not told.",
    ),
    _OASIS_ADE20K,
    _for_outdoor(_OASIS_ADE20K),
    _oasis(
        _PAPER_CITYSCAPES,
        SegmenterSpec("drn105", scales=(1, *drn.SCALES)),
        sources=(
            "pictures 256x512, bicubic, validation split: boschresearch/OASIS,"
            " dataloaders/CityscapesDataset.py, commit 25695d7",
            "DRN at 256x512, labels reduced by nearest neighbour: boschresearch/OASIS,"
            " issue 5 (an author), whose question names --ms",
        ),
        notes="The published DRN weights do not reproduce its mIoU for others"
        ' (boschresearch/OASIS, issue 18). Issue 2 calls the reference set "test"; its'
        " loader reads val.",
    ),
    _clade(_PAPER_COCO),
    _clade(_PAPER_ADE20K),
    _clade(_for_outdoor(_PAPER_ADE20K)),
    _clade(_PAPER_CITYSCAPES),
    Protocol(
        name="own",
        dataset="any",
        reference_split="val",
        size=None,
        quantise="none",
        segmenter=SegmenterSpec("own"),
        mean_iou="union",
        accuracy="labelled",
        features="own",
        square_root="eigh",
        sources=("this project",),
        notes="Comparable only with scores by the same segmenter's weights.",
    ),
)
