# The operator's image. `docker build -t agentscaler.dev/operator:0.1.0 .`
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# pip lives in an environment of its own, so that the one that is shipped never holds it.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/agentscaler
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY requirements-build.lock requirements-operator.lock ./
RUN /build/bin/pip install --quiet --require-hashes -r requirements-build.lock && \
    /build/bin/pip --python /opt/agentscaler/bin/python install --quiet --no-compile --require-hashes --only-binary :all: \
      -r requirements-operator.lock
# What never loads: the asyncio twin of the Kubernetes client. tests/unit/test_image.py runs everything without it.
RUN rm -r /opt/agentscaler/lib/python3*/site-packages/kubernetes/aio
# The root file system is read-only at run time: without bytecode every start would compile hundreds of modules.
# The client's API classes and models are left as sources: six of their thousand load, and their bytecode is 24 MB.
# Unchecked: nothing in an image changes, whatever becomes of the files' times.
RUN /opt/agentscaler/bin/python -m compileall -q -j 2 -x 'kubernetes/client/(api|models)/' --invalidation-mode unchecked-hash \
      /opt/agentscaler/lib
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . && \
    /build/bin/pip --python /opt/agentscaler/bin/python install --quiet --no-compile --no-deps /wheels/*.whl && \
    /opt/agentscaler/bin/python -m compileall -q --invalidation-mode unchecked-hash \
      /opt/agentscaler/lib/python3*/site-packages/agentscaler

FROM ${BASE}
# The base's own pip goes as well, wherever Debian and the published images have it: nothing is installed here any more.
RUN python3 -m venv --without-pip /opt/agentscaler && \
    rm -rf /usr/bin/pip* /usr/lib/python3/dist-packages/* /usr/lib/python3*/ensurepip /usr/share/python-wheels \
      /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip
COPY --from=build /opt/agentscaler/lib /opt/agentscaler/lib
COPY --from=build /opt/agentscaler/bin/agentscaler /opt/agentscaler/bin/
ENV PATH=/opt/agentscaler/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="agentscaler" \
      org.opencontainers.image.description="A Kubernetes operator that autoscales LLM-agent services: replicas, workers, cache and circuit breaker as one explained decision." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["agentscaler"]
CMD ["run"]
