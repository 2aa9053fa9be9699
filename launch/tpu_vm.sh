#!/usr/bin/env bash
# Trains on a TPU slice of Google Cloud, all of its hosts running the same command.
#
#   launch/tpu_vm.sh STEP... --name=NAME --zone=ZONE [OPTIONS] [-- ARGS]
#
# Steps, done in the order given:
#   create   the slice, unless there is one of that name
#   install  this working tree and its requirements on every host
#   train    start `python -m spade_jax.main ARGS` on every host; it goes on without us
#   watch    with --spot: until the run's last step, make the slice anew when it is taken
#            away, install, and train by the same ARGS; and train again where a process
#            was killed. What is wrong with the run ends it. It has to go on meanwhile
#   log      follow what process 0 says, until training ends
#   stop     ask all processes to save and to end
#   delete   the slice, with everything on its disks
#
# Options:
#   --type=TYPE        accelerator type (v5litepod-8)
#   --version=VERSION  of the TPU VM's software (v2-alpha-tpuv5-lite)
#   --project=PROJECT  otherwise gcloud's own
#   --spot             cheaper, but taken away at any time; as a queued resource, so that
#                      create waits until there is one
#   --max_restarts=N   watch: so often at most (100)
#   --poll=SECONDS     between looks at what is waited for (60)
#   --bucket=BUCKET    install: mount this bucket as ~/spade/bucket on every host, for
#                      files that have to lie on them, such as weights
#   --dry_run          print the commands, run nothing
#
# Training runs in ~/spade. A work dir that all hosts of a slice see, and that outlives it,
# is one in a bucket: ARGS name --workdir=gs://BUCKET/NAME.
#
# For example, eight chips of one host:
#
#   launch/tpu_vm.sh create install train log --name=spade --zone=us-west4-a \
#     -- --config=configs/coco.py --config.dtype=bfloat16
#
# and the same on a slice that comes and goes:
#
#   launch/tpu_vm.sh create install train watch --spot --name=spade --zone=us-west4-a \
#     -- --config=configs/coco.py --config.dtype=bfloat16 --workdir=gs://BUCKET/coco
set -euo pipefail

# shellcheck source=/dev/null
source "$(dirname "$0")/common.sh"

steps=()
name=
zone=
project=
type=v5litepod-8
version=v2-alpha-tpuv5-lite
spot=
max_restarts=100
poll=60
bucket=
dry_run=
while (($#)); do
  case $1 in
    --)
      shift
      break
      ;;
    create | install | train | watch | log | stop | delete) steps+=("$1") ;;
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --spot) spot=yes ;;
    --max_restarts=*) max_restarts=${1#*=} ;;
    --poll=*) poll=${1#*=} ;;
    --bucket=*) bucket=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    *) usage "'$1' is not understood; what is for spade_jax.main comes after --." ;;
  esac
  shift
