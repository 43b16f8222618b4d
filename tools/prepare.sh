#!/usr/bin/env bash
# usage: tools/prepare.sh PYTHON VENV
# Checks the interpreter, installs missing system packages (where there is
# apt-get) and makes the virtual environment with what a build needs.
set -euo pipefail

python=$1
venv=$2

die() {
    printf 'fastpersist: %s\n' "$@" >&2
    exit 1
}

apt_install() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "missing packages: $*" "install them as root, then try again"
        as_root=(sudo)
    fi
    echo "fastpersist: installing with apt-get: $*" >&2
    local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
        apt-get install -y --no-install-recommends "$@")
    "${install[@]}" </dev/null >/dev/null 2>&1 && return
    # The package lists may be missing or old.
    "${as_root[@]}" apt-get update </dev/null >&2 || true
    "${install[@]}" </dev/null >&2 || die "apt-get could not install: $*"
}

# Whether the C compiler finds these headers.
has_headers() {
    printf '#include <%s>\n' "$@" | "${compiler[@]}" -E -x c - >/dev/null 2>&1
}

command -v "$python" >/dev/null ||
    die "no $python here; name an interpreter: make PYTHON=python3.12"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
    die "$python does not run; name another: make PYTHON=python3.12"
# The Pythons that are tested are the classifiers of pyproject.toml.
tested=$(sed -nE 's/.*"Programming Language :: Python :: (3\.[0-9]+)".*/\1/p' \
    "$(dirname "$0")/../pyproject.toml" | sort -V)
oldest=$(head -n 1 <<<"$tested")
newest=$(tail -n 1 <<<"$tested")
earliest() {
    printf '%s\n' "$@" | sort -V | head -n 1
}
[ "$(earliest "$version" "$oldest")" = "$oldest" ] ||
    die "needs Python $oldest or newer, $python is $version; name another: make PYTHON=python3.12"
[ "$(earliest "$version" "$newest")" = "$version" ] ||
    echo "fastpersist: not tested with Python $version, only with $oldest to $newest" >&2

read -ra compiler <<<"${CC:-$("$python" -c \
    'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}"
if ! command -v "${compiler[0]}" >/dev/null; then
    # Python's own compiler may be named by a path of another machine.
    compiler=(cc)
    command -v cc >/dev/null || die "no C compiler found" \
        "install one: apt-get install build-essential, dnf install gcc, or xcode-select --install"
fi

if ! has_headers lz4frame.h xxhash.h; then
    if command -v apt-get >/dev/null; then
        apt_install liblz4-dev libxxhash-dev
    else
        prefix=$(brew --prefix 2>/dev/null || true)
        [ -n "$prefix" ] && [ -e "$prefix/include/lz4frame.h" ] &&
            [ -e "$prefix/include/xxhash.h" ] ||
            die "the C headers of LZ4 and xxHash are missing; install them with" \
                "    dnf install lz4-devel xxhash-devel" \
                "    brew install lz4 xxhash"
    fi
fi

# A distribution's Python may come without its headers and without venv.
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
if [ ! -e "$headers/Python.h" ]; then
    case $headers in
    /usr/include/*) command -v apt-get >/dev/null && apt_install "python$version-dev" ;;
    esac
    [ -e "$headers/Python.h" ] || die "the C headers of $python are missing; install them with" \
        "    apt-get install python$version-dev" "    dnf install python3-devel"
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    case $headers in
    /usr/include/*) command -v apt-get >/dev/null && apt_install "python$version-venv" ;;
    esac
    "$python" -c 'import ensurepip, venv' || die "$python cannot make virtual environments" \
        "on Debian and Ubuntu: apt-get install python$version-venv"
fi

"$python" -m venv --clear "$venv" ||
    die "could not make $venv" "on Debian and Ubuntu: apt-get install python$version-venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'setuptools>=77' 'numpy>=2'
