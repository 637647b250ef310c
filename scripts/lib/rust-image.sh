# shellcheck shell=bash
# Where there is no network inside a build, what it starts from brings everything: Debian with a compiler and the
# libraries, this machine's Rust, and the crates of Cargo.lock. Needs say.sh, debian.sh and lab.sh before it, in the root of
# the repository.

: "${debian:?}" "${lab:?}" "${lab_image_days_max:?}"
rust_image_packages=(ca-certificates gcc libc6-dev libsystemd-dev libzmq3-dev make pkg-config python3-zmq)

# lab_rust_image: makes the image torus-lab/rust, unless it is there for this compiler and these crates.
lab_rust_image() {
  local tar=$lab/images/rust.tar made_of
  made_of="${rust_image_packages[*]}; $(rustc --version); $(sha256sum <Cargo.lock)"
  mkdir -p "$lab/images"
  if [[ $(cat "$tar.made-of" 2>/dev/null) == "$made_of" && -n $(find "$tar" -mtime "-$lab_image_days_max" 2>/dev/null) ]]; then
    return
  fi
  say "making the image torus-lab/rust: Debian $debian with a compiler, Rust and the crates of Cargo.lock"
  local sources work
  mapfile -t sources < <(debian_sources)
  work=$(mktemp -d "$lab/rust.XXXXXX")
  quietly "make the image torus-lab/rust" \
    mmdebstrap --variant=minbase --include="${rust_image_packages[*]}" "$debian" "$work/rust.tar" "${sources[@]}"
  add_rust "$work/rust.tar"
  add_crates "$work/rust.tar" "$work"
  # Its age counts from now on.
  touch "$work/rust.tar"
  mv "$work/rust.tar" "$tar"
  rm -r "$work"
  printf '%s\n' "$made_of" >"$tar.made-of"
}

# add_rust TAR: this machine's compiler, without its documentation.
add_rust() {
  local sysroot host libraries
  sysroot=$(rustc --print sysroot)
  host=$(rustc -vV | sed -n 's/^host: //p')
  mapfile -t libraries < <(cd "$sysroot" && printf '%s\n' lib/*.so*)
  tar --append --file "$1" --owner=0 --group=0 --directory "$sysroot" --transform 's|^|./usr/local/|' \
    bin/cargo bin/rustc "lib/rustlib/$host/lib" "lib/rustlib/$host/bin" "${libraries[@]}"
}

# add_crates TAR DIRECTORY: the crates of Cargo.lock, put together in DIRECTORY, and where cargo finds them.
add_crates() {
  local home=$2/usr/local/cargo
  mkdir -p "$home"
  quietly "fetch the crates of Cargo.lock" cargo vendor --locked --versioned-dirs "$home/vendor"
  cat >"$home/config.toml" <<'CONFIG'
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/usr/local/cargo/vendor"
CONFIG
  tar --append --file "$1" --owner=0 --group=0 --directory "$2" ./usr/local/cargo
}
