# One image for every back end: docker run --gpus all IMAGE --manifest adam.json
# A slim Debian suffices: torch's wheels bring CUDA, a CUDA base image would carry its libraries twice.
# Python's packages are locked by version and hash. Debian's are not, on purpose: its stable release changes nothing but
# security fixes, and its mirrors keep only the newest of each, so that a version named here would end the build within
# months. What went in can be read from the image (`docker run --rm --entrypoint dpkg-query IMAGE --show`), and
# environment.json holds the image's digest where the run was sent to one. BASE_IMAGE=debian@sha256:… holds the base
# still, which is all but the few packages that are installed below.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS python
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man

FROM python AS build
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends binutils python3-venv \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1

# What is installed lies in three trees, and so in three layers that are pulled side by side.
FROM build AS dependencies
ARG TRIM=1
COPY requirements/train.txt infra/trim-image.sh /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/job \
 && /opt/job/bin/pip install --quiet --no-compile --no-deps --only-binary :all: --require-hashes \
        --requirement /build/train.txt \
 && /opt/job/bin/pip check \
 && if [ "$TRIM" = 1 ]; then /build/trim-image.sh /opt/job; fi \
 && packages=$(/opt/job/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
 && for name in nvidia torch; do \
        mkdir -p "/layers/$name$packages" && mv "$packages/$name" "/layers/$name$packages/"; \
    done

# This package alone, under the path where the image has its virtual environment.
FROM build AS package
COPY requirements/build.txt /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/job \
 && /opt/job/bin/pip install --quiet --no-deps --only-binary :all: --require-hashes --requirement /build/build.txt
WORKDIR /build/source
COPY pyproject.toml README.md LICENSE ./
COPY job job
RUN /opt/job/bin/pip install --quiet --no-deps --no-build-isolation --prefix /build/package .

FROM python AS runtime
COPY --from=dependencies /layers/nvidia /
COPY --from=dependencies /layers/torch /
COPY --from=dependencies /opt/job /opt/job
# A run writes below /tmp and /output alone: the rest of the file system may be read-only, and the user any.
# GKE mounts NVIDIA's driver at /usr/local/nvidia, where no linker looks; elsewhere the folder is absent, which does no
# harm. NVIDIA_VISIBLE_DEVICES is not set: where nvidia is Docker's default runtime it would give every card to containers
# that asked for none. Whoever asks for a card (docker --gpus, the device plugin, ECS) has it set.
ENV PATH=/opt/job/bin:$PATH:/usr/local/nvidia/bin \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib JOB_CACHE=/tmp/cache JOB_OUTPUT=/output \
    TORCH_HOME=/opt/torch PYTHONPYCACHEPREFIX=/opt/bytecode \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# ImageNet weights baked into the image, so that a thousand containers do not call a download server: none, imagenet
# (downloaded now), or a folder of the build context that holds torchvision's file. Its SHA-256 is checked.
FROM runtime AS weights
ARG WEIGHTS=none
COPY --from=package /build/package /opt/job
RUN --mount=type=bind,target=/context \
    checkpoints=$TORCH_HOME/hub/checkpoints \
 && mkdir -p "$checkpoints" \
 && case "$WEIGHTS" in \
        none) ;; \
        imagenet) job stage --dataset none "$checkpoints" ;; \
        *) job stage --dataset none --data "/context/$WEIGHTS" "$checkpoints" ;; \
    esac

# Proof that the trimmed environment still trains, evaluates and plots; and the byte code of just what that imports,
# without which every container would compile it again.
FROM runtime AS bytecode
COPY --from=package /build/package /opt/job
COPY manifests/jobs/smoke.json /build/
RUN unset PYTHONDONTWRITEBYTECODE \
 && job run --manifest /build/smoke.json --output /tmp/runs --set epochs=1 --set dataset.num_train=50 \
 && python -c 'import boto3; boto3.client("s3", region_name="us-east-1"); import job.storage.s3'

FROM runtime
RUN install --directory --mode 1777 /output
VOLUME /output
COPY --from=weights /opt/torch /opt/torch
COPY manifests/sweeps /opt/job/manifests/sweeps
COPY manifests/jobs /opt/job/manifests/jobs
COPY --from=bytecode /opt/bytecode /opt/bytecode
COPY --from=package /build/package /opt/job
ARG VERSION=unknown
ARG GIT_SHA=unknown
ENV JOB_GIT_SHA=$GIT_SHA
LABEL org.opencontainers.image.title="job" \
      org.opencontainers.image.description="Fine-tunes ResNet18 with the optimizer that a manifest names" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$GIT_SHA
WORKDIR /opt/job/manifests/jobs
USER 10001:10001
ENTRYPOINT ["job", "run"]
