"""Images a second through the whole input pipeline, beside a PyTorch DataLoader.

    python benchmarks/input_pipeline.py --root=../shared/coco_stuff_sample

From files to batches, as the COCO-Stuff recipe has it: read and decode a photograph
(JPEG), its labels and its instances (PNG, 8 and 16 bits), resize to 286x286, crop to
256x256, flip, find the instances' edges, convert to float, stack 32. PyTorch's side
does the same with Pillow and tensors, in a dataset written here after the official
loader's steps; both are first checked to make equal arrays. Without PyTorch only our
rows are printed, and TensorFlow is not needed.

The pictures are those of `--root` (`train_img`, `train_label`, `train_inst`), or
landscapes drawn here at 640x480. They are copied into a temporary directory, so they
come from the page cache: it is the processor that is measured, not the disk.

All pipelines run in turn, once a round. In its turn each is started, warmed up until
every worker has made two batches, timed, and closed; the consumer only counts. One of
our workers reads with cores / workers threads, one of PyTorch's with one.

Keys of the JSON file:

    pictures, examples  how many of what, and how many examples made of them
    batch_size, batches, rounds  each round times `batches` batches
    cpu, cores, load    the processor's name, how many cores, and the load average
                        before the first and after the last round
    date, versions      UTC; of Python and of the packages that do the work
    rows                one for each number of workers (0: threads of the process):
      ours, pytorch     images a second: the `median` and, in order, all `rounds`
      ratio             ours / pytorch: the median over the rounds' ratios
"""

import contextlib
import functools
import json
import os
import pathlib
import random
import shutil
import statistics
import sys
import tempfile
import time
import warnings

import numpy as np
from absl import app, flags
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine
from spade_jax import data
from spade_jax.data import scenes

_ROOT = flags.DEFINE_string("root", None, "Pictures to read; None draws landscapes.")
_WORKERS = flags.DEFINE_list("workers", ["0", "1", "2", "4"], "Numbers of workers.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds over all pipelines.")
_BATCHES = flags.DEFINE_integer("batches", 12, "Timed batches of each turn.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Examples of a batch.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write the table to.")

_EXAMPLES = 96
_LOAD_SIZE, _CROP_SIZE = 286, 256
_NUM_CLASSES, _UNKNOWN = 182, 255
_SCENES, _WIDTH, _HEIGHT = 12, 640, 480

BICUBIC, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST


