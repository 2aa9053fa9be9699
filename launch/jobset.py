#!/usr/bin/env python3
"""The JobSet of a run on a TPU slice of Google Kubernetes Engine, as JSON for kubectl.

    python launch/jobset.py --name=NAME --image=IMAGE --topology=v5e:4x4 -- ARGS

One pod a host, each running `python -m spade_jax.main ARGS`; GKE tells them of each
other. Where a pod is evicted or killed all of them are made anew and go on from the
newest checkpoint; an error of the run itself fails the JobSet. `launch/gke.sh` gives
it to kubectl. Nothing but Python's own library is needed.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from typing import Any

# Chips, by their names in `python -m spade_jax.plan`, and GKE's label of their nodes.
ACCELERATORS = {
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
    "tpu7x": "tpu7x",
}
CHIPS_A_HOST = 4
# What training ends with where the same command would go on.
RETRY_STATUS = 75
# Of Python and of flags that are wrong.
FAULTS = [1, 2]
# Of the Dockerfile.
WORKDIR = "/spade"
# Seconds that a pod which is evicted has to save.
GRACE = 120


def jobset(
    *,
    name: str,
    image: str,
    topology: str,
    arguments: Sequence[str],
    spot: bool = False,
    max_restarts: int = 100,
    bucket: str = "",
    service_account: str = "",
) -> dict[str, Any]:
    """The JobSet of a run.

    Args:
      name: of it.
      image: as the Dockerfile makes it, for TPUs.
      topology: CHIP:AxB or CHIP:AxBxC, as of `python -m spade_jax.plan`.
      arguments: of `spade_jax.main`.
      spot: whether nodes may be taken away.
      max_restarts: so often at most.
      bucket: that is mounted as the directory `bucket` of the process; empty: none.
      service_account: of Kubernetes, which may read and write the bucket; empty: the
        default one.

    Raises:
      ValueError: a value cannot be.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", name):
        raise ValueError(
            f"--name={name} is no name for a JobSet: up to 40 small letters, digits and"
            " hyphens, a letter first."
        )
    chip, _, shape = topology.partition(":")
    if chip not in ACCELERATORS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", shape):
        raise ValueError(
            f"--topology={topology} is not understood: CHIP:AxB or CHIP:AxBxC, the chip"
            f" one of {', '.join(ACCELERATORS)}, for example v5e:4x4."
        )
    chips = math.prod(map(int, shape.split("x")))
    a_host = min(chips, CHIPS_A_HOST)
    if chips % a_host:
        raise ValueError(f"--topology={topology}: no hosts of {a_host} chips make it.")
    nodes = {
        "cloud.google.com/gke-tpu-accelerator": ACCELERATORS[chip],
        "cloud.google.com/gke-tpu-topology": shape,
    }
    tolerations = []
    if spot:
        nodes["cloud.google.com/gke-spot"] = "true"
        tolerations.append(
            {
                "key": "cloud.google.com/gke-spot",
                "operator": "Equal",
                "value": "true",
                "effect": "NoSchedule",
            }
        )
    # What config.data.workers pass batches through; else 64 MB.
    volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}]
    annotations = {}
    if bucket:
        # Without a cache of names, as other hosts make and rename directories.
        attributes = {
            "bucketName": bucket,
            "mountOptions": "implicit-dirs,metadata-cache:ttl-secs:0",
        }
        driver = {
            "driver": "gcsfuse.csi.storage.gke.io",
            "volumeAttributes": attributes,
        }
        volumes.append({"name": "bucket", "csi": driver})
        mounts.append({"name": "bucket", "mountPath": f"{WORKDIR}/bucket"})
        annotations["gke-gcsfuse/volumes"] = "true"
    container = {
        "name": "train",
        "image": image,
        "args": [*arguments, f"--retry_status={RETRY_STATUS}"],
        # libtpu's, and that of the process that the others meet at.
        "ports": [{"containerPort": 8471}, {"containerPort": 8476}],
        "securityContext": {"privileged": True},
        "resources": {"limits": {"google.com/tpu": a_host}},
        "volumeMounts": mounts,
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE,
        "nodeSelector": nodes,
        "tolerations": tolerations,
        "containers": [container],
        "volumes": volumes,
    }
    if service_account:
        pod["serviceAccountName"] = service_account
    hosts = chips // a_host
    on_fault = {
        "action": "FailJob",
        "onExitCodes": {
            "containerName": container["name"],
            "operator": "In",
            "values": FAULTS,
        },
    }
    job = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        # One pod that fails makes all of them anew: the others wait for it.
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [on_fault]},
        "template": {"metadata": {"annotations": annotations}, "spec": pod},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": name,
            "annotations": {
                # All pods on the hosts of one slice, and nobody else there.
                "alpha.jobset.sigs.k8s.io/exclusive-topology": (
                    "cloud.google.com/gke-nodepool"
                )
            },
        },
        "spec": {
            "failurePolicy": {
                "maxRestarts": max_restarts,
                "rules": [
                    {
                        "name": "fault",
                        "action": "FailJobSet",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                    }
                ],
            },
            "replicatedJobs": [
                {"name": "slice", "replicas": 1, "template": {"spec": job}}
            ],
        },
    }


def main() -> None:
    """Prints the JobSet of the command line."""
    parser = argparse.ArgumentParser(
        prog="launch/jobset.py", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--name", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--topology", required=True)
    parser.add_argument("--spot", action="store_true")
    parser.add_argument("--max_restarts", type=int, default=100)
    parser.add_argument("--bucket", default="")
    parser.add_argument("--service_account", default="")
    parser.add_argument("arguments", nargs="+", metavar="ARGS")
    options = vars(parser.parse_args())
    try:
        print(json.dumps(jobset(**options), indent=2))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
