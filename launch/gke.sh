#!/usr/bin/env bash
# Trains on a TPU slice of Google Kubernetes Engine, as a JobSet.
#
#   launch/gke.sh STEP... --name=NAME --image=IMAGE [OPTIONS] [-- ARGS]
#
# Steps, done in the order given:
#   image  build IMAGE from this working tree, and push it
#   train  give the JobSet to the cluster: `python -m spade_jax.main ARGS` on every host
#   log    follow what process 0 says
#   stop   let all processes save and end, and take the JobSet away; train goes on
#
# Options:
#   --topology=TOPOLOGY        CHIP:AxB, as of python -m spade_jax.plan (v5e:2x4)
#   --spot                     on nodes that may be taken away
#   --max_restarts=N           so often pods are made anew, where one is killed or its
#                              node taken away (100); an error of the run ends it
#   --bucket=BUCKET            mounted as the directory `bucket` of every process, for
#                              files that have to lie on its host, such as weights
#   --service_account=ACCOUNT  of Kubernetes, that may read and write the bucket
#   --dry_run                  print the commands, run nothing
#
# kubectl has to know the cluster (gcloud container clusters get-credentials), which needs
# a node pool of the topology, and the JobSet controller. Work dir and data have to outlive
# the pods, and be seen by all of them: gs://BUCKET/NAME. launch/jobset.py says what the
# JobSet is; docs/train_on_tpus.md has all commands.
#
# For example, four hosts of four chips:
#
#   launch/gke.sh image train log --name=spade --image=REGION-docker.pkg.dev/P/R/spade_jax \
#     --topology=v5e:4x4 --spot --service_account=spade \
#     -- --config=configs/coco.py --config.dtype=bfloat16 --workdir=gs://BUCKET/coco
set -euo pipefail

# shellcheck source=/dev/null
source "$(dirname "$0")/common.sh"

steps=()
name=
image=
options=()
topology=v5e:2x4
dry_run=
while (($#)); do
  case $1 in
    --)
      shift
      break
      ;;
    image | train | log | stop) steps+=("$1") ;;
    --name=*) name=${1#*=} ;;
    --image=*) image=${1#*=} ;;
    --topology=*) topology=${1#*=} ;;
    --spot | --max_restarts=* | --bucket=* | --service_account=*) options+=("$1") ;;
    --dry_run) dry_run=yes ;;
    *) usage "'$1' is not understood; what is for spade_jax.main comes after --." ;;
  esac
  shift
done
((${#steps[@]})) || usage "a STEP is missing."
[[ $name ]] || usage "--name=NAME is missing."
if [[ " ${steps[*]} " =~ " "(image|train)" " && ! $image ]]; then
  usage "--image=IMAGE is missing."
fi
if [[ " ${steps[*]} " == *" train "* ]] && ((!$#)); then
  usage "train needs -- ARGS, for example -- --config=configs/coco.py."
fi

cd "$(dirname "$0")/.."

image() {
  # As the image holds no git repository.
  run docker build --build-arg=BACKEND=tpu "--build-arg=REVISION=$(revision)" \
    "--tag=$image" .
  run docker push "$image"
}

train() {
  local manifest command=(
    "${PYTHON:-python}" launch/jobset.py "--name=$name" "--image=$image"
    "--topology=$topology" ${options[@]+"${options[@]}"} -- "$@"
  )
  if [[ $dry_run ]]; then
    printf '%q ' "${command[@]}"
    echo "| kubectl create --filename=-"
    return
  fi
  # First, so that what is wrong with it is all that is told.
  manifest=$("${command[@]}")
  kubectl create --filename=- <<<"$manifest"
}

log() {
  run kubectl logs --follow --tail=-1 \
    "--selector=jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0"
}

stop() { run kubectl delete jobset "$name"; }

for step in "${steps[@]}"; do
  "$step" "$@"
done
