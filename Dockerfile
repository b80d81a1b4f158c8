# Petriscope with everything it needs: demo data, tests, bill of materials. How to use it: docs/container.md.
#
# One base serves both variants. torch's CUDA wheels bundle the CUDA libraries, so a CUDA base image would carry them a
# second time; the NVIDIA container toolkit brings in the driver. Without history in the context, the revision comes as
# a build argument:
#   docker build --build-arg REVISION="$(git describe --always --dirty --abbrev=10 --exclude '*')" -t petriscope .
#   docker build --build-arg TORCH=cpu ... -t petriscope:cpu .
ARG BASE_IMAGE=debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

# ---- system: the interpreter and the command-line tools, all from the distribution
# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS system
SHELL ["/bin/sh", "-eu", "-c"]
# The distribution release pins these; the exact versions are in the bill of materials.
# hadolint ignore=DL3008
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install -y --no-install-recommends bedtools ca-certificates git python3 samtools tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log

# ---- dependencies: every archive checked against its hash
FROM system AS dependencies
# hadolint ignore=DL3008
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
COPY requirements/build.lock requirements/base.lock /requirements/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /requirements/build.lock \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps --no-build-isolation -r /requirements/base.lock
ARG TORCH=cuda
COPY requirements/torch-${TORCH}.lock /requirements/torch.lock
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /requirements/torch.lock
# Static libraries, headers and the test suites of other packages serve nothing that runs here: a third of a gigabyte
WORKDIR /opt/venv/lib/python3.11/site-packages
RUN find . -name '*.a' -delete \
    && rm -rf torch/include nvidia/*/include pyarrow/include \
    && for package in numpy pandas pyarrow scipy sklearn statsmodels; do \
        find "$package" -depth -type d -name tests -exec rm -rf {} +; done

# ---- wheel: the project itself
FROM dependencies AS wheel
COPY LICENSE README.md pyproject.toml params.yaml dvc.yaml claims.yaml /source/
COPY paper_figures /source/paper_figures
COPY released /source/released
COPY studies /source/studies
COPY src /source/src
COPY tui /source/tui
RUN /opt/venv/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels /source

# ---- runtime: what runs
FROM system AS runtime
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp USER=petriscope LOGNAME=petriscope \
    LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DVC_SYSTEM_CONFIG_DIR=/etc/petriscope/dvc DVC_SITE_CACHE_DIR=/tmp/dvc DVC_NO_ANALYTICS=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=dependencies /opt/venv /opt/venv
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps --no-index /wheels/*.whl && pip check
COPY docker/etc /etc
COPY docker/bin /usr/local/bin
RUN groupadd --gid 1000 petriscope \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp --shell /bin/sh petriscope \
    && install -d -m 1777 /out

# ---- demo: simulated once, and the very bytes that data.dvc pins
FROM runtime AS demo
WORKDIR /demo
COPY data.dvc ./
COPY .dvc/config .dvc/config
RUN petriscope data demo data/demo && cp data.dvc pinned && dvc commit --quiet --force data.dvc && cmp data.dvc pinned \
    && MPLCONFIGDIR=/demo/matplotlib python -c "import matplotlib.font_manager"

# ---- bill of materials: Python packages as installed, Debian packages as installed
FROM runtime AS sbom
COPY requirements/sbom.lock /requirements/
COPY docker/sbom.py /
RUN python -m venv --without-pip /sbom-venv \
    && pip --python /sbom-venv/bin/python install --no-cache-dir --require-hashes --no-deps -r /requirements/sbom.lock \
    && /sbom-venv/bin/python /sbom.py /opt/venv/bin/python /sbom.cdx.json

# ---- the image
FROM runtime
COPY --from=demo /demo/data/demo /opt/petriscope/demo
COPY --from=demo /demo/matplotlib /opt/petriscope/matplotlib
COPY --from=sbom /sbom.cdx.json /opt/petriscope/sbom.cdx.json
COPY . /opt/petriscope/source
ARG REVISION=unknown
ARG VERSION=0.1.0
ARG BASE_IMAGE
ARG TORCH=cuda
ENV PETRISCOPE_REVISION=${REVISION}
LABEL org.opencontainers.image.title="Petriscope" \
      org.opencontainers.image.description="Sparse-autoencoder probes of EpiBERT: in-vitro against in-vivo chromatin" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      petriscope.torch="${TORCH}"
USER 1000:1000
WORKDIR /out
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 CMD ["petriscope-health"]
# tini reaps what dies and hands SIGTERM to the whole group: without it `docker stop` waits ten seconds and kills
ENTRYPOINT ["/usr/bin/tini", "-g", "--", "petriscope-container"]
CMD ["reproduce"]
