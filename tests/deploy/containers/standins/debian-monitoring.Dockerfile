# Prometheus, Alertmanager and the exporters of Debian, for stand-ins of the official images.
FROM python:3.11-slim
RUN --mount=type=secret,id=sources,target=/etc/apt/sources.list.d/debian.sources \
    mkdir -p /var/lib/apt/lists /var/cache/apt/archives/partial \
    && apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends prometheus prometheus-alertmanager prometheus-node-exporter \
    prometheus-redis-exporter > /dev/null \
    && rm -rf /var/lib/apt/lists /var/cache/apt \
    && install --directory --owner=nobody --group=nogroup /prometheus /alertmanager
USER nobody
