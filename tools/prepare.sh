#!/usr/bin/env bash
# usage: tools/prepare.sh PYTHON VENV
# Checks the interpreter, installs missing system packages (where there is apt-get, and root or
# sudo) and makes the virtual environment with what a build needs. What is missing is told all at
# once, with the line that installs it.
set -euo pipefail

python=$1
venv=$2

# The first line says that it is ours; of the others some are to be pasted.
die() {
    printf 'fastpersist: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '%s\n' "$@" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null
}

# --- the interpreter ------------------------------------------------------------

# What it brings, in Debian's names; the others' line is for their own Python.
python_packages() {
    printf '%s %s-dev %s-venv' "$1" "$1" "$1"
}

if ! has "$python"; then
    case $python in
    */*) die "no $python here; name an interpreter: make PYTHON=python3.12" ;;
    esac
    if has apt-get; then
        install="apt-get install $(python_packages "$python") gcc libc6-dev liblz4-dev libxxhash-dev"
    elif has dnf; then
        install="dnf install $python $python-devel gcc lz4-devel xxhash-devel"
    elif has apk; then
        install='apk add python3 python3-dev gcc musl-dev lz4-dev xxhash-dev'
    else
        install='brew install python lz4 xxhash'
    fi
    die "no $python here; install it (and, while at it, all else that is wanted), as root:" \
        "    $install" "or name an interpreter that is there: make PYTHON=python3.12"
fi
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

# --- what is missing ------------------------------------------------------------

# Whether the C compiler finds this header, or without one (or its library) whether it lies where
# distributions and Homebrew put it.
has_header() {
    if $compiles; then
        printf '#include <stddef.h>\n#include <%s>\n' "$1" | "${compiler[@]}" -E -x c - >/dev/null 2>&1 && return
    else
        [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ] && return
    fi
    [ -n "$brew" ] && [ -e "$brew/include/$1" ]
}

# Debian's, Fedora's, Alpine's and Homebrew's name of a package.
want() {
    apt+=($1) dnf+=($2) apk+=($3)
    [ -z "$4" ] || brew_names+=("$4")
    what+=("$5")
}

# Fills the lists above.
look() {
    apt=() dnf=() apk=() brew_names=() what=()
    read -ra compiler <<<"${CC:-$("$python" -c \
        'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}"
    # Python's own compiler may be named by a path of another machine.
    has "${compiler[0]}" || compiler=(cc)
    brew=$(brew --prefix 2>/dev/null || true)
    compiles=false
    if ! has "${compiler[0]}"; then
        want 'gcc libc6-dev' gcc 'gcc musl-dev' '' 'a C compiler'
    elif ! printf '#include <stdio.h>\n' | "${compiler[@]}" -E -x c - >/dev/null 2>&1; then
        want libc6-dev glibc-devel musl-dev '' "the C library's headers"
    else
        compiles=true
    fi
    has_header lz4frame.h || want liblz4-dev lz4-devel lz4-dev lz4 'the headers of LZ4'
    has_header xxhash.h || want libxxhash-dev xxhash-devel xxhash-dev xxhash 'the headers of xxHash'
    # A distribution's Python may come without its headers and without venv.
    [ -e "$headers/Python.h" ] ||
        want "${its_own:+$its_own-dev}" python3-devel python3-dev '' "the headers of Python $version"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        want "${its_own:+$its_own-venv}" python3 python3 '' "Python's modules venv and ensurepip"
}

headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
# What the system calls the interpreter, if it is the system's.
its_own=
case $headers in
/usr/include/*) its_own=python$version ;;
esac

# Prints what is missing and how to get it, and ends.
miss() {
    local lines=()
    lines+=("missing: $(printf '%s, ' "${what[@]}" | sed 's/, $//')")
    if has apt-get && [ ${#apt[@]} -gt 0 ]; then
        lines+=("install it as root (or with sudo), then try again:" "    apt-get install -y ${apt[*]}")
    elif has dnf && [ -n "$its_own" ]; then
        lines+=("install it as root, then try again:" "    dnf install -y ${dnf[*]}")
    elif has apk; then
        lines+=("install it as root, then try again:" "    apk add ${apk[*]}")
    elif [ "$(uname)" = Darwin ]; then
        lines+=("install it, then try again:")
        $compiles || lines+=('    xcode-select --install')
        [ ${#brew_names[@]} -eq 0 ] || lines+=("    brew install ${brew_names[*]}")
    fi
    [ -n "$its_own" ] || lines+=("($python is none of the system's: its own headers and modules are parts of it)")
    die "${lines[@]}"
}

# Tries to install what is missing.
apt_install() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || miss
        as_root=(sudo)
    fi
    echo "fastpersist: installing with apt-get: ${apt[*]}" >&2
    local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
        apt-get install -y --no-install-recommends "${apt[@]}")
    "${install[@]}" </dev/null >/dev/null 2>&1 && return
    # The package lists may be missing or old.
    "${as_root[@]}" apt-get update </dev/null >&2 || true
    "${install[@]}" </dev/null >&2 || true
}

look
if [ ${#apt[@]} -gt 0 ] && has apt-get; then
    apt_install
    look
fi
[ ${#what[@]} -eq 0 ] || miss

# --- the environment ------------------------------------------------------------

"$python" -m venv --clear "$venv" ||
    die "could not make $venv" "on Debian and Ubuntu: apt-get install python$version-venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'setuptools>=77' 'numpy>=2' ||
    die "pip could not install setuptools and numpy (its own words are above)" \
        'it needs a network, or PIP_INDEX_URL or PIP_FIND_LINKS for an index or a directory that is at hand'
