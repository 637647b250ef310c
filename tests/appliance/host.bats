#!/usr/bin/env bats
# The scripts that prepare a host. Each is run twice: what was done once is not done again.

load lab
load host

setup_file() {
  local here=$BATS_FILE_TMPDIR architecture
  architecture=$(dpkg --print-architecture)
  # shellcheck source=scripts/lib/kernel.sh
  source "$BATS_TEST_DIRNAME/../../scripts/lib/kernel.sh"
  make_kernels "$here" "linux-image-$architecture"
  make_upstream "$here" "$architecture"
  make_torus "$here"
  make_stubs "$here"
}

# Kernels that apt offers: the distribution's own, an old one, one of the backports, Ubuntu's.
make_kernels() {
  local here=$1 name=$2 version
  for version in 4.19.0-27-old 6.1.0-99-new 6.12.9-backported 5.15.0-94-hwe; do
    kernel_tree "$here/trees/$version" "$version" "${kernel_options[@]}"
  done
  kernel_tree "$here/lacking" 6.6.1-lacking NET_NS CGROUPS
  stand_in "$here/new" "$name" 6.1.99-1 "$here/trees/6.1.0-99-new"
  stand_in "$here/old" "$name" 4.19+105+deb10u20 "$here/trees/4.19.0-27-old"
  stand_in "$here/backports" "$name" 6.12.9-1~bpo12+1 "$here/trees/6.12.9-backported"
  stand_in "$here/ubuntu" linux-generic-hwe-20.04 5.15.0.94.104~20.04.1 "$here/trees/5.15.0-94-hwe"
  stand_in "$here/ubuntu" linux-generic 5.4.0.170.168
  list "$here/new"
  list "$here/old"
  list "$here/ubuntu"
  list "$here/backports"
  {
    printf 'Suite: bookworm-backports\nCodename: bookworm-backports\nNotAutomatic: yes\nSHA256:\n'
    printf ' %s %s Packages\n' "$(sha256sum <"$here/backports/Packages" | cut -d' ' -f1)" "$(stat --format=%s "$here/backports/Packages")"
  } >"$here/backports/Release"
}

# Docker's repository, as it is laid out at its makers', signed with a key of our own.
make_upstream() {
  local base=$1/upstream/debian architecture=$2 package pool
  pool=$base/dists/bookworm/pool
  for package in docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin iptables; do
    stand_in "$pool" "$package" 5:28.0.1-1
  done
  mkdir -p "$1/engine/usr/bin" "$1/engine/lib/systemd/system"
  printf '#!/bin/sh\n' >"$1/engine/usr/bin/dockerd"
  chmod 755 "$1/engine/usr/bin/dockerd"
  printf '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' >"$1/engine/lib/systemd/system/docker.service"
  stand_in "$pool" docker-ce 5:28.0.1-1 "$1/engine"
  mkdir -p "$base/dists/bookworm/stable/binary-$architecture"
  (cd "$base" && dpkg-scanpackages dists/bookworm/pool 2>/dev/null >"dists/bookworm/stable/binary-$architecture/Packages")
  local packages=$base/dists/bookworm/stable/binary-$architecture/Packages
  {
    printf 'Origin: Docker\nSuite: bookworm\nCodename: bookworm\nComponents: stable\nArchitectures: %s\n' "$architecture"
    printf 'Date: %s\nSHA256:\n %s %s stable/binary-%s/Packages\n' "$(LC_ALL=C date -u -R)" \
      "$(sha256sum <"$packages" | cut -d' ' -f1)" "$(stat --format=%s "$packages")" "$architecture"
  } >"$base/dists/bookworm/Release"
  local keys=$1/keys
  mkdir -m 700 "$keys"
  gpg --homedir "$keys" --batch --quiet --pinentry-mode loopback --passphrase '' \
    --quick-generate-key 'A stand-in for Docker <nobody@localhost>' rsa2048 sign never 2>/dev/null
  gpg --homedir "$keys" --batch --armor --export >"$base/gpg"
  gpg --homedir "$keys" --batch --quiet --clearsign --output "$base/dists/bookworm/InRelease" "$base/dists/bookworm/Release"
  gpg --homedir "$keys" --batch --with-colons --list-keys 2>/dev/null | awk -F: '$1 == "fpr" { print $10; exit }' >"$1/fingerprint"
  gpgconf --homedir "$keys" --kill gpg-agent
}

