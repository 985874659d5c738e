# Answers over HTTP with one run, without TensorFlow: the network is converted while the image is
# built, and travels with it. In Frostline's folder, for the run runs/NAME:
#
#   docker build -f docker/serve.Dockerfile --build-arg RUN=runs/NAME -t frostline-serve .
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 frostline-serve
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    FROSTLINE_NETWORKS=/srv/networks XDG_DATA_HOME=/srv/data MPLCONFIGDIR=/tmp/matplotlib
# The seal of the converted network holds for the user who made it.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin frostline \
    && install -d -o frostline -g frostline /srv
WORKDIR /srv

FROM base AS source
COPY pipeline /src/pipeline
COPY cli.py frostline.py setup.cfg pyproject.toml constraints.txt README.md /src/
COPY docker/requirements-serve.txt /src/docker/

# Everything, once, to convert the network: nothing but /srv leaves this stage.
FROM source AS converted
RUN pip install --constraint /src/constraints.txt /src
ARG RUN
COPY --chown=frostline:frostline ${RUN} /srv/run
USER 10001
RUN ["python", "-c", "import frostline; frostline.load('/srv/run')"]

# A virtual environment with no more than serving needs; pip stays behind.
FROM source AS packages
# Packages for heads that scikit-learn made: "scikit-learn skops". Linear and dense heads and
# fine-tuned runs need none.
ARG EXTRA_PACKAGES=""
RUN python -m venv --without-pip /opt/frostline \
    && pip --python /opt/frostline/bin/python install --constraint /src/constraints.txt \
        --requirement /src/docker/requirements-serve.txt ${EXTRA_PACKAGES} \
    && pip --python /opt/frostline/bin/python install --no-deps /src

FROM base
COPY --from=packages /opt/frostline /opt/frostline
COPY --from=converted --chown=frostline:frostline /srv /srv
ENV PATH=/opt/frostline/bin:$PATH
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["frostline"]
CMD ["serve", "/srv/run", "--host", "0.0.0.0", "--port", "8000"]
