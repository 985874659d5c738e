# Every command, on CPUs. In Frostline's folder:
#
#   docker build -f docker/cpu.Dockerfile -t frostline .
#   docker run --user "$(id -u):$(id -g)" -v "$PWD:/work" frostline extract photos --backbone lite0
#
# With a run in it, which then is /opt/run: --build-arg RUN=runs/NAME
#   docker run -p 127.0.0.1:8000:8000 frostline serve /opt/run --host 0.0.0.0
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pipeline /src/pipeline
COPY cli.py frostline.py setup.cfg pyproject.toml constraints.txt README.md /src/
COPY docker/without_gpu.py /src/
WORKDIR /src
# tensorflow-cpu is TensorFlow of the same version without what only GPUs run, 630 MB less; another
# 350 MB are headers and a compiler's library, which are for building operations of one's own.
RUN python -m venv --without-pip /opt/frostline \
    && python without_gpu.py > requirements.txt \
    && pip --python /opt/frostline/bin/python install --constraint constraints.txt \
        --requirement requirements.txt \
    && pip --python /opt/frostline/bin/python install --no-deps . \
    && rm -r /opt/frostline/lib/python3*/site-packages/tensorflow/include \
        /opt/frostline/lib/python3*/site-packages/clang

FROM python:${PYTHON}-slim
COPY --from=packages /opt/frostline /opt/frostline
# The state of whoever runs it, as whatever user, lies in /state: weights, converted networks.
ENV PATH=/opt/frostline/bin:$PATH HOME=/state KERAS_HOME=/state/keras XDG_CACHE_HOME=/state/cache \
    XDG_DATA_HOME=/state/data MPLCONFIGDIR=/tmp/matplotlib
RUN useradd --uid 10001 --no-create-home --home-dir /state --shell /usr/sbin/nologin frostline \
    && install -d -m 1777 /state && install -d -o frostline -g frostline /work
# Without the argument this copies the licence: a COPY without a source is an error.
ARG RUN=LICENSE
COPY --chown=frostline:frostline ${RUN} /opt/run/
USER 10001
WORKDIR /work
VOLUME /state
ENTRYPOINT ["frostline"]
CMD ["--help"]