# ---- The pictures -------------------------------------------------------------------
def draw_scenes(target: pathlib.Path) -> None:
    """Draws `_SCENES` landscapes as a folder dataset."""
    folders = {field: target / f"train_{field}" for field in ("img", "label", "inst")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for seed in range(_SCENES):
        scene = scenes.draw(seed, height=_HEIGHT, width=_WIDTH)
        image = Image.fromarray(scene.image)
        # COCO's photographs are of about this quality.
        image.save(folders["img"] / f"{seed:02d}.jpg", quality=95)
        Image.fromarray(scene.label).save(folders["label"] / f"{seed:02d}.png")
        instance = scene.instance.astype(np.uint8)
        Image.fromarray(instance).save(folders["inst"] / f"{seed:02d}.png")


def write_pictures(originals: pathlib.Path, target: pathlib.Path) -> int:
    """Copies pictures, again and again, into a folder dataset of `_EXAMPLES`.

    Instance maps are written anew with 16 bits. Returns the number of originals.
    """
    photographs = sorted((originals / "train_img").glob("*.jpg"))
    if not photographs:
        raise SystemExit(f"--root={originals}: there are no train_img/*.jpg in it.")
    for field in ("img", "label", "inst"):
        (target / f"train_{field}").mkdir(parents=True)
    for number in range(_EXAMPLES):
        photograph = photographs[number % len(photographs)]
        name, original = f"{number:04d}", f"{photograph.stem}.png"
        shutil.copy(photograph, target / "train_img" / f"{name}.jpg")
        label = originals / "train_label" / original
        shutil.copy(label, target / "train_label" / f"{name}.png")
        with Image.open(originals / "train_inst" / original) as picture:
            instance = np.asarray(picture).astype(np.uint16)
        Image.fromarray(instance).save(target / "train_inst" / f"{name}.png")
    return len(photographs)


# ---- Ours ---------------------------------------------------------------------------
def open_source(root: pathlib.Path) -> data.Source:
    return data.FolderSource(
        root,
        "train",
        num_classes=_NUM_CLASSES,
        unknown_label=_UNKNOWN,
        instances=True,
    )


PREPROCESS = data.Preprocess(
    mode="resize_and_crop", load_size=_LOAD_SIZE, crop_size=_CROP_SIZE
)


@contextlib.contextmanager
def our_batches(root: pathlib.Path, workers: int):
    iterator = data.batches(
        open_source(root),
        batch_size=_BATCH_SIZE.value,
        seed=0,
        shuffle=True,
        transform=PREPROCESS,
        workers=workers,
    )
    yield iterator
    iterator.close()


# ---- PyTorch's. It is imported where it is used: our workers import this module. -----
class TorchExamples:
    """A dataset for `torch.utils.data.DataLoader`: the official loader's steps."""

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._names = sorted(path.stem for path in (root / "train_img").iterdir())

    def __len__(self):
        return len(self._names)

    def __getitem__(self, index):
        spare = _LOAD_SIZE - _CROP_SIZE
        return self.example(
            index,
            left=random.randint(0, spare),
            top=random.randint(0, spare),
            flip=random.random() > 0.5,
        )

    def example(self, index, *, left, top, flip):
        cut = functools.partial(_cut, left=left, top=top, flip=flip)
        name = self._names[index]
        with Image.open(self._root / "train_label" / f"{name}.png") as picture:
            label = _to_tensor(cut(picture, NEAREST)) * 255.0
        label[label == _UNKNOWN] = _NUM_CLASSES
        with Image.open(self._root / "train_img" / f"{name}.jpg") as picture:
            image = _to_tensor(cut(picture.convert("RGB"), BICUBIC))
        image.sub_(0.5).div_(0.5)
        with Image.open(self._root / "train_inst" / f"{name}.png") as picture:
            # 32 bits is what Pillow read 16-bit PNGs as in the official code's time. It
            # resizes 16-bit pictures by other rounding.
            edge = _torch_edges(_to_tensor(cut(picture.convert("I"), NEAREST)))
        return {"image": image, "label": label, "edge": edge}


def _cut(picture, resample, *, left, top, flip):
    picture = picture.resize((_LOAD_SIZE, _LOAD_SIZE), resample)
    picture = picture.crop((left, top, left + _CROP_SIZE, top + _CROP_SIZE))
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else picture


def _to_tensor(picture):
    """[C, H, W]: 8 bits as float32 0..1, 32 bits as the numbers themselves."""
    import torch

    if picture.mode == "I":
        return torch.from_numpy(np.array(picture))[None]
    tensor = torch.from_numpy(np.array(picture))
    if tensor.ndim == 2:
        tensor = tensor[..., None]
    return tensor.permute(2, 0, 1).contiguous().to(torch.float32).div_(255)


def _torch_edges(instance):
    import torch

    edge = torch.zeros(instance.shape, dtype=torch.bool)
    across = instance[..., 1:] != instance[..., :-1]
    down = instance[:, 1:] != instance[:, :-1]
    edge[..., 1:] |= across
    edge[..., :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    return edge.float()


@contextlib.contextmanager
def torch_batches(root: pathlib.Path, workers: int):
    import torch.utils.data

    # On purpose: more workers than cores are a row of the table.
    warnings.filterwarnings("ignore", "This DataLoader will create")
    examples = TorchExamples(root)
    # So many draws that there is one epoch only, whose end nobody waits at.
    sampler = torch.utils.data.RandomSampler(
        examples, replacement=True, num_samples=10**6
    )
    loader = torch.utils.data.DataLoader(
        examples, batch_size=_BATCH_SIZE.value, sampler=sampler, num_workers=workers
    )
    # Its iterator ends the workers when nothing refers to it any more.
    yield iter(loader)


# ---- Equal arrays, then times -------------------------------------------------------
def _with_seed(example, rng, *, seed):
    return PREPROCESS(example, np.random.default_rng(seed))


def check_equal(root: pathlib.Path) -> None:
    """Both sides' batches of the first 16 examples, with the same geometry."""
    import torch.utils.data

    theirs = TorchExamples(root)
    flips = set()
    for seed in range(4):
        draw = data.draw_geometry(
            np.random.default_rng(seed),
            (_WIDTH, _HEIGHT),
            mode=PREPROCESS.mode,
            load_size=_LOAD_SIZE,
            crop_size=_CROP_SIZE,
        )
        flips.add(draw.flip)
        left, top = draw.crop[:2]
        collated = torch.utils.data.default_collate(
            [theirs.example(i, left=left, top=top, flip=draw.flip) for i in range(16)]
        )
        iterator = data.batches(
            open_source(root),
            batch_size=16,
            seed=0,
            shuffle=False,
            transform=functools.partial(_with_seed, seed=seed),
        )
        ours = next(iterator)
        iterator.close()
        expected = {
            "image": collated["image"].permute(0, 2, 3, 1),
            "label": collated["label"][:, 0].long(),
            "edge": collated["edge"][:, 0].bool(),
        }
        for field, tensor in expected.items():
            np.testing.assert_array_equal(ours[field], tensor.numpy(), field)
    assert flips == {False, True}


def time_turn(pipeline, root: pathlib.Path, workers: int) -> float:
    """Starts a pipeline, warms it up, times it and closes it: images a second."""
    with pipeline(root, workers) as iterator:
        for _ in range(2 * max(workers, os.cpu_count())):
            next(iterator)
        start = time.perf_counter()
        for _ in range(_BATCHES.value):
            next(iterator)
        seconds = time.perf_counter() - start
    return _BATCHES.value * _BATCH_SIZE.value / seconds


def main(_):
    pipelines = {"ours": our_batches}
    packages = ["grain", "numpy", "pillow"]
    try:
        import torch  # noqa: F401
    except ImportError:
        print("PyTorch is not installed: our rows only.")
    else:
        pipelines["pytorch"] = torch_batches
        packages.append("torch")

    workers = [int(number) for number in _WORKERS.value]
    turns = {
        (n, side): [] for n in workers for side in pipelines if n or side == "ours"
    }
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory) / "pictures"
        if _ROOT.value is None:
            originals = pathlib.Path(directory) / "landscapes"
            draw_scenes(originals)
        else:
            originals = pathlib.Path(_ROOT.value).resolve()
        shown = f"{write_pictures(originals, root)} pictures of {originals.name}"
        if "pytorch" in pipelines:
            check_equal(root)
            print("Equal arrays on both sides.", flush=True)
        for number in range(_ROUNDS.value):
            for (n, side), rates in turns.items():
                rates.append(time_turn(pipelines[side], root, n))
                print(
                    f"round {number + 1}: {side}, {n} workers: {rates[-1]:.1f}/s",
                    flush=True,
                )
    load.append(os.getloadavg()[0])

    rows = []
    for n in workers:
        row = {"workers": n}
        for side in pipelines:
            if rates := turns.get((n, side)):
                row[side] = {"median": statistics.median(rates), "rounds": rates}
        if "pytorch" in row:
            pairs = zip(row["ours"]["rounds"], row["pytorch"]["rounds"], strict=True)
            row["ratio"] = statistics.median(a / b for a, b in pairs)
        rows.append(row)

    print(f"\n{shown}; images/s, median of {_ROUNDS.value} rounds\n")
    print("| workers | ours | PyTorch | ratio |\n|---|---|---|---|")
    for row in rows:
        cells = [str(row["workers"] or "0 (threads)"), f"{row['ours']['median']:.1f}"]
        if "ratio" in row:
            cells += [f"{row['pytorch']['median']:.1f}", f"{row['ratio']:.2f}"]
        else:
            cells += ["-", "-"]
        print(f"| {' | '.join(cells)} |")
    if _OUT.value:
        report = {
            "pictures": shown,
            "examples": _EXAMPLES,
            "batch_size": _BATCH_SIZE.value,
            "batches": _BATCHES.value,
            "rounds": _ROUNDS.value,
            **machine(packages),
            "load": load,
            "rows": rows,
        }
        pathlib.Path(_OUT.value).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
