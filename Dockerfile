# One image for all services: `docker run grantgate keys|policy|gateway`.
# Configuration and secrets come when it is run; none is in the image.

# Pin what it is by its digest: `--build-arg BASE=python:3.13.7-slim@sha256:...`.
ARG BASE=python:3.13.7-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY shared shared
COPY services services
RUN python -m venv /opt/grantgate \
 && /opt/grantgate/bin/pip install --no-cache-dir --disable-pip-version-check \
      --require-hashes --only-binary :all: -r requirements.lock \
 && /opt/grantgate/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM ${BASE}
ENV PATH=/opt/grantgate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GRANTGATE_CONFIG=/etc/grantgate/config.yaml \
    GRANTGATE_KEYS_HOST=0.0.0.0 \
    GRANTGATE_POLICY_HOST=0.0.0.0 \
    GRANTGATE_GATEWAY_HOST=0.0.0.0 \
    GRANTGATE_GATEWAY_INTERNAL_HOST=0.0.0.0
COPY --from=build /opt/grantgate /opt/grantgate
WORKDIR /var/empty
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 4000 4001 4002 4003
ENTRYPOINT ["grantgate"]
CMD ["--help"]
