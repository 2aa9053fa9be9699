import importlib.util
import json

import jax
import numpy as np
import pytest

from spade_jax.devices import batches, gather, mesh
from spade_jax.metrics import frechet
from spade_jax.metrics.frechet import Moments, Statistics, frechet_distance

# What rounding makes of a distance that is exactly zero.
ZERO = 1e-12


@pytest.fixture(scope="module")
def features(shared):
    """`features(seed, N, D, shift, scale)`: those that the goldens are of."""
    path = shared / "metric_goldens" / "seeded_weights.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.seeded_features


@pytest.fixture(scope="module")
def cases(features):
    """The golden cases' sets."""
    first, second = features(1001, 400, 64), features(1002, 300, 64)

    def dead(x, start):
        return np.where((np.arange(64) >= start) & (np.arange(64) < start + 10), 0, x)

    return {
        "full_rank_64": (first, features(1002, 300, 64, 0.1, 1.1)),
        "rank_deficient_256": (
            features(1003, 100, 256),
            features(1004, 80, 256, 0.05, 0.9),
        ),
        "identical_64": (first, first),
        "mean_shift_only_64": (first, first + 0.25),
        "dead_features_64": (dead(first, 0), dead(second, 0)),
        "dead_features_disjoint_64": (dead(first, 0), dead(second, 5)),
        "constant_second_set_64": (first, np.ones((300, 64))),
        "both_constant_64": (np.zeros((400, 64)), np.ones((300, 64))),
        "two_samples_64": (features(1005, 2, 64), features(1006, 2, 64)),
        "one_dimension": (features(1007, 50, 1), features(1008, 60, 1)),
        "scaled_small_64": (1e-4 * first, 1e-4 * second),
    }


@pytest.fixture(scope="module")
def golden_distances(shared):
    """By case, what pytorch-fid gives with three versions of SciPy."""
    folder = shared / "metric_goldens" / "goldens"
    distances = {}
    for path in sorted(folder.glob("golden_fid_scipy*.json")):
        for name, case in json.loads(path.read_text())["cases"].items():
            if "fid" in case:
                distances.setdefault(name, []).append(case["fid"])
    return distances


def statistics(features) -> Statistics:
    return Moments.empty(features.shape[1]).update(features).statistics()


def moments_of(parts) -> Moments:
    moments = Moments.empty(parts[0].shape[1])
    for part in parts:
        moments = moments.update(part)
    return moments


@pytest.mark.parametrize("square_root", ["eigh", "sqrtm"])
def test_distance_is_that_of_pytorch_fid(cases, golden_distances, square_root):
    assert set(golden_distances) - set(cases) == {"cityscapes_like_500x2048"}
    for name, (first, second) in cases.items():
        if (name, square_root) == ("rank_deficient_256", "sqrtm"):
            continue  # SciPy takes 5 seconds
        found = frechet_distance(
            statistics(first), statistics(second), square_root=square_root
        )
        # The root of the disjoint case exists for some versions of SciPy only.
        golden = min(golden_distances[name], key=lambda value: abs(value - found))
        assert found == pytest.approx(golden, rel=1e-6, abs=ZERO), name


def test_where_the_root_is_not_finite_the_diagonals_are_raised(
    cases, golden_distances, monkeypatch
):
    sqrtm = frechet.scipy.linalg.sqrtm
    calls = []

    def first_fails(product):
        calls.append(product)
        return np.full_like(product, np.nan) if len(calls) == 1 else sqrtm(product)

    monkeypatch.setattr(frechet.scipy.linalg, "sqrtm", first_fails)
    first, second = map(statistics, cases["dead_features_disjoint_64"])
    found = frechet_distance(first, second, square_root="sqrtm")
    assert found == pytest.approx(min(golden_distances["dead_features_disjoint_64"]))
    assert len(calls) == 2


def test_a_root_that_is_far_from_real_is_refused(monkeypatch):
    monkeypatch.setattr(frechet.scipy.linalg, "sqrtm", lambda x: x + 2e-3j * np.eye(2))
    unit = Statistics(np.zeros(2), np.eye(2), None)
    with pytest.raises(ValueError, match=r"up to 0.002.*'eigh'"):
        frechet_distance(unit, unit, square_root="sqrtm")


def test_moments_are_those_of_all_features_at_once_however_they_come():
    random = np.random.default_rng(0)
    # A mean far above the deviations, where sums of squares would lose eight digits.
    x = random.standard_normal((103, 5)) + 1e4 * np.arange(1, 6)
    for sizes in ([103], [1] * 103, [50, 3, 0, 50], [1, 102]):
        moments = moments_of(np.split(x, np.cumsum(sizes)[:-1]))
        assert moments.count == 103
        np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-14)
        np.testing.assert_allclose(
            moments.statistics().covariance, np.cov(x, rowvar=False), atol=1e-10
        )