# Packages and binaries that say what they are asked, and units for them.
make_torus() {
  local here=$1 version
  mkdir -p "$here/systemd"
  printf '[Service]\nExecStart=/usr/bin/torus run\n[Install]\nWantedBy=multi-user.target\n' >"$here/systemd/torus.service"
  printf '[Socket]\nListenStream=127.0.0.1:5555\n[Install]\nWantedBy=sockets.target\n' >"$here/systemd/torus.socket"
  for version in 1.0.0 1.1.0; do
    mkdir -p "$here/torus-$version"/{usr/bin,etc/torus,lib/systemd/system}
    cat >"$here/torus-$version/usr/bin/torus" <<STAND_IN
#!/bin/sh
case \$1 in
  --version) echo torus $version ;;
  run) exec sleep infinity ;;
  upgrade) echo $version >>/var/lib/torus/upgraded ;;
  check)
    echo "asked: \$*"
    ! [ -e /etc/torus/wrong ]
    ;;
esac
STAND_IN
    chmod 755 "$here/torus-$version/usr/bin/torus"
    printf 'version: %s\n' "$version" >"$here/torus-$version/etc/torus/torus.yaml"
    cp "$here"/systemd/* "$here/torus-$version/lib/systemd/system"
    stand_in "$here/packages" torus "$version" "$here/torus-$version"
  done
}

# A uname that tells another kernel, and a machine that is no container.
make_stubs() {
  mkdir -p "$1/bin"
  # shellcheck disable=SC2016 # the stub expands it
  printf '#!/bin/sh\n[ "$1" = -r ] && echo "$KERNEL"\n' >"$1/bin/uname"
  printf '#!/bin/sh\nexit 1\n' >"$1/bin/systemd-detect-virt"
  chmod -R a+rX "$1"
  chmod 755 "$1/bin"/*
}

teardown() {
  remove_own
}

# with_kernel NAME VERSION ARG...: scripts/install-kernel on a machine that runs that kernel.
with_kernel() {
  in_host "$1" env KERNEL="$2" PATH=/stand-ins/bin:/usr/sbin:/usr/bin:/sbin:/bin /src/scripts/install-kernel "${@:3}"
}

@test "every script has a help and refuses what it does not know, before it looks at anything" {
  host any
  local script
  for script in install-kernel install-docker prepare-host install-torus; do
    run in_host any /src/scripts/$script --help
    [ "$status" -eq 0 ]
    says "Usage: scripts/$script"
    says "Examples:"
    run in_host any /src/scripts/$script --no-such-option
    [ "$status" -eq 1 ]
    says 'there is no option "--no-such-option"'
  done
}

@test "another distribution is refused by name, and nothing is changed" {
  host any
  in_host any sh -c 'rm -f /etc/os-release; printf "ID=alpine\nPRETTY_NAME=\"Alpine 3\"\n" >/etc/os-release'
  local script before
  before=$(state any)
  for script in "install-kernel" "install-docker" "prepare-host" "install-torus --remove"; do
    # shellcheck disable=SC2086 # a script and its option
    run in_host any /src/scripts/$script
    [ "$status" -eq 1 ]
    says "knows Debian and Ubuntu, and this is Alpine 3"
  done
  diff <(printf '%s\n' "$before") <(state any)
}

@test "who is not root is told to use sudo; a dry run needs no rights" {
  host any
  run docker exec --user 12345 "$(own any)" /src/scripts/prepare-host
  [ "$status" -eq 1 ]
  says "hint: sudo scripts/prepare-host"
  run docker exec --user 12345 "$(own any)" /src/scripts/prepare-host --dry-run
  [ "$status" -eq 0 ]
  says "would add the system user torus"
}

@test "install-kernel: a kernel that will do is left alone" {
  host kernel
  in_host kernel sh -c 'cp /stand-ins/trees/6.1.0-99-new/boot/* /boot'
  unchanged kernel env KERNEL=6.1.0-99-new PATH=/stand-ins/bin:/usr/bin:/bin /src/scripts/install-kernel
  says "nothing to do"
}

@test "install-kernel: an old kernel gets the distribution's, by 10, and not again before the reboot" {
  host kernel
  sources kernel "deb [trusted=yes] file:/stand-ins/new ./"
  local before
  before=$(state kernel)
  run with_kernel kernel 4.9.0-19-amd64 --dry-run
  [ "$status" -eq 10 ]
  says "would install linux-image-"
  diff <(printf '%s\n' "$before") <(state kernel)

  run with_kernel kernel 4.9.0-19-amd64
  [ "$status" -eq 10 ]
  says "a reboot is needed"
  in_host kernel test -e /boot/vmlinuz-6.1.0-99-new

  before=$(state kernel)
  run with_kernel kernel 4.9.0-19-amd64
  [ "$status" -eq 10 ]
  says "kernel 6.1.0-99-new is installed already"
  says "nothing to do"
  diff <(printf '%s\n' "$before") <(state kernel)

  # After the reboot.
  run with_kernel kernel 6.1.0-99-new
  [ "$status" -eq 0 ]
  says "nothing to do"
}

@test "install-kernel: a new kernel without what Docker needs is named with what it lacks" {
  host kernel
  sources kernel "deb [trusted=yes] file:/stand-ins/new ./"
  in_host kernel sh -c 'cp /stand-ins/lacking/boot/* /boot'
  run with_kernel kernel 6.6.1-lacking
  [ "$status" -eq 10 ]
  says "it lacks NAMESPACES PID_NS"
  says "OVERLAY_FS"
  in_host kernel test -e /boot/vmlinuz-6.1.0-99-new
}

@test "install-kernel: Debian's backports are taken where the release's own is too old" {
  host kernel
  sources kernel "deb [trusted=yes] file:/stand-ins/old ./
deb [trusted=yes] file:/stand-ins/backports ./"
  run with_kernel kernel 4.9.0-19-amd64
  [ "$status" -eq 10 ]
  says "6.12.9-1~bpo12+1 of bookworm-backports"
  in_host kernel test -e /boot/vmlinuz-6.12.9-backported
}

@test "install-kernel: Ubuntu's hardware enablement kernel" {
  host kernel
  in_host kernel sh -c 'rm -f /etc/os-release; printf "ID=ubuntu\nVERSION_ID=\"20.04\"\nVERSION_CODENAME=focal\n" >/etc/os-release'
  sources kernel "deb [trusted=yes] file:/stand-ins/ubuntu ./"
  run with_kernel kernel 5.4.0-170-generic
  [ "$status" -eq 10 ]
  says "install linux-generic-hwe-20.04 5.15.0.94.104~20.04.1"
}

@test "install-kernel: where no newer kernel is offered, that is said with the names" {
  host kernel
  in_host kernel sh -c 'rm -f /etc/os-release; printf "ID=ubuntu\nVERSION_ID=\"18.04\"\nVERSION_CODENAME=bionic\n" >/etc/os-release'
  sources kernel "deb [trusted=yes] file:/stand-ins/ubuntu ./"
  run with_kernel kernel 4.15.0-1-generic
  [ "$status" -eq 1 ]
  says "ubuntu 18.04 offers no kernel 5.10 or newer: linux-generic-hwe-18.04 linux-generic"
}

@test "install-kernel: a container is told that the kernel is its host's" {
  host kernel
  run in_host kernel sh -c 'mkdir /tmp/bin && cp /stand-ins/bin/uname /tmp/bin && KERNEL=4.9.0 PATH=/tmp/bin:$PATH /src/scripts/install-kernel'
  [ "$status" -eq 1 ]
  says "this is a container, whose kernel is the host's"
}

@test "install-kernel --for-image: the image gets a kernel, whatever runs here, and no reboot is asked for" {
  host kernel
  sources kernel "deb [trusted=yes] file:/stand-ins/new ./"
  run in_host kernel /src/scripts/install-kernel --for-image
  [ "$status" -eq 0 ]
  in_host kernel test -e /boot/vmlinuz-6.1.0-99-new
  unchanged kernel /src/scripts/install-kernel --for-image
  says "the image has kernel 6.1.0-99-new"
}
