# The project in a container, for CPUs, NVIDIA GPUs or TPUs:
#
#   docker build --build-arg=BACKEND=cuda --tag=spade_jax .
#   docker run --gpus=all --shm-size=8g --volume="$PWD:/work" --workdir=/work \
#     spade_jax --config=/spade/configs/scenes.py --workdir=runs/scenes
#
# BACKEND is cpu, cuda or tpu; REVISION, if given, is noted in checkpoints.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim
ARG BACKEND=cpu
ARG REVISION=
# NVIDIA's runtime reads the first two. What is printed is seen at once.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/spade
WORKDIR /spade
COPY requirements.txt .
RUN case "$BACKEND" in \
      cpu) extra= ;; \
      cuda) extra='jax[cuda12]' ;; \
      tpu) extra='jax[tpu]' ;; \
      *) echo "BACKEND=$BACKEND is none of cpu, cuda, tpu." >&2; exit 1 ;; \
    esac \
    && pip install --no-cache-dir -r requirements.txt ${extra:+"$extra"} \
      'gcsfs>=2025.2' 'google-cloud-storage>=3'
COPY configs configs
COPY spade_jax spade_jax
RUN echo "$REVISION" >REVISION
ENTRYPOINT ["python", "-m", "spade_jax.main"]