done
((${#steps[@]})) || usage "a STEP is missing."
[[ $name ]] || usage "--name=NAME is missing."
[[ $zone ]] || usage "--zone=ZONE is missing."
for number in "--max_restarts=$max_restarts" "--poll=$poll"; do
  [[ $number =~ =[0-9]+$ ]] || usage "$number is not a number."
done
if [[ " ${steps[*]} " =~ " "(train|watch)" " ]] && ((!$#)); then
  usage "${BASH_REMATCH[1]} needs -- ARGS, for example -- --config=configs/coco.py."
fi
if [[ " ${steps[*]} " == *" watch "* ]]; then
  [[ $spot ]] || usage "watch needs --spot: no other slice is taken away."
  if [[ " $* " != *" --workdir="@(gs://|bucket/)* ]]; then
    usage "watch needs --workdir=gs://BUCKET/NAME: what is saved on the slice goes with it."
  fi
fi

# What training ends with where the same command would go on.
retry_status=75

cd "$(dirname "$0")/.."
where=("--zone=$zone")
[[ $project ]] && where+=("--project=$project")

tpu() { run gcloud compute tpus tpu-vm "$1" "$name" "${where[@]}" "${@:2}"; }

on() { tpu ssh "--worker=$1" "--command=$2"; }

queued() { run gcloud compute tpus queued-resources "$1" "$name" "${where[@]}" "${@:2}"; }

# Sets `state` to that of the queued resource; empty where there is none.
look() {
  if [[ $dry_run ]]; then
    queued describe "--format=value(state.state)"
    state=ACTIVE
  else
    state=$(queued describe "--format=value(state.state)" 2>/dev/null) || state=
  fi
}

# A slice that may be taken away: made if there is none, or none any more.
create_spot() {
  local state='' told=''
  # What is there can only be known by asking, which --dry_run does not do.
  [[ $dry_run ]] || look
  if [[ $state == ACTIVE ]]; then
    echo "launch/tpu_vm.sh: $name is there already." >&2
    return
  fi
  if [[ $state =~ ^(SUSPEND|FAILED) ]]; then
    queued delete --force --quiet
    state=
  fi
  [[ $state ]] || queued create "--node-id=$name" "--accelerator-type=$type" \
    "--runtime-version=$version" --spot
  while look && [[ $state != ACTIVE ]]; do
    if [[ $state == FAILED ]]; then
      echo "launch/tpu_vm.sh: $name could not be made (FAILED): gcloud compute tpus queued-resources describe $name tells why." >&2
      exit 1
    fi
    [[ $state == "$told" ]] || echo "launch/tpu_vm.sh: $name is ${state:-not there yet}." >&2
    told=$state
    sleep "$poll"
  done
}

create() {
  if [[ $spot ]]; then
    create_spot
    return
  fi
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
  tpu create "--accelerator-type=$type" "--version=$version"
}

install() {
  local tree=spade_jax.tar.gz directory=.
  [[ $dry_run ]] || directory=$(mktemp -d)
  # What fails is returned here and below, as watch tries again.
  run tar -czf "$directory/$tree" spade_jax configs requirements.txt || return
  run gcloud compute tpus tpu-vm scp "$directory/$tree" "$name:$tree" "${where[@]}" \
    --worker=all || return
  [[ $dry_run ]] || rm -r "$directory"
  # uv brings a Python of its own: the machine's is too old (3.10 on Ubuntu 22.04).
  on all "set -e
mkdir -p spade && cd spade
rm -rf spade_jax configs && tar -xzf ../$tree
echo $(printf %q "$(revision)") >REVISION
python3 -m pip install --quiet --user uv
[ -d venv ] || python3 -m uv venv --quiet --python=3.12 venv
python3 -m uv pip install --quiet --python=venv/bin/python -r requirements.txt \
'jax[tpu]' 'gcsfs>=2025.2' 'google-cloud-storage>=3'" || return
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
rm -f train.pid train.status train.stop
( trap '' HUP
venv/bin/python -m spade_jax.main ${arguments}--coordinator=auto \
--retry_status=$retry_status </dev/null >>train.log 2>&1 & echo \$! >train.pid
wait \$!
echo \$? >train.status ) </dev/null >/dev/null 2>&1 &
until [ -s train.pid ]; do sleep 0.1; done"
}

# Says how training on the slice goes: running, stopped, lost, or its exit status.
ask() {
  on 0 "cd spade
if [ -f train.stop ]; then echo stopped
else cat train.status 2>/dev/null || echo running; fi" 2>/dev/null || echo lost
}

watch() {
  local state status try restarts=0 unseen=0
  if [[ $dry_run ]]; then
    look
    ask
    return
  fi
  while true; do
    status=
    look
    if [[ $state == ACTIVE ]]; then
      unseen=0
      status=$(ask)
      case $status in
        0)
          echo "launch/tpu_vm.sh: the run is at its last step." >&2
          return
          ;;
        stopped)
          echo "launch/tpu_vm.sh: the run was stopped." >&2
          return
          ;;
        running | lost)
          sleep "$poll"
          continue
          ;;
      esac
      if ((status != retry_status && status <= 128)); then
        echo "launch/tpu_vm.sh: training ended with status $status; the step log shows why." >&2
        exit 1
      fi
    elif [[ ! $state ]] && ((unseen < 3)); then
      # It is gone, or gcloud did not get through.
      unseen=$((unseen + 1))
      sleep "$poll"
      continue
    fi
    if ((restarts == max_restarts)); then
      echo "launch/tpu_vm.sh: it was started again $restarts times (--max_restarts)." >&2
      exit 1
    fi
    restarts=$((restarts + 1))
    unseen=0
    echo "launch/tpu_vm.sh: starting again ($restarts of $max_restarts): ${state:-the slice is gone}${status:+, status $status}." >&2
    if [[ $state == ACTIVE ]]; then
      begin() { train "$@"; }
    else
      create
      begin() { install && train "$@"; }
    fi
    # A new slice may not take connections at once.
    for try in 1 2 3; do
      # After a try that failed on one host the others train.
      if [[ $state == ACTIVE ]] || ((try > 1)); then
        on all "kill -KILL \$(cat spade/train.pid) 2>/dev/null" || true
      fi
      if begin "$@"; then break; fi
      ((try < 3)) || exit 1
      sleep "$poll"
    done
  done
}

log() { on 0 "cd spade && tail -n +1 -F --pid=\$(cat train.pid) train.log"; }

stop() { on all "touch spade/train.stop && kill -TERM \$(cat spade/train.pid)"; }

delete() {
  if [[ $spot ]]; then queued delete --force --quiet; else tpu delete --quiet; fi
}

for step in "${steps[@]}"; do
  "$step" "$@"
done
