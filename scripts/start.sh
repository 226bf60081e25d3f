#!/bin/sh
# Starts the whole of Sluice on this machine, as `make run` does, also where there is no make.
set -eu
cd "$(dirname "$0")/.."

# Under WSL, a Windows disk keeps no Unix permissions, and PostgreSQL refuses to keep its data there.
case "$PWD" in
/mnt/*)
    if [ -z "${SLUICE_HOME:-}" ] && grep -qi microsoft /proc/version 2>/dev/null; then
        SLUICE_HOME=$HOME/.sluice
        export SLUICE_HOME
    fi
    ;;
esac

sh scripts/install.sh
exec .venv/bin/sluice-local up "$@"
