#!/usr/bin/env bash
# Trains with several processes on this host.
#
#   launch/local.sh [N] [OPTIONS] -- ARGS
#
# Starts N processes (2) of `python -m spade_jax.main ARGS`, which find each other on a
# free port. What process 0 says is shown, and every process has a log of its own.
# Ctrl-C and SIGTERM are passed on to all, so that they save; a second one kills. If one
# fails the others are ended too. The exit status is the worst of all.
#
#   --devices_per_process=K  compute on the CPU, each process as K virtual devices
#   --logs=DIR               for the logs, instead of a new temporary directory
#   --grace=SECONDS          that the others have to end by themselves (20)
#   --restart                where a process is killed, or they are asked to stop by
#                            others than this script, start all of them again, until
#                            the run's last step; what is wrong with the run ends it
#   --max_restarts=N         so often at most (10)
#   --dry_run                print the commands, run nothing
#
# The interpreter is $PYTHON, or python.
set -uo pipefail

# shellcheck source=/dev/null
source "$(dirname "$0")/common.sh"

is_number() { [[ $1 =~ ^[1-9][0-9]*$ ]]; }

processes=2
devices=
logs=
grace=20
restart=
max_restarts=10
dry_run=
while (($#)); do
  case $1 in
    --) break ;;
    --devices_per_process=*)
      devices=${1#*=}
      is_number "$devices" || usage "$1 is not a positive number."
      ;;
    --logs=*) logs=${1#*=} ;;
    --grace=*)
      grace=${1#*=}
      is_number "$grace" || usage "$1 is not a positive number."
      ;;
    --restart) restart=yes ;;
    --max_restarts=*)
      max_restarts=${1#*=}
      is_number "$max_restarts" || usage "$1 is not a positive number."
      ;;
    --dry_run) dry_run=yes ;;
    *)
      is_number "$1" || usage "'$1' is not understood; what is for spade_jax.main comes after --."
      processes=$1
      ;;
  esac
  shift
done
(($#)) || usage "-- ARGS is missing."
shift

python=${PYTHON:-python}
# What training ends with where the same command would go on.
retry_status=75
[[ $restart ]] && set -- "$@" "--retry_status=$retry_status"

# Sets `port` to a free one.
find_port() {
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')
}
find_port || exit

environment=()
if [[ $devices ]]; then
  flags="${XLA_FLAGS:+$XLA_FLAGS }--xla_force_host_platform_device_count=$devices"
  environment=(env JAX_PLATFORMS=cpu "XLA_FLAGS=$flags")
fi

# Sets `command` to that of one process.
set_command() {
  command=(
    ${environment[@]+"${environment[@]}"}
    "$python" -m spade_jax.main "${@:2}"
    "--coordinator=localhost:$port" "--num_processes=$processes" "--process_id=$1"
  )
}

if [[ $dry_run ]]; then
  directory=$(printf %q "$logs")
  if [[ ! $logs ]]; then
    # shellcheck disable=SC2016  # For the reader's shell to expand.
    {
      directory='"$logs"'
      echo 'logs=$(mktemp -d -t spade_jax.XXXXXX)'
    }
  fi
  for ((i = 0; i < processes; i++)); do
    set_command "$i" "$@"
    printf '%q ' "${command[@]}"
    if ((i == 0)); then
      echo "2>&1 | tee -a $directory/process_0.log &"
    else
      echo ">>$directory/process_$i.log 2>&1 &"
    fi
  done
  exit
fi

if [[ ! $logs ]]; then
  logs=$(mktemp -d -t spade_jax.XXXXXX) || exit
fi
mkdir -p "$logs" || exit
echo "launch/local.sh: $processes processes, logs in $logs" >&2

# With job control every process is a group of its own: Ctrl-C reaches them through the
# trap below only, and so once.
set -m
pids=()
signals=0

alive() {
  local pid
  for pid in ${pids[@]+"${pids[@]}"}; do
    kill -0 "$pid" 2>/dev/null && return
  done
  return 1
}

send() {
  local pid
  for pid in ${pids[@]+"${pids[@]}"}; do
    if [[ $1 == KILL ]]; then
      # And what it has started to read data.
      kill -KILL -- "-$pid" 2>/dev/null
    else
      kill "-$1" "$pid" 2>/dev/null
    fi
  done
}

# Called by the traps.
# shellcheck disable=SC2329
pass_on() {
  signals=$((signals + 1))
  if ((signals == 1)); then send "$1"; else send KILL; fi
}

trap 'pass_on INT' INT
trap 'pass_on TERM' TERM HUP
trap 'send KILL' EXIT

shown=$logs/process_0.pipe
rm -f "$shown"
mkfifo "$shown" || exit

start() {
  local i log
  pids=()
  tee -a "$logs/process_0.log" <"$shown" &
  show=$!
  for ((i = 0; i < processes; i++)); do
    set_command "$i" "$@"
    log=$logs/process_$i.log
    ((i == 0)) && log=$shown
    "${command[@]}" </dev/null >>"$log" 2>&1 &
    pids+=($!)
  done
}

again="A run goes on from its newest checkpoint when the same command is given again."

# Waits for all processes. Sets `worst`, the worst status, and `retry` where the first to
# fail was killed, or says itself that the run would go on.
watch() {
  local i status deadline='' decided='' killed='' ended=()
  worst=0
  retry=
  while true; do
    for ((i = 0; i < processes; i++)); do
      if [[ ! ${ended[i]:-} ]] && ! kill -0 "${pids[i]}" 2>/dev/null; then
        # Bash would tell in its own words that it was killed.
        wait "${pids[i]}" 2>/dev/null
        status=$?
        ended[i]=yes
        ((status > worst)) && worst=$status
        # What comes later is what the first failure led to.
        ((status == retry_status || status > 128)) && [[ ! $decided ]] && retry=yes
        if ((status != 0)) && [[ ! $deadline ]]; then
          echo "launch/local.sh: process $i ended with status $status; see $logs/process_$i.log" >&2
          # Process 0 has told it, unless it was killed itself.
          ((i == 0 && status > 128)) && [[ ! $restart ]] && echo "launch/local.sh: $again" >&2
          deadline=$((SECONDS + grace))
        fi
      fi
    done
    alive || break
    decided=$deadline
    if [[ $deadline && ! $killed ]] && ((SECONDS >= deadline)); then
      if [[ $restart ]]; then
        echo "launch/local.sh: killing the others." >&2
      else
        echo "launch/local.sh: killing the others. $again" >&2
      fi
      killed=yes
      send KILL
    fi
    # In the background, because a trap waits for a command in the foreground.
    {
      sleep 0.2 &
      wait $!
    } 2>/dev/null
  done
  wait "$show"
}

restarts=0
while true; do
  start "$@"
  watch
  if [[ ! $restart || ! $retry ]] || ((signals)); then break; fi
  if ((restarts == max_restarts)); then
    echo "launch/local.sh: it was started again $restarts times (--max_restarts). $again" >&2
    break
  fi
  restarts=$((restarts + 1))
  echo "launch/local.sh: starting again ($restarts of $max_restarts)" >&2
  # Others may have taken the one before meanwhile.
  find_port || exit
done
rm -f "$shown"
# Stopped as it was asked to.
((signals && worst == retry_status)) && worst=0
exit "$worst"
