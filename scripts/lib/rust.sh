# shellcheck shell=bash
# A cargo that is new enough: the one on PATH, rustup's in the home, or the system's package. Needs say.sh, packages.sh
# and $root, the repository's directory.

# need_cargo: leaves such a cargo on PATH, or says how to get one.
need_cargo() {
  local wanted have
  wanted=$(sed -n 's/^rust-version *= *"\(.*\)"$/\1/p' "${root:?}/Cargo.toml")
  # A login shell that is older than rustup's installation does not have it on PATH.
  command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
  have=$(rust_version)
  if [[ -n $have ]] && at_least "$wanted" "$have"; then
    return
  fi

  say "missing: Rust $wanted or newer, the language that Torus is written in (found: ${have:-none})"
  if command -v rustup >/dev/null; then
    fail "the Rust toolchain in use is ${have:-not installed}, Torus needs $wanted or newer" \
      "rustup update stable && rustup default stable"
  fi
  if command -v apt-get >/dev/null && may_install; then
    quietly "fetch the list of packages" apt_get update
    if [[ -n $(candidate rustup) ]]; then
      need rustup "brings the current Rust" false
      install_missing
      say "installing: the stable Rust toolchain, by rustup"
      quietly "install the stable Rust toolchain" rustup default stable
    elif at_least "$wanted" "$(candidate cargo)"; then
      need cargo "builds Torus" false
      install_missing
    fi
    hash -r
    have=$(rust_version)
  fi
  if [[ -z $have ]] || ! at_least "$wanted" "$have"; then
    fail "Torus needs Rust $wanted or newer, and this system's packages do not have it" \
      "these two commands install it (curl is in the package curl); then run this again:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default
  . \"\$HOME/.cargo/env\""
  fi
}

# rust_version: the version of the Rust in use, or nothing. Asked in the repository: a toolchain may be pinned there.
rust_version() {
  (cd "$root" && cargo --version >/dev/null 2>&1 && rustc --version 2>/dev/null | cut -d' ' -f2) || true
}

# candidate PACKAGE: the version that apt would install, or nothing.
candidate() {
  apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([0-9].*\)$/\1/p'
}

# at_least WANTED HAVE: whether version HAVE is not older than WANTED.
at_least() {
  [[ $(printf '%s\n' "$1" "$2" | sort --version-sort | head -n1) == "$1" ]]
}
