import socket
import sys
import types

import jax
import pytest

from spade_jax.devices import distributed
from spade_jax.devices.distributed import ProcessError, initialize


@pytest.fixture
def joined(monkeypatch):
    """What `jax.distributed.initialize` is called with, one dict a call."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **kw: calls.append(kw))
    usual = jax.config.jax_enable_preemption_service
    for name in (*distributed._SLURM, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    yield calls
    jax.config.update("jax_enable_preemption_service", usual)


def test_one_process_joins_nothing(joined):
    initialize()
    initialize(coordinator="localhost:8476", num_processes=1, process_id=0)
    assert joined == []


def test_processes_are_named_by_arguments(joined):
    initialize(coordinator="[::1]:8476", num_processes=3, process_id=2)
    # SIGTERM is not for JAX to take.
    assert not jax.config.jax_enable_preemption_service
    (call,) = joined
    assert call == {
        "coordinator_address": "[::1]:8476",
        "num_processes": 3,
        "process_id": 2,
        "cluster_detection_method": "deactivate",
    }


@pytest.mark.parametrize(
    ("coordinator", "bound"),
    [
        ("127.0.0.1:8476", "127.0.0.1:8476"),
        ("[::1]:8476", "[::1]:8476"),
        ("0.0.0.0:8476", "0.0.0.0:8476"),
        ("localhost:8476", "127.0.0.1:8476"),
        ("me:8476", "0.0.0.0:8476"),
        # Of a gateway that passes on to this machine; this network is nowhere.
        ("203.0.113.1:8476", None),
        # What Debian calls a machine that has no other name.
        ("debian:8476", None),
        ("nowhere.invalid:8476", None),
    ],
)
def test_process_0_listens_where_it_was_told(joined, monkeypatch, coordinator, bound):
    known = {"localhost": "127.0.0.1", "debian": "127.0.1.1", "me": "0.0.0.0"}

    def resolve(host, *_, **__):
        address = known.get(host, host)
        if "invalid" in address:
            raise socket.gaierror
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, None, None, "", (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    initialize(coordinator=coordinator, num_processes=2, process_id=0)
    assert joined[0].get("coordinator_bind_address") == bound


def test_processes_are_found_on_request(joined):
    initialize(coordinator="auto")
    assert joined == [{}]


@pytest.mark.parametrize(
    ("environment", "calls"),
    [
        ({"SLURM_STEP_NUM_TASKS": "4"}, [{}]),
        # A shell in an allocation of four tasks, and one that srun gave.
        ({"SLURM_STEP_NUM_TASKS": "1"}, []),
        ({"SLURM_PROCID": None, "SLURM_STEP_NUM_TASKS": "4"}, []),
    ],
)
def test_processes_of_a_slurm_step(joined, monkeypatch, environment, calls):
    for name in distributed._SLURM:
        monkeypatch.setenv(name, "4")
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    initialize()
    assert joined == calls


@pytest.mark.parametrize(
    ("name", "value", "calls"),
    [
        ("TPU_WORKER_HOSTNAMES", "host-0,host-1", [{}]),
        ("TPU_PROCESS_ADDRESSES", "10.0.0.1:8471,10.0.0.2:8471", [{}]),
        ("TPU_WORKER_HOSTNAMES", "localhost", []),
    ],
)
def test_processes_of_tpu_hosts(joined, monkeypatch, name, value, calls):
    monkeypatch.setenv(name, value)
    initialize()
    assert joined == calls


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"coordinator": "localhost:8476"},
            r"^--num_processes and --process_id are missing: --coordinator=HOST:PORT",
        ),
        ({"process_id": 0, "num_processes": 2}, r"^--coordinator is missing"),
        (
            {"coordinator": "localhost", "num_processes": 2, "process_id": 0},
            r"--coordinator='localhost' is no address: write HOST:PORT",
        ),
        (
            {"coordinator": "localhost:8476", "num_processes": 2, "process_id": 2},
            r"--process_id=2 is not one of --num_processes=2 processes",
        ),
        (
            {"coordinator": "auto", "num_processes": 2},
            r"--coordinator=auto finds .* leave out --num_processes\.",
        ),
    ],
)
def test_arguments_that_do_not_fit(joined, arguments, message):
    with pytest.raises(ValueError, match=message):
        initialize(**arguments)
    assert joined == []


@pytest.mark.parametrize(
    "address",
    ["h:0", "h:65536", "h:99999", "h:\u0661", ":1", "a..b:1", f"{'x' * 64}:1"],
)
def test_what_is_no_address_is_told(joined, address):
    """Others could not come, and this process would wait for them for minutes."""
    with pytest.raises(ValueError, match=r"--coordinator=.* is no address"):
        initialize(coordinator=address, num_processes=2, process_id=0)
    assert joined == []


def test_others_that_are_not_there(joined, monkeypatch):
    def fail(**_):
        raise RuntimeError("DEADLINE_EXCEEDED")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    message = r"at --coordinator=localhost:8476: DEADLINE_EXCEEDED\nIs the same command"
    with pytest.raises(ProcessError, match=message):
        initialize(coordinator="localhost:8476", num_processes=2, process_id=1)


def test_one_process_works_alone():
    assert distributed.together(lambda: 3) == 3
    with pytest.raises(KeyError):
        distributed.together(lambda: {}["x"])


@pytest.mark.parametrize("is_long", [False, True])
def test_a_process_tells_what_it_waits_for(monkeypatch, caplog, is_long):
    waits = [is_long]

    class Store:
        """Of two processes, of which the first takes its time."""

        def blocking_key_value_get(self, key, milliseconds):
            if waits and waits.pop():
                assert milliseconds == 10_000
                raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED")
            return ""

        def key_value_set(self, key, value, allow_overwrite):
            pass

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(distributed, "_check_joined", lambda: None)
    monkeypatch.setattr(distributed, "_store", Store)
    assert distributed.together(lambda: 3) == 3
    told = [record.getMessage() for record in caplog.records]
    assert [text[:33] for text in told] == is_long * [
        "Process 1 waits for process 0, wh"
    ]


def test_devices_of_processes_that_did_not_join(monkeypatch):
    """As on a TPU slice, whose devices see each other by themselves."""
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(RuntimeError, match=r"shared by 4 processes .*coordinator=auto"):
        distributed.together(lambda: pytest.fail("work is not done"))


def test_a_directory_of_one_host_only_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "together", lambda work: work())
    monkeypatch.setattr(distributed, "_PROPAGATION", 0)
    distributed.check_shared(tmp_path / "one process")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    distributed.check_shared(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    assert not (tmp_path / "one process").exists()
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    message = r"run is not the same directory for all processes: process 1 sees nothing"
    with pytest.raises(ValueError, match=message):
        distributed.check_shared(tmp_path / "run")


def test_what_hosts_find_differently_is_refused(monkeypatch):
    distributed.check_same("loss.perceptual_network", "vgg19")
    store = {}
    client = types.SimpleNamespace(
        key_value_set=lambda key, value, allow_overwrite: store.update({key: value}),
        blocking_key_value_get=lambda key, timeout: store[key],
    )
    monkeypatch.setattr(
        distributed, "_coordination", types.SimpleNamespace(client=client)
    )
    monkeypatch.setattr(distributed, "together", lambda work: work())
    monkeypatch.setattr(jax, "process_count", lambda: 2)

    def check(process, value):
        # The processes count their calls alike.
        monkeypatch.setattr(distributed, "_calls", iter([5]))
        monkeypatch.setattr(jax, "process_index", lambda: process)
        distributed.check_same("loss.perceptual_network", value)

    check(0, "vgg16")
    check(1, "vgg16")
    with pytest.raises(
        ValueError,
        match=r"config\.loss\.perceptual_network comes to 'none' for process 1, but to"
        r" 'vgg16' for process 0\. Give all hosts",
    ):
        check(1, "none")


def test_one_process_leaves_as_ever():
    with pytest.raises(SystemExit, match=r"^DataError: no data$"):
        distributed.leave("DataError: no data")


# ---- How several end -----------------------------------------------------------------


@pytest.fixture
def end(monkeypatch, capsys):
    """`end(me, told)`: what process `me` of three says at its end.

    Args:
      me: its number.
      told: what others have told before, by their numbers: "0" or "1" (at fault or
        not) and their message. None: process 0 is gone, and the store with it.
    """

    def run(me, told, *, is_cause=False):
        kept = {f"spade_jax/ended/{i}": text for i, text in (told or {}).items()}
        gone = jax.errors.JaxRuntimeError("UNAVAILABLE: the store")

        def set_(key, value, allow_overwrite):
            if told is None:
                raise gone
            kept[key] = value

        def get(key, milliseconds):
            if key not in kept:
                raise gone
            return kept[key]

        client = types.SimpleNamespace(key_value_set=set_, blocking_key_value_get=get)
        state = types.SimpleNamespace(process_id=me, num_processes=3, client=client)
        monkeypatch.setattr(distributed, "_coordination", state)
        monkeypatch.setattr(distributed, "_PARTING", 0)
        monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr("os._exit", sys.exit)
        with pytest.raises(SystemExit, match="1"):
            distributed.leave(f"I am {me}", is_cause=is_cause)
        return capsys.readouterr().err

    return run


def test_one_speaks_where_another_is_gone(end):
    # Process 1 is.
    assert end(0, {2: "1I am 2"}) == "I am 0\n"
    assert end(2, {0: "1I am 0"}) == ""


def test_one_speaks_for_who_is_at_fault(end):
    assert end(0, {2: "0I am 2"}) == "I am 2 (process 2)\n"
    assert end(2, {0: "1I am 0"}, is_cause=True) == ""


def test_one_that_waits_is_told_of_an_end(monkeypatch):
    kept = {}
    client = types.SimpleNamespace(key_value_dir_get=lambda key: list(kept.items()))
    state = types.SimpleNamespace(process_id=0, num_processes=3, client=client)
    monkeypatch.setattr(distributed, "_coordination", state)
    distributed.check_others()  # It is alone.
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    distributed.check_others()
    kept["spade_jax/ended/2"] = "0I am 2"
    with pytest.raises(distributed.ProcessError, match=r"^process 2: I am 2$"):
        distributed.check_others()


def test_who_ends_without_process_0_speaks(end):
    assert end(2, {}, is_cause=True) == "I am 2\n"
    assert end(2, None) == "I am 2\n"


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("UNKNOWN: Gloo AllGather failed: [x/pair.cc:538] Read error", True),
        ("UNKNOWN: Gloo all-reduce failed: Connection closed by peer", True),
        ("UNAVAILABLE: Failed to send RPC to coordination service", True),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 1024 bytes", False),
        ("INVALID_ARGUMENT: shapes", False),
    ],
)
def test_what_says_that_another_process_does_not_answer(said, lost):
    error = jax.errors.JaxRuntimeError(said)
    assert distributed.lost_contact(error) == lost
    # And what follows from it, as of a checkpoint that could not be saved.
    follows = ValueError("not saved")
    follows.__cause__ = error
    assert distributed.lost_contact(follows) == lost
    assert not distributed.lost_contact(ValueError(said))
