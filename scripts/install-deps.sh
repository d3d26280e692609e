#!/usr/bin/env bash
# Installs what Skywave needs from Debian 12's own packages, and only what is missing. Safe to run again and again: when all is
# there it prints nothing and takes no time.
#
#   scripts/install-deps.sh                 what building and running need
#   scripts/install-deps.sh --with-tests    the same, and the browsers and players of the tests
#   scripts/install-deps.sh --with-benches  what serving needs, and what the benches compare with
#   scripts/install-deps.sh --check         only say what is missing (exit 1 when something is)
#
# Cargo and Node's packages are no business of this script: it says what to do when cargo is missing.
set -euo pipefail

build=(
    build-essential pkg-config cmake clang
    libssl-dev
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstreamer-plugins-bad1.0-dev
)
run=(
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
    gstreamer1.0-libav gstreamer1.0-nice gstreamer1.0-tools
    ffmpeg ca-certificates
)
tests=(
    chromium chromium-driver firefox-esr
    vlc-bin vlc-plugin-base vlc-plugin-video-output
    nftables iproute2 util-linux curl openssl
    coturn
)
benches=(wrk nginx-light)
# The oldest Node that builds the pages (Debian 12 has 18).
node_at_least=18
# The oldest cargo that builds the workspace: `rust-version` of Cargo.toml.
cargo_at_least=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' "$(dirname "$0")/../Cargo.toml")

with_tests=no
with_benches=no
check_only=no
for argument in "$@"; do
    case $argument in
        --with-tests) with_tests=yes ;;
        --with-benches) with_benches=yes ;;
        --check) check_only=yes ;;
        --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        *) echo "install-deps: unknown argument $argument (try --help)" >&2; exit 2 ;;
    esac
done

wanted=("${build[@]}" "${run[@]}")
[ "$with_tests" = yes ] && wanted+=("${tests[@]}")
[ "$with_benches" = yes ] && wanted+=("${benches[@]}")

# Node is often there without Debian's package (from another source): ask the command, not the package list.
node_major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p' || true)
[ "${node_major:-0}" -ge "$node_at_least" ] || wanted+=(nodejs)
command -v npm >/dev/null || wanted+=(npm)

missing=()
if command -v dpkg-query >/dev/null; then
    installed=$(dpkg-query -W -f '${Status}\t${Package}\n' "${wanted[@]}" 2>/dev/null |
        sed -n 's/^install ok installed\t//p' || true)
    for package in "${wanted[@]}"; do
        grep -qxF "$package" <<<"$installed" || missing+=("$package")
    done
else
    echo "install-deps: this is no Debian system (no dpkg); install the counterparts of: ${wanted[*]}" >&2
    exit 1
fi

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$check_only" = yes ]; then
        echo "missing: ${missing[*]}"
        exit 1
    fi
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "install-deps: run this as root, or install sudo; missing: ${missing[*]}" >&2
            exit 1
        }
        as_root=(sudo)
    fi
    echo "install-deps: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # env, because sudo passes on no variables of its caller; the lock wait is for machines that update themselves at boot.
    apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    "${apt[@]}" update
    "${apt[@]}" install --yes --no-install-recommends "${missing[@]}"
    # The tests start a TURN server of their own: Debian's package would have one serve everybody from now on.
    if [[ " ${missing[*]} " == *" coturn "* ]] && [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable --now coturn
    fi
    echo "install-deps: done"
fi

older() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ] && [ "$1" != "$2" ]; }

cargo=$(command -v cargo || true)
[ -z "$cargo" ] && [ -x "$HOME/.cargo/bin/cargo" ] && cargo=$HOME/.cargo/bin/cargo
cargo_version=$([ -z "$cargo" ] || "$cargo" --version | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
if [ -z "$cargo_version" ] || older "$cargo_version" "$cargo_at_least"; then
    found=${cargo_version:+cargo $cargo_version}
    cat >&2 <<WORDS
install-deps: Rust $cargo_at_least or newer is needed; here is ${found:-no cargo}.
  Debian 12's own is too old. Install it for your user with rustup: see https://rustup.rs, then open a new shell.
WORDS
    exit 1
fi
