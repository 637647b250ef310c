# shellcheck shell=bash
# Which Debian packages are missing, and how they come in. A check looks for the thing itself (a command, a header), not
# for the package: what came another way serves as well. Needs say.sh.

missing_packages=()

# need PACKAGE WHY CHECK...: notes PACKAGE as missing unless the command CHECK succeeds.
need() {
  local package=$1 why=$2
  shift 2
  if ! "$@" >/dev/null 2>&1; then
    say "missing: $package: $why"
    missing_packages+=("$package")
  fi
}

# install_missing: installs all that `need` noted, at once, or says why it cannot.
install_missing() {
  ((${#missing_packages[@]} > 0)) || return 0
  local packages=("${missing_packages[@]}")
  missing_packages=()
  command -v apt-get >/dev/null ||
    fail "cannot install ${packages[*]}: there is no apt-get, so this is neither Debian nor Ubuntu" \
      "install your system's packages of the same purpose, then run this again"
  may_install ||
    fail "cannot install ${packages[*]}: this is not root, and there is no sudo" \
      "as root: apt-get update && apt-get install ${packages[*]}"
  say "installing: ${packages[*]}"
  # A list of packages that is empty or old makes the first try fail; only then is it worth fetching anew.
  if ! apt_get install --yes --no-install-recommends "${packages[@]}" >/dev/null 2>&1; then
    quietly "fetch the list of packages" apt_get update
    quietly "install ${packages[*]}" apt_get install --yes --no-install-recommends "${packages[@]}"
  fi
}

# apt_get ARG...: apt-get as root, without questions, waiting for another apt that holds the lock.
apt_get() {
  local as_root=()
  ((EUID == 0)) || as_root=(sudo)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --quiet -o DPkg::Lock::Timeout=300 "$@"
}

# may_install: whether there is a way to root.
may_install() {
  ((EUID == 0)) || command -v sudo >/dev/null
}

# candidate PACKAGE: the version that apt would install, or nothing.
candidate() {
  LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([0-9].*\)$/\1/p'
}

# at_least WANTED HAVE: whether version HAVE is not older than WANTED.
at_least() {
  [[ $(printf '%s\n' "$1" "$2" | sort --version-sort | head -n1) == "$1" ]]
}

# has_header NAME: whether the C compiler finds the header.
has_header() {
  cc -E -include "$1" -x c /dev/null -o /dev/null
}

# need_for_building: what compiling Torus needs beside Rust.
need_for_building() {
  need gcc "the linker for Rust, and the compiler of C dependencies" command -v cc
  need libc6-dev "the C library's headers and start files, to link with" has_header stdio.h
  need pkg-config "finds libsystemd for the build" command -v pkg-config
  need libsystemd-dev "readiness, watchdog and journal of systemd" pkg-config --exists libsystemd
  need ca-certificates "to trust the registry that crates come from" test -e /etc/ssl/certs/ca-certificates.crt
}
