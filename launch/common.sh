# shellcheck shell=bash
# What the scripts beside it share; they source it, and set `dry_run` before they call `run`.

# Ends with the script's first lines, and what is wrong.
usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
  echo "launch/$(basename "$0"): $1" >&2
  exit 2
}

# Runs a command, or prints it.
run() {
  if [[ $dry_run ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# Prints which version of the project this is, for checkpoints made by a copy of it.
revision() {
  git describe --always --dirty --abbrev=40 '--exclude=*' 2>/dev/null || true
}