def test_moments_merge_in_any_order():
    x = np.random.default_rng(1).standard_normal((30, 4)) + 100
    parts = [moments_of([part]) for part in np.split(x, [3, 4, 20])]
    forth = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    back = parts[3].merge(parts[2].merge(parts[1].merge(parts[0])))
    empty = Moments.empty(4)
    assert empty.merge(forth) is forth
    assert forth.merge(empty) is forth
    for one, other in zip(forth, back, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-11)


def test_eight_devices_and_a_ragged_last_batch_change_nothing():
    devices = mesh.make_mesh()
    images = np.random.default_rng(2).random((21, 6, 6, 3)).astype(np.float32)

    def extract(image):
        return image.reshape(len(image), -1, 9).mean(1) ** 2

    @jax.jit
    def on_devices(batch):
        return extract(batch["image"])

    moments = Moments.empty(9)
    for start in (0, 16):
        chosen = images[start : start + 16]
        missing = 16 - len(chosen)
        filled = np.concatenate([chosen, np.full((missing, *images.shape[1:]), np.nan)])
        batch = batches.shard_batch({"image": filled.astype(np.float32)}, devices)
        rows = on_devices(batch)
        assert len(rows.sharding.device_set) == 8
        mask = np.arange(16) < len(chosen)
        moments = moments.update(gather.local_rows(rows), mask)
    expected = moments_of([extract(images)])
    assert moments.count == 21
    np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(moments.scatter, expected.scatter, rtol=1e-4, atol=1e-7)


def test_statistics_go_through_pytorch_fids_file(tmp_path, monkeypatch):
    ours = statistics(np.random.default_rng(3).random((9, 4)))
    frechet.write_statistics(tmp_path / "reference", ours)
    with np.load(tmp_path / "reference") as file:
        np.testing.assert_array_equal(file["mu"], ours.mean)
        np.testing.assert_array_equal(file["sigma"], ours.covariance)
    monkeypatch.setenv("HOME", str(tmp_path))
    again = frechet.read_statistics("~/reference")
    np.testing.assert_array_equal(again.covariance, ours.covariance)
    assert again.count == 9
    np.savez(tmp_path / "theirs.npz", mu=ours.mean, sigma=ours.covariance)
    assert frechet.read_statistics(tmp_path / "theirs.npz").count is None
    assert frechet_distance(ours, again) == pytest.approx(0, abs=ZERO)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda file: None, "does not exist. Give"),
        (lambda file: file.write_bytes(b""), "holds no statistics"),
        (lambda file: np.savez(file, mu=np.zeros(3)), "sigma"),
        (lambda file: np.savez(file, mu=np.zeros(3), sigma=np.eye(2)), r"\(2, 2\)"),
        (lambda file: np.savez(file, mu=np.zeros(2), sigma=np.eye(2) * np.nan), "fini"),
        (lambda file: np.save(file.open("wb"), np.zeros(3)), "single array"),
    ],
)
def test_a_file_without_statistics_is_one_clear_error(tmp_path, save, message):
    file = tmp_path / "reference.npz"
    save(file)
    with pytest.raises(ValueError, match=rf"reference\.npz.*{message}"):
        frechet.read_statistics(file)


def test_a_set_of_one_picture_is_refused_by_name():
    with pytest.raises(ValueError, match=r"The real set has 1 picture: a cov.*val_spl"):
        moments_of([np.ones((1, 3))]).statistics("The real set")
    with pytest.raises(ValueError, match="has 0 pictures:"):
        Moments.empty(3).statistics()


def test_features_that_are_not_finite_are_refused():
    x = np.ones((4, 3))
    x[2, 1] = np.inf
    with pytest.raises(ValueError, match=r"1 of 4 pictures.*picture 7 of the set"):
        moments_of([np.ones((5, 3))]).update(x)


def test_features_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 4\).*of 3 features"):
        Moments.empty(3).update(np.ones((2, 4)))
    sets = [statistics(np.random.default_rng(0).random((5, d))) for d in (3, 4)]
    with pytest.raises(ValueError, match="has 3 features a picture, the other 4"):
        frechet_distance(*sets)


def test_few_pictures_are_warned_of():
    few, enough = (Statistics(np.zeros(4), np.eye(4), count) for count in (4, 5))
    assert "The real set has 4 pictures" in frechet.few_pictures("The real set", few)
    assert frechet.few_pictures("The real set", enough) is None
    assert frechet.few_pictures("A file", few._replace(count=None)) is None
