#!/bin/sh
# Builds the pages of src/web into src/web/dist, which the server embeds.
#
# Does only what is needed: `npm ci` when the lock file has changed since the last one, a build when a source has.
# Safe to run from several builds at once. Needs node 18 or newer with npm.
set -eu

cd "$(dirname "$0")/../src/web"
stamps=node_modules/.skywave

# Without flock (macOS) parallel runs are the caller's business.
if [ "${SKYWAVE_WEB_LOCKED:-}" != 1 ] && command -v flock >/dev/null 2>&1; then
    SKYWAVE_WEB_LOCKED=1 exec flock "$PWD" "../../scripts/$(basename "$0")" "$@"
fi

if ! command -v npm >/dev/null 2>&1; then
    echo "build-web: npm is not installed (Debian: apt-get install nodejs npm)" >&2
    exit 1
fi

# The content of files, with their names, as one hash.
hash_of() {
    find "$@" -type f -print | LC_ALL=C sort | while IFS= read -r file; do
        printf '%s ' "$file"
        cksum <"$file"
    done | cksum
}

lock=$(hash_of package-lock.json .npmrc; node --version)
if [ ! -f "$stamps/lock" ] || [ "$(cat "$stamps/lock")" != "$lock" ]; then
    npm ci
    mkdir -p "$stamps"
    printf '%s\n' "$lock" >"$stamps/lock"
fi

sources=$(printf '%s\n' "$lock"; hash_of app css icons pages build.mjs package.json tsconfig.json)
if [ ! -f dist/index.html ] || [ ! -f "$stamps/sources" ] || [ "$(cat "$stamps/sources")" != "$sources" ]; then
    # Built aside and moved in place, so that a failed build leaves the last good one.
    fresh=$stamps/dist
    node build.mjs "$fresh"
    rm -rf dist
    mv "$fresh" dist
    printf '%s\n' "$sources" >"$stamps/sources"
fi
