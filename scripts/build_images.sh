#!/bin/sh
# Builds an image of each service, from what is checked out: build_images.sh [name ...].
# EXTRACTOR_IMAGE, of the environment or of .env, is the extractor that is built: extractor-full, or extractor for texts.
# DOCKER_BUILD_FLAGS is added to each build; behind a mirror of packages, for example
#   DOCKER_BUILD_FLAGS="--secret id=pip.conf,src=/etc/pip.conf --secret id=ca.crt,src=/etc/ssl/certs/ca-certificates.crt"
# which the build reads and no image keeps; the secret "sources" is apt's file of Debian's mirrors.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' libs/common/src/sluice_common/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

extractor=${EXTRACTOR_IMAGE:-$(sed -n 's/^EXTRACTOR_IMAGE=//p' .env 2>/dev/null || true)}

dockerfile_of() {
    case $1 in
    embeddings) echo deploy/compose/embeddings/Dockerfile ;;
    extractor*) echo "services/extractor/Dockerfile --target $1" ;;
    *) echo "services/$1/Dockerfile" ;;
    esac
}

[ $# -gt 0 ] || set -- api "${extractor:-extractor-full}" embedder embeddings
for name in "$@"; do
    echo "building sluice/$name:$version"
    # shellcheck disable=SC2046,SC2086 # the words are wanted one by one
    DOCKER_BUILDKIT=1 docker build ${DOCKER_BUILD_FLAGS:-} --quiet \
        --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
        --tag "sluice/$name:$version" --file $(dockerfile_of "$name") .
done
