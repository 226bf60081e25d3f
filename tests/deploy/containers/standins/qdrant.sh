#!/bin/sh
# The key comes in Qdrant's own variable; the vector server reads it from a file.
set -eu
umask 077
printf %s "$QDRANT__SERVICE__API_KEY" > /tmp/api-key
exec /opt/sluice/bin/python -P -m sluice_local.vector_server --host 0.0.0.0 --port 6333 \
    --root /qdrant/storage --api-key-file /tmp/api-key
