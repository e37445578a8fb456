# The pipeline: Prefect's server and workers, the flows, Locust. From the root of the repository:
#   docker build -t canary-pipeline:0.1.0 .
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv
ENV VIRTUAL_ENV=/opt/venv
WORKDIR /app
COPY requirements.lock pyproject.toml README.md ./
# As constraints the lock gives versions and hashes; what only development needs stays out.
RUN uv venv $VIRTUAL_ENV && \
    uv pip install --no-cache --compile-bytecode --constraint requirements.lock --requirement pyproject.toml
COPY analysis analysis
COPY backends backends
COPY cli cli
COPY conductor conductor
COPY flows flows
COPY loadtest loadtest
COPY report report
COPY rollout rollout
COPY sample sample
COPY wiring wiring
COPY rollout.yaml loadtest.yaml prefect.yaml ./
RUN uv pip install --no-cache --no-deps --editable . && $VIRTUAL_ENV/bin/python -m compileall -q .

FROM python:3.12-slim
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
CMD ["canary", "--help"]
