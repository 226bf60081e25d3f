#!/bin/sh
# Builds an image of each service, from what is checked out: build_images.sh [name ...].
# DOCKER_BUILD_FLAGS is added to each build; behind a mirror of packages, for example
#   DOCKER_BUILD_FLAGS="--secret id=pip.conf,src=/etc/pip.conf --secret id=ca.crt,src=/etc/ssl/certs/ca-certificates.crt"
# which the build reads and no image keeps.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' libs/common/src/sluice_common/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

dockerfile_of() {
    case $1 in
    embeddings) echo deploy/compose/embeddings/Dockerfile ;;
    *) echo "services/$1/Dockerfile" ;;
    esac
}

[ $# -gt 0 ] || set -- api extractor embedder embeddings
for name in "$@"; do
    echo "building sluice/$name:$version"
    # shellcheck disable=SC2086 # the flags are wanted one by one
    DOCKER_BUILDKIT=1 docker build ${DOCKER_BUILD_FLAGS:-} --quiet \
        --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
        --tag "sluice/$name:$version" --file "$(dockerfile_of "$name")" .
done
