#!/bin/sh
# What of the official entry point the compose file relies on: a first start makes the cluster and the database.
set -eu
if [ "$1" != postgres ]; then
    exec "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-host=scram-sha-256 --encoding=UTF8 > /dev/null
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options='-c listen_addresses=' start > /dev/null
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB" 2>/dev/null || true
    pg_ctl --wait --mode=fast stop > /dev/null
fi
exec "$@" -c "listen_addresses=*"
