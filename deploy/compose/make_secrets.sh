#!/bin/sh
# Makes the secrets of docker-compose.yml that are missing, each in a file of its own; never changes what one holds.
# The folder is for its owner alone. The files in it are readable, because the containers' users are not the owner.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

keep() { # keep NAME: what comes in becomes the secret NAME, unless there is one
    if [ -e "$1" ]; then
        cat > /dev/null
        chmod 444 "$1" # somebody may have put one in its place that only they can read
        return
    fi
    cat > ".$1"
    chmod 444 ".$1"
    mv ".$1" "$1"
}

keep_key() { # keep_key NAME KEY: of a provider; "none" gives way as soon as there is one
    [ -z "$2" ] || [ "$(cat "$1" 2> /dev/null)" != none ] || rm -f "$1"
    printf '%s' "${2:-none}" | keep "$1"
}

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

random | keep postgres-password
random | keep redis-password
random | keep qdrant-api-key
random | keep grafana-password
random | keep dashboards-password
# Keys of providers; replace the files, or give each key once as a variable.
keep_key embeddings-api-key "${SLUICE_EMBEDDINGS__API_KEY:-}"
keep_key transcription-api-key "${SLUICE_TRANSCRIPTION__API_KEY:-}"
printf '%s' "${SLUICE_AUDIO__ENDPOINTS:-[]}" | keep audio-endpoints
printf 'postgresql://sluice:%s@postgres:5432/sluice' "$(cat postgres-password)" | keep database-url
printf 'redis://:%s@redis:6379/0' "$(cat redis-password)" | keep broker-url
printf 'requirepass %s\n' "$(cat redis-password)" | keep redis-auth
printf '{"redis://redis:6379": "%s"}' "$(cat redis-password)" | keep redis-exporter-password

# A certificate of our own for a first start; put a real one in its place.
if [ ! -e tls.crt ] || [ ! -e tls.key ]; then
    openssl req -x509 -newkey rsa:2048 -nodes -days 825 -subj "/CN=${HTTPS_NAME:-localhost}" \
        -addext "subjectAltName=DNS:${HTTPS_NAME:-localhost},DNS:localhost,IP:127.0.0.1" \
        -keyout .tls.key -out .tls.crt 2> /dev/null
    chmod 444 .tls.key .tls.crt
    mv .tls.key tls.key
    mv .tls.crt tls.crt
fi
chmod 444 tls.key tls.crt
