# Every command, on NVIDIA's GPUs (or CPUs). The host has the driver and NVIDIA's container toolkit;
# CUDA's libraries come with the packages. In Frostline's folder:
#
#   docker build -f docker/gpu.Dockerfile -t frostline-gpu .
#   docker run --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/work" frostline-gpu extract photos
#
# For cards that TensorFlow's build does not serve: --build-arg EXTRAS=jax,serve
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pipeline /src/pipeline
COPY cli.py frostline.py setup.cfg pyproject.toml constraints.txt README.md /src/
WORKDIR /src
ARG EXTRAS=gpu,serve
RUN python -m venv --without-pip /opt/frostline \
    && pip --python /opt/frostline/bin/python install --constraint constraints.txt ".[${EXTRAS}]"

FROM python:${PYTHON}-slim
COPY --from=packages /opt/frostline /opt/frostline
# The state of whoever runs it, as whatever user, lies in /state: weights, converted networks.
ENV PATH=/opt/frostline/bin:$PATH HOME=/state KERAS_HOME=/state/keras XDG_CACHE_HOME=/state/cache \
    XDG_DATA_HOME=/state/data MPLCONFIGDIR=/tmp/matplotlib \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --uid 10001 --no-create-home --home-dir /state --shell /usr/sbin/nologin frostline \
    && install -d -m 1777 /state && install -d -o frostline -g frostline /work
USER 10001
WORKDIR /work
VOLUME /state
ENTRYPOINT ["frostline"]
CMD ["--help"]
