# PostgreSQL, Redis and nginx of Debian, for stand-ins of the official images; the secret is apt's list of sources.
FROM python:3.11-slim
RUN --mount=type=secret,id=sources,target=/etc/apt/sources.list.d/debian.sources \
    mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
    && mkdir -p /var/lib/apt/lists /var/cache/apt/archives/partial /usr/share/man/man1 /usr/share/man/man7 \
    && apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends postgresql redis-server nginx-light openssl > /dev/null \
    && rm -rf /var/lib/apt/lists /var/cache/apt \
    && (getent passwd nginx || useradd --system --no-create-home nginx)
