#!/usr/bin/env bash
# Trains on a TPU slice of Google Cloud, all of its hosts running the same command.
#
#   launch/tpu_vm.sh STEP... --name=NAME --zone=ZONE [OPTIONS] [-- ARGS]
#
# Steps, done in the order given:
#   create   the slice, unless there is one of that name
#   install  this working tree and its requirements on every host
#   train    start `python -m spade_jax.main ARGS` on every host; it goes on without us
#   log      follow what process 0 says, until training ends
#   stop     ask all processes to save and to end
#   delete   the slice, with everything on its disks
#
# Options:
#   --type=TYPE        accelerator type (v5litepod-8)
#   --version=VERSION  of the TPU VM's software (v2-alpha-tpuv5-lite)
#   --project=PROJECT  otherwise gcloud's own
#   --spot             cheaper, but taken away at any time
#   --bucket=BUCKET    install: mount this bucket as ~/spade/bucket on every host
#   --dry_run          print the commands, run nothing
#
# Training runs in ~/spade. A slice of several hosts needs a directory that all of them
# see, for the work dir: --bucket=BUCKET makes ~/spade/bucket one, and ARGS then name
# --workdir=bucket/NAME. The bucket must have a hierarchical namespace, in which
# directories are renamed in one go:
#
#   gcloud storage buckets create gs://BUCKET --location=REGION \
#     --uniform-bucket-level-access --enable-hierarchical-namespace
#
# For example, eight chips of one host:
#
#   launch/tpu_vm.sh create install train log --name=spade --zone=us-west4-a \
#     -- --config=configs/coco.py --config.dtype=bfloat16
set -euo pipefail

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
  echo "launch/tpu_vm.sh: $1" >&2
  exit 2
}

steps=()
name=
zone=
project=
type=v5litepod-8
version=v2-alpha-tpuv5-lite
spot=
bucket=
dry_run=
while (($#)); do
  case $1 in
    --)
      shift
      break
      ;;
    create | install | train | log | stop | delete) steps+=("$1") ;;
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --spot) spot=yes ;;
    --bucket=*) bucket=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    *) usage "'$1' is not understood; what is for spade_jax.main comes after --." ;;
  esac
  shift
done
((${#steps[@]})) || usage "a STEP is missing."
[[ $name ]] || usage "--name=NAME is missing."
[[ $zone ]] || usage "--zone=ZONE is missing."
if [[ " ${steps[*]} " == *" train "* ]] && ((!$#)); then
  usage "train needs -- ARGS, for example -- --config=configs/coco.py."
fi

cd "$(dirname "$0")/.."
where=("--zone=$zone")
[[ $project ]] && where+=("--project=$project")

run() {
  if [[ $dry_run ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

tpu() { run gcloud compute tpus tpu-vm "$1" "$name" "${where[@]}" "${@:2}"; }

on() { tpu ssh "--worker=$1" "--command=$2"; }

create() {
  local state
  # What is there can only be known by asking, which --dry_run does not do.
  if [[ ! $dry_run ]] && state=$(gcloud compute tpus tpu-vm describe "$name" \
    "${where[@]}" "--format=value(state)" 2>/dev/null); then
    if [[ $state != READY ]]; then
      echo "launch/tpu_vm.sh: $name is there, but $state. Wait for it, or delete it." >&2
      exit 1
    fi
    echo "launch/tpu_vm.sh: $name is there already." >&2
    return
  fi
  tpu create "--accelerator-type=$type" "--version=$version" ${spot:+--spot}
}

install() {
  local tree=spade_jax.tar.gz directory=. revision
  # For the checkpoints, as the copy is no git repository.
  revision=$(git describe --always --dirty --abbrev=40 '--exclude=*' 2>/dev/null) || true
  [[ $dry_run ]] || directory=$(mktemp -d)
  run tar -czf "$directory/$tree" spade_jax configs requirements.txt
  run gcloud compute tpus tpu-vm scp "$directory/$tree" "$name:$tree" "${where[@]}" \
    --worker=all
  [[ $dry_run ]] || rm -r "$directory"
  # uv brings a Python of its own: the machine's is too old (3.10 on Ubuntu 22.04).
  on all "set -e
mkdir -p spade && cd spade
rm -rf spade_jax configs && tar -xzf ../$tree
echo $(printf %q "$revision") >REVISION
python3 -m pip install --quiet --user uv
[ -d venv ] || python3 -m uv venv --quiet --python=3.12 venv
python3 -m uv pip install --quiet --python=venv/bin/python -r requirements.txt 'jax[tpu]'"
  if [[ $bucket ]]; then
    # Without a cache of names, as other hosts make and rename directories.
    on all "set -e
if ! command -v gcsfuse >/dev/null; then
echo \"deb https://packages.cloud.google.com/apt gcsfuse-\$(lsb_release -cs) main\" |
sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg |
sudo tee /etc/apt/trusted.gpg.d/gcsfuse.asc >/dev/null
sudo apt-get -q update && sudo apt-get -q -y install gcsfuse
fi
mkdir -p spade/bucket
mountpoint -q spade/bucket ||
gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 $(printf %q "$bucket") spade/bucket"
  fi
}

train() {
  local arguments
  arguments=$(printf '%q ' "$@")
  # Detached, so that it outlives the connection.
  on all "cd spade
nohup venv/bin/python -m spade_jax.main ${arguments}--coordinator=auto \
</dev/null >train.log 2>&1 & echo \$! >train.pid"
}

log() { on 0 "cd spade && tail -n +1 -F --pid=\$(cat train.pid) train.log"; }

stop() { on all "kill -TERM \$(cat spade/train.pid)"; }

delete() { tpu delete --quiet; }

for step in "${steps[@]}"; do
  "$step" "$@"
done
