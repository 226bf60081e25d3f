#!/bin/sh
# Runs the acceptance tests of an earlier release, with its own code, on the tables of this one: what a rolling update
# needs while both releases run. Only the migrations that run before the new code are taken over.
set -eu
cd "$(dirname "$0")/.."

from=${1:-$(git describe --tags --abbrev=0 HEAD^ 2>/dev/null || true)}
tests=${2:-tests/acceptance}
if [ -z "$from" ]; then
    echo "there is no earlier release; name one: make test-upgrade FROM=v0.1.0" >&2
    exit 2
fi
versions=libs/common/src/sluice_common/migrations/versions
earlier=$PWD/build/earlier-release

git worktree prune
rm -rf "$earlier"
git worktree add --detach --force "$earlier" "$from"
trap 'git worktree remove --force "$earlier"' EXIT

taken=
for migration in "$versions"/[0-9]*.py; do
    if [ -e "$earlier/$migration" ]; then
        continue
    fi
    if grep -q '^PHASE = "post"' "$migration"; then
        break # it runs when the earlier release is gone, and so does everything behind it
    fi
    cp "$migration" "$earlier/$migration"
    taken="$taken $(basename "$migration" .py)"
done
echo "testing the code of $from with the migrations${taken:- of its own, because there are no new ones}"

cd "$earlier"
sh scripts/install.sh
# shellcheck disable=SC2086 # the words are wanted one by one
.venv/bin/pytest $tests
