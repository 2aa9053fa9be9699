"""What a bucket may answer: tried again for a while, or told in one line."""

import threading

import jax
import pytest
from google.auth.credentials import AnonymousCredentials

from spade_jax import main
from spade_jax.files import bucket as buckets
from spade_jax.files import replacing
from spade_jax.files.bucket import BucketError
from spade_jax.files.places import place


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Bounds that are as short as a test."""
    monkeypatch.setattr(buckets, "_PATIENCE", 2.5)


def write(path):
    with replacing(path) as unfinished:
        unfinished.write_text("whole")


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(429, marks=pytest.mark.long),
        pytest.param(500, marks=pytest.mark.long),
        503,
        None,
    ],
)
def test_what_passes_is_tried_again(bucket, server, status):
    """None: the connection ends in the middle of what is sent."""
    with server.failing("POST /upload", times=1, status=status) as fault:
        write(f"{bucket}/x")
    assert fault.seen == 2
    assert place(f"{bucket}/x").read_text() == "whole"


@pytest.mark.parametrize("status", [503, None])
def test_what_does_not_pass_is_told_and_leaves_what_was_there(bucket, server, status):
    write(f"{bucket}/x")
    before = buckets.look(f"{bucket}/x")
    with (
        server.failing("POST /upload", status=status) as fault,
        pytest.raises(BucketError, match=r"/x cannot be used: .*again later\.$"),
    ):
        write(f"{bucket}/x")
    assert fault.seen > 1
    assert buckets.look(f"{bucket}/x") == before


def test_a_slow_answer_is_waited_for(bucket, server):
    answered = threading.Event()
    with server.failing("POST /upload", times=1, wait=answered) as fault:
        writing = threading.Thread(target=write, args=[f"{bucket}/x"])
        writing.start()
        while not fault.seen:
            pass
        assert not place(f"{bucket}/x").exists()
        answered.set()
        writing.join()
    assert place(f"{bucket}/x").read_text() == "whole"


def test_an_answer_that_does_not_come_is_told(bucket, server, monkeypatch):
    monkeypatch.setattr(buckets, "_TIMEOUTS", (1, 0.1))
    monkeypatch.setattr(buckets, "_PATIENCE", 0.5)
    never = threading.Event()
    with (
        server.failing("POST /upload", wait=never),
        pytest.raises(BucketError, match=r"/x cannot be used: .*imed? ?out"),
    ):
        write(f"{bucket}/x")
    never.set()


@pytest.mark.parametrize(
    ("status", "says", "remedy"),
    [
        (401, "Invalid Credentials", "gcloud auth application-default login"),
        (403, "x does not have storage.objects.create", "Storage Object Admin"),
    ],
)
def test_what_is_not_allowed_is_told_at_once(bucket, server, status, says, remedy):
    with (
        server.failing("POST /upload", status=status, says=says) as fault,
        pytest.raises(BucketError, match=rf"/x cannot be used: .*{remedy}"),
    ):
        write(f"{bucket}/x")
    assert fault.seen == 1


def test_a_bucket_that_is_not_there(server):
    message = (
        r"^There is no bucket gs://no-such-bucket: check .*buckets create gs://no-"
    )
    with pytest.raises(BucketError, match=message):
        place("gs://no-such-bucket/run")


def test_without_credentials_one_is_anybody(monkeypatch, tmp_path):
    """Public buckets can be read so."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    found = buckets._client.__wrapped__()
    assert isinstance(found._credentials, AnonymousCredentials)
    # With some, of a user who has no project, too.
    monkeypatch.setattr(
        "google.auth.default", lambda **_: (AnonymousCredentials(), None)
    )
    assert buckets._client.__wrapped__().project is None


def test_a_bucket_that_may_not_be_read(server, bucket):
    with (
        server.failing(r"GET /storage/v1/b/[^/]+/o\?", status=403, says="no list"),
        pytest.raises(BucketError, match=r"gs://bucket-\w+ cannot be used: 403 .*role"),
    ):
        place(f"{bucket}/run")


@pytest.mark.parametrize(("status", "says"), [(403, "no"), (401, "Unauthorized")])
def test_what_epath_raises_is_told_in_a_line_too(bucket, server, status, says):
    path = place(f"{bucket}/x")
    with (
        server.failing("GET /storage/v1/b/bucket", status=status, says=says),
        pytest.raises(BucketError, match="cannot be used"),
        buckets.telling(),
    ):
        path.exists()


def test_errors_that_are_none_of_a_bucket_stay_what_they_are():
    for where in ("", "/x", "gs://bucket/x"):
        with pytest.raises(KeyError), buckets.telling(where):
            raise KeyError
        with pytest.raises(jax.errors.JaxRuntimeError), buckets.telling(where):
            raise jax.errors.JaxRuntimeError("UNAVAILABLE: another process is gone")
    for where in ("", "/x"):
        with pytest.raises(TimeoutError), buckets.telling(where):
            raise TimeoutError
    with pytest.raises(BucketError), buckets.telling("gs://bucket/x"):
        raise TimeoutError
    with pytest.raises(BucketError), buckets.telling("gs://bucket/x"):
        raise ValueError("UNAVAILABLE: Error opening kvstore: HTTP 503")


def test_how_to_go_on_is_told_of_a_bucket_that_does_not_answer(bucket, server):
    workdir = place(f"{bucket}/run")
    with server.failing("GET /storage/v1/b/bucket", status=403):
        assert main._how_to_go_on(workdir) == "Give the same command again."
    assert main._how_to_go_on(workdir).startswith("It had saved no checkpoint")


def test_epath_speaks_through_what_knows_the_emulator(bucket, monkeypatch):
    """Though it has seen a path, and TensorFlow, before the first one of a bucket."""
    from etils.epath import gpath

    monkeypatch.delenv("EPATH_USE_TF")
    gpath._is_tf_installed.cache_clear()
    assert gpath._is_tf_installed()
    buckets._prepare.cache_clear()
    assert not place(f"{bucket}/x").exists()
    assert not gpath._is_tf_installed()


def test_a_command_says_it_in_a_line():
    error = BucketError("gs://b/x cannot be used: 503.")
    assert main._told(error) == (f"BucketError: {error}", True)
