# shellcheck shell=bash
# A cargo that is new enough: the one on PATH, rustup's in the home, or the system's package. Needs say.sh, packages.sh
# and $root, the repository's directory.

# need_cargo: leaves such a cargo on PATH, installs one if there is none, or says why it cannot.
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
    say "installing: the stable Rust toolchain, by rustup, for this run; the default one stays as it is"
    quietly "install the stable Rust toolchain" rustup toolchain install stable
    export RUSTUP_TOOLCHAIN=stable
  elif ! rust_by_apt "$wanted"; then
    rust_by_rustup
  fi
  hash -r
  have=$(rust_version)
  if [[ -z $have ]] || ! at_least "$wanted" "$have"; then
    fail "Torus needs Rust $wanted or newer, and what could be installed is ${have:-none}" \
      "install it as https://www.rust-lang.org/tools/install says, then run this again"
  fi
}

# rust_by_apt WANTED: installs what the distribution has, if that is new enough; fails if not.
rust_by_apt() {
  command -v apt-get >/dev/null && may_install || return 1
  quietly "fetch the list of packages" apt_get update
  if [[ -n $(candidate rustup) ]]; then
    need rustup "brings the current Rust" false
    install_missing
    say "installing: the stable Rust toolchain, by rustup"
    quietly "install the stable Rust toolchain" rustup default stable
  elif at_least "$1" "$(candidate cargo)"; then
    need cargo "builds Torus" false
    install_missing
  else
    return 1
  fi
}

# rust_by_rustup: installs the stable Rust into the home directory, as its makers recommend.
rust_by_rustup() {
  local installer
  need curl "fetches Rust's installer" command -v curl
  install_missing
  say "installing: the stable Rust toolchain into ${CARGO_HOME:-$HOME/.cargo}, by rustup, since this system's packages do not have it"
  installer=$(mktemp "${TMPDIR:-/tmp}/rustup-init.XXXXXX")
  if ! curl --proto '=https' --tlsv1.2 --silent --show-error --fail --output "$installer" https://sh.rustup.rs; then
    rm -f "$installer"
    fail "cannot fetch Rust's installer (curl's words are above)" \
      "install Rust as https://www.rust-lang.org/tools/install says, then run this again"
  fi
  quietly "install the stable Rust toolchain" sh "$installer" -y --profile default --no-modify-path
  rm -f "$installer"
  PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
}

# rust_version: the version of the Rust in use, or nothing. Asked in the repository: a toolchain may be pinned there.
rust_version() {
  (cd "$root" && cargo --version >/dev/null 2>&1 && rustc --version 2>/dev/null | cut -d' ' -f2) || true
}
