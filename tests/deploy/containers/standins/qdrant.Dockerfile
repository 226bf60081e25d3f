# Stands in for Qdrant's image: the project's own vector server, at the same place and with the same key.
FROM python:3.11-slim
WORKDIR /build
COPY tests/deploy/containers/standins/vector_server.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.crt,target=/etc/ssl/certs/ca-certificates.crt \
    python -m venv /opt/sluice \
    && /opt/sluice/bin/pip install --quiet --disable-pip-version-check --require-hashes -r vector_server.lock
COPY libs/local/src/sluice_local /opt/sluice/lib/python3.11/site-packages/sluice_local
COPY tests/deploy/containers/standins/qdrant.sh /qdrant/entrypoint.sh
RUN install --directory --owner=1000 --group=1000 /qdrant/storage
WORKDIR /qdrant
USER 1000
CMD ["./entrypoint.sh"]
