"""The page that is one story on TPUs: what each of its commands would do."""

import importlib.util
import os
import re
import shlex
import subprocess

import pytest
from absl import flags

from spade_jax import main
from spade_jax.plan.chips import parse_topology
from spade_jax.recipe.fields import FIELDS

# Printed and not run.
NOT_HERE = ("docker", "gcloud", "kubectl", "python", "tensorboard")


def blocks(text):
    """The commands of a Markdown page: what is indented by four, outside of lists."""
    found = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    return ["".join(line[4:] for line in x.splitlines(keepends=True)) for x in found]


@pytest.fixture(scope="module")
def said(repository):
    """The words of each command that the page comes to."""
    text = (repository / "docs" / "train_on_tpus.md").read_text()
    lines = [f'{name}() {{ printf "%q " {name} "$@"; echo; }}' for name in NOT_HERE]
    for block in blocks(text):
        # Each of them twice: as it is given, and what it would run.
        lines.append(re.sub(r"^launch/", "echo launch/", block, flags=re.MULTILINE))
        lines += re.findall(r"^launch/(?:.*\\\n)*.*\n", block, re.MULTILINE)
    script = "\n".join(lines)
    script = re.sub(r"^(launch/\S+)", r"\1 --dry_run", script, flags=re.MULTILINE)
    result = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=repository,
        env=os.environ | {"PYTHON": "python"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return words_of(result.stdout.replace(" | ", " '|' ").splitlines())


def words_of(lines):
    """The words that the shell makes of each of some commands."""
    script = "".join(f"printf '%s\\37' {line}\nprintf '\\36'\n" for line in lines)
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True
    )
    return [line.split("\37")[:-1] for line in result.stdout.split("\36")[:-1]]


def test_it_is_one_story(said):
    """From a bucket to scores and the end of the slice; then on Kubernetes."""
    told = "\n".join(" ".join(words) for words in said)
    steps = [
        *("python -m spade_jax.plan", "gcloud storage buckets create"),
        *("--mode=check_data", "gcloud storage cp", "launch/tpu_vm.sh create install"),
        *(
            "queued-resources create",
            "tpu-vm scp",
            "tpu-vm ssh",
            "launch/tpu_vm.sh log",
        ),
        *("launch/tpu_vm.sh stop", "--config.profile_at=", "--mode=eval"),
        *("spade_jax.publish", "queued-resources delete", "node-pools create"),
        *("launch/gke.sh image", "docker build", "launch/jobset.py", "kubectl logs"),
        "kubectl delete jobset",
    ]
    place = 0
    for step in steps:
        found = told.find(step, place)
        assert found >= 0, step
        place = found


def arguments(said):
    """Flags that the page gives to `spade_jax.main`, with what gives them."""
    for words in said:
        text = " ".join(words)
        if words[0].startswith("launch/") and "--" in words:
            yield text, words[words.index("--") + 1 :]
        elif "spade_jax.main" in words:
            yield text, words[words.index("spade_jax.main") + 1 :]
        elif words[0] == "gcloud":
            for word in words:
                if word.startswith("--command=") and "spade_jax.main" in word:
                    inner = re.split(r"spade_jax\.main|</dev/null", word)[1]
                    yield text, shlex.split(inner)


def test_every_flag_and_field_is_there(said, repository):
    checked = 0
    for command, given in arguments(said):
        names = dict(word.removeprefix("--").partition("=")[::2] for word in given)
        mode = names.pop("mode", "train")
        for name, value in names.items():
            if name.startswith("config."):
                assert name.removeprefix("config.") in FIELDS, command
            elif name not in ("coordinator",):
                assert name in main._MODES[mode], command
                flags.FLAGS[name].parser.parse(value.replace("BUCKET", "bucket"))
            if name == "config":
                assert (repository / value).is_file(), command
            checked += 1
    assert checked > 20


def test_every_program_and_topology_is_there(said):
    modules = {words[2] for words in said if words[:2] == ["python", "-m"]}
    assert len(modules) >= 4
    for module in modules:
        door = f"{module}.__main__" if module.endswith(("plan", "convert")) else module
        assert importlib.util.find_spec(door), module
    given = [x for words in said for x in words if x.startswith("--topology=")]
    assert len(given) > 2
    for word in given:
        parse_topology(word.partition("=")[2])


def test_commands_for_the_hosts_are_clean(said):
    remote = [
        word.removeprefix("--command=")
        for words in said
        for word in words
        if words[0] == "gcloud" and word.startswith("--command=")
    ]
    assert len(remote) > 4
    for command in remote:
        check = subprocess.run(
            ["bash", "-n", "-c", command], capture_output=True, text=True, check=False
        )
        assert check.returncode == 0, (command, check.stderr)


def test_the_page_is_read_as_it_is():
    text = "Text.\n\n    a \\\n        --b\n\nMore.\n\n    c\n"
    assert blocks(text) == ["a \\\n    --b\n", "c\n"]
