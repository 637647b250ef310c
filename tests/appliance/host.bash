# shellcheck shell=bash
# What the tests of scripts/install-* and scripts/prepare-host share: containers with packages to install, stand-ins for
# packages that none of them should carry (kernels, Docker's own engine, Torus), and the state of a system in one text.
# After `load lab`.
# shellcheck disable=SC2154 # bats and lab.bash assign them
# shellcheck disable=SC2016 # the shell of the container expands these
true

# host NAME [IMAGE [OPTION...]]: starts a container without systemd in which the scripts lie in /src/scripts, and the
# test's own files in /stand-ins; `in_host NAME` runs something in it.
host() {
  local name image=${2:-torus-lab/debian}
  name=$(own "$1")
  docker run --detach --name "$name" --network none --volume "$root/scripts:/src/scripts:ro" \
    --volume "$BATS_FILE_TMPDIR:/stand-ins:ro" --volume "$root/target/lab/apt:/packages:ro" \
    "${@:3}" "$image" sleep infinity >/dev/null
  offline "$1"
}

# systemd_host NAME: the same, with systemd as its first process.
systemd_host() {
  local name
  name=$(own "$1")
  docker run --detach --name "$name" --network none --volume "$root/scripts:/src/scripts:ro" \
    --volume "$BATS_FILE_TMPDIR:/stand-ins:ro" --volume "$root/target/lab/apt:/packages:ro" \
    --volume "$BATS_FILE_TMPDIR/systemd:/src/systemd:ro" \
    --sysctl net.ipv4.ip_forward=1 --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined --cgroupns=host \
    --volume /sys/fs/cgroup:/sys/fs/cgroup:rw --volume /var/lib/docker --stop-signal SIGRTMIN+3 --env container=docker \
    --tmpfs /run --tmpfs /run/lock --tmpfs /tmp torus-lab/systemd /lib/systemd/systemd >/dev/null
  wait_for 30 in_host "$1" timeout 10 sh -c 'systemctl is-system-running | grep -Eqx "running|degraded"'
  offline "$1"
}

in_host() {
  docker exec --interactive "$(own "$1")" "${@:2}"
}

# offline NAME: its apt has the packages that were fetched before, and nothing else.
offline() {
  in_host "$1" sh -c 'rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* &&
    echo "deb [trusted=yes] file:/packages ./" >/etc/apt/sources.list && apt-get --quiet update' >/dev/null
}

# sources NAME LINE: its apt has that one repository.
sources() {
  in_host "$1" sh -c 'printf "%s\n" "$1" >/etc/apt/sources.list && apt-get --quiet update' sh "$2" >/dev/null
}

# state NAME: every file with its mode, owner, time and target, every package, every account. Not what apt and udev keep as
# caches, and the kernel's own.
state() {
  in_host "$1" sh -c '
    find / \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /src -o -path /stand-ins \
      -o -path /packages -o -path "/var/cache/apt" -o -path /var/log/journal -o -path /var/lib/docker \
      -o -path /var/lib/containerd -o -path /var/lib/systemd \) -prune \
      -o -printf "%p %m %u %g %T@ %l\n" | LC_ALL=C sort
    find /tmp -mindepth 1 -name "torus-*"
    dpkg-query --show --showformat="\${Package} \${Version} \${db:Status-Status}\n"
    cat /etc/passwd /etc/group'
}

# unchanged NAME COMMAND...: runs COMMAND there, which must succeed, and fails if the state is another one afterwards.
unchanged() {
  local before after
  before=$(state "$1")
  run in_host "$@"
  after=$(state "$1")
  printf '%s\n' "$output"
  [ "$status" -eq 0 ]
  diff <(printf '%s\n' "$before") <(printf '%s\n' "$after")
}

# says TEXT: whether the last `run` said it.
says() {
  if [[ $output != *"$1"* ]]; then
    printf 'it does not say: %s\nit says:\n%s\n' "$1" "$output"
    return 1
  fi
}

# stand_in DIRECTORY NAME VERSION [TREE]: a package of that name, with the files below TREE.
stand_in() {
  local directory=$1 name=$2 version=$3 tree=${4:-} work
  work=$(mktemp -d "$BATS_FILE_TMPDIR/stand-in.XXXXXX")
  chmod 755 "$work"
  [[ -z $tree ]] || cp -a "$tree/." "$work"
  mkdir -p "$work/DEBIAN" "$directory"
  {
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n' "$name" "$version"
    printf 'Description: a stand-in\n'
  } >"$work/DEBIAN/control"
  [[ ! -d $work/etc ]] || (cd "$work" && find etc -type f -path '*.yaml' -printf '/%p\n') >"$work/DEBIAN/conffiles"
  dpkg-deb --root-owner-group --build "$work" "$directory" >/dev/null
  rm -rf "$work"
}

# kernel_tree DIRECTORY VERSION OPTION...: the files of a kernel that was built with these options.
kernel_tree() {
  mkdir -p "$1/boot"
  printf 'no kernel\n' >"$1/boot/vmlinuz-$2"
  printf 'CONFIG_%s=y\n' "${@:3}" >"$1/boot/config-$2"
}

# list DIRECTORY: makes it a repository.
list() {
  (cd "$1" && dpkg-scanpackages --multiversion . 2>/dev/null >Packages)
}
