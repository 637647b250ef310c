# shellcheck shell=bash
# The lab: containers for real, with nothing left behind. Docker's engine runs in namespaces of its own (network, mounts,
# processes), so that its bridges, its firewall's rules, its mounts and its processes end with it, however it ends. What
# remains is a cache in target/lab: the base images, made where there is a network, and the engine's data. Needs root,
# say.sh, packages.sh and debian.sh before it, in the root of the repository.

: "${debian:?}" "${script_name:?}"
lab=$PWD/target/lab
# Older base images are made anew, for Debian's updates.
lab_image_days_max=30

# tools_for_lab: notes what the lab needs and is missing.
tools_for_lab() {
  need docker.io "runs the container image" test -x /usr/sbin/dockerd
  need iptables "publishes the ports of containers" command -v iptables
  need iproute2 "brings up the lab's loopback" command -v ip
  need mmdebstrap "makes the base images" command -v mmdebstrap
  need dpkg-dev "lists the packages that containers of the lab install" command -v dpkg-scanpackages
  need gpg "signs a repository of stand-ins" command -v gpg
  need util-linux "gives the lab its namespaces" command -v unshare
}

# lab_base_images: makes those that the tests start from.
lab_base_images() {
  lab_image debian ca-certificates
  lab_image systemd ca-certificates systemd systemd-sysv dbus procps iproute2 python3-zmq
}

# lab_image NAME PACKAGE...: makes the image torus-lab/NAME, a minimal Debian with apt and these packages, unless it is
# there.
lab_image() {
  local name=$1 tar=$lab/images/$1.tar
  shift
  mkdir -p "$lab/images"
  if [[ $(cat "$tar.packages" 2>/dev/null) == "$*" && -n $(find "$tar" -mtime "-$lab_image_days_max" 2>/dev/null) ]]; then
    return
  fi
  say "making the image torus-lab/$name: Debian $debian with $*"
  local sources
  mapfile -t sources < <(debian_sources)
  quietly "make the image torus-lab/$name" \
    mmdebstrap --variant=minbase --include="$*" "$debian" "$tar.new.tar" "${sources[@]}"
  # Its age counts from now on.
  touch "$tar.new.tar"
  mv "$tar.new.tar" "$tar"
  printf '%s\n' "$*" >"$tar.packages"
}

# lab_packages PACKAGE...: makes target/lab/apt, a repository of these packages and all that they need beside a minimal
# Debian, for containers that install something where there is no network.
lab_packages() {
  local packages=$lab/apt sources
  if [[ $(cat "$packages/wanted" 2>/dev/null) == "$*" && -n $(find "$packages/wanted" -mtime "-$lab_image_days_max" 2>/dev/null) ]]; then
    return
  fi
  say "fetching packages for the lab: $*"
  rm -rf "$packages"
  mkdir -p "$packages"
  mapfile -t sources < <(debian_sources)
  # shellcheck disable=SC2016 # mmdebstrap's shell expands these
  quietly "fetch packages for the lab" \
    env LAB_PACKAGES="$*" LAB_TARGET="$packages" mmdebstrap --variant=minbase --format=null \
    --customize-hook='APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --no-install-recommends --download-only install $LAB_PACKAGES' \
    --customize-hook='cp "$1"/var/cache/apt/archives/*.deb "$LAB_TARGET"' "$debian" - "${sources[@]}"
  (cd "$packages" && dpkg-scanpackages --multiversion . >Packages) 2>/dev/null
  printf '%s\n' "$*" >"$packages/wanted"
}

# in_lab COMMAND...: runs COMMAND in the lab, where there is no network but the loopback, and exits as it does; fails if
# anything of the lab is left behind. Labs of one tree come one after the other.
in_lab() {
  ((EUID == 0)) || fail "the lab needs namespaces of its own, and those need root" "sudo $script_name"
  mkdir -p "$lab"
  local group=torus-lab-$BASHPID code=0 outside left try
  outside=$(readlink /proc/self/ns/{mnt,net,pid} | paste --serial)
  (
    flock 9
    # What the kernel ends with its first process.
    exec env LAB_OUTSIDE="$outside" unshare --net --mount --pid --fork --kill-child --mount-proc -- \
      bash scripts/lib/lab-inside.sh "$lab" "$group" "$@" 9<&-
  ) 9>"$lab/lock" || code=$?
  # Groups outlive their processes. One that is still being emptied is tried again.
  for try in 1 2 3 4 5; do
    # Parents come after their children.
    find /sys/fs/cgroup -depth -type d -path "*/$group*" -exec rmdir {} + 2>/dev/null || true
    left=$(lab_left "$group")
    [[ -n $left ]] || return "$code"
    sleep "0.$try"
  done
  fail "the lab left something behind:"$'\n'"$left"
}

# lab_left GROUP: what there still is of a lab. Its network is not looked for: it ended with its namespace.
lab_left() {
  local process
  find /sys/fs/cgroup -type d -path "*/$1*"
  grep --fixed-strings " $lab/" /proc/self/mounts || true
  for process in /proc/[0-9]*; do
    grep --quiet --null-data --fixed-strings --line-regexp "/$1" "$process/cmdline" 2>/dev/null &&
      printf 'process %s: %s\n' "${process#/proc/}" "$(tr '\0' ' ' <"$process/cmdline")"
  done
  true
}
