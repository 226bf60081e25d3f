#!/bin/sh
# Puts every package into .venv, with exactly the versions of requirements.lock; does nothing when that is done.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/installed
packages="libs/common libs/client services/api services/extractor services/embedder libs/local"

is_current() {
    [ -f "$stamp" ] && [ -x .venv/bin/python ] &&
        [ -z "$(find requirements.lock pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml -newer "$stamp")" ]
}

# A pyenv shim may stand for a version that is not there, so each candidate must answer.
fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-} python3.12 python3.11 python3; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "Sluice needs Python 3.11 or 3.12, and neither was found; install one, or name it: PYTHON=/path/to/python3.12" >&2
    return 1
}

has_uv() {
    uv --version >/dev/null 2>&1
}

make_environment() {
    if "$1" -c 'import ensurepip' >/dev/null 2>&1; then
        "$1" -m venv --clear .venv
    elif "$1" -c 'import virtualenv' >/dev/null 2>&1; then
        "$1" -m virtualenv --clear --quiet .venv
    elif has_uv; then
        UV_PYTHON_DOWNLOADS=never uv venv --clear --quiet --python "$1" .venv
    else
        echo "$1 cannot make an environment; install python3-venv (Debian, Ubuntu), or virtualenv, or uv" >&2
        return 1
    fi
}

with_uv() {
    has_uv && uv pip install --quiet --python .venv/bin/python "$@"
}

with_pip() {
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        echo "uv could not install the packages, and there is no pip in .venv to try instead; see above" >&2
        return 1
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
}

# uv is ten times quicker, but does not read pip's settings: where those name a mirror, only pip gets through.
install() {
    with_uv "$@" || with_pip "$@"
}

if is_current; then
    exit 0
fi
if ! fits .venv/bin/python; then
    python=$(find_python)
    echo "making .venv with $("$python" --version)"
    make_environment "$python"
fi
echo "installing the packages of requirements.lock (1.4 GB; once)"
install --require-hashes -r requirements.lock
editables=
for package in $packages; do
    editables="$editables -e $package"
done
# shellcheck disable=SC2086 # the words are wanted one by one
install --no-build-isolation --no-deps $editables
touch "$stamp"
