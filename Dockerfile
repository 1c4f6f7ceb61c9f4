# The driver service as Argo's sidecar runs it: runtime dependencies only, no compiler, no shell needed.
# Build: docker build -t kfp-central-driver:0.1.0 .
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/driver
COPY requirements/runtime.txt requirements/
RUN /opt/driver/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY driver_plugin driver_plugin
COPY resolver resolver
COPY propagation propagation
COPY kfp_api kfp_api
COPY compiler compiler
COPY launcher launcher
COPY local_stack local_stack
COPY troubleshooting troubleshooting
# hatchling builds the wheel outside the image's environment; nothing but the wheel reaches it.
RUN pip wheel --no-cache-dir --disable-pip-version-check --no-deps --wheel-dir /wheels . \
    && /opt/driver/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps /wheels/*.whl \
    && /opt/driver/bin/python -m compileall -q /opt/driver \
    && /opt/driver/bin/pip uninstall --yes --quiet pip

FROM python:3.12-slim
COPY --from=build /opt/driver /opt/driver
ENV PATH=/opt/driver/bin:$PATH \
    HOME=/tmp \
    TMPDIR=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Argo writes the agent's token for this user id; another one could not read it.
USER 8737
EXPOSE 10790 10791
ENTRYPOINT ["kfp-driver"]
CMD ["serve"]
