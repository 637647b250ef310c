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
  stand_in "$here/worse" "$name" 6.6.1-1 "$here/lacking"
  list "$here/worse"
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
  printf '[Service]\nType=exec\nExecStart=/usr/bin/torus run\n[Install]\nWantedBy=multi-user.target\n' >"$here/systemd/torus.service"
  printf '[Socket]\nListenStream=127.0.0.1:5555\nService=torus.service\n[Install]\nWantedBy=sockets.target\n' >"$here/systemd/torus-requests-front.socket"
  printf 'version: repository\n' >"$here/systemd/torus.yaml"
  for version in 1.0.0 1.1.0; do
    mkdir -p "$here/torus-$version"/{usr/bin,etc/torus,lib/systemd/system}
    make_program "$here/torus-$version/usr/bin/torus" "$version"
    printf 'version: %s\n' "$version" >"$here/torus-$version/etc/torus/torus.yaml"
    cp "$here"/systemd/torus*.{service,socket} "$here/torus-$version/lib/systemd/system"
    stand_in "$here/packages" torus "$version" "$here/torus-$version"
  done
}

# make_program FILE VERSION: a program which, as a service, becomes the build that lies where it was started from when it is
# asked to; all else is a script.
make_program() {
  cc -static -x c -o "$1" - <<PROGRAM
#include <signal.h>
#include <string.h>
#include <unistd.h>
static char **given;
static void become(int signal) {
  execv(given[0], given);
}
int main(int count, char **arguments) {
  char *shell[32] = {"/bin/sh", "-c",
    "[ \"\$1\" != --runtime-dir ] || shift 2\n"
    "case \$1 in\n"
    "  --version) echo torus $2 ;;\n"
    "  upgrade)\n"
    "    ! [ -e /etc/torus/refuses ] && kill -USR1 \$(systemctl show --property MainPID --value torus.service) &&\n"
    "      mkdir -p /var/lib/torus && echo $2 >>/var/lib/torus/upgraded ;;\n"
    "  config) echo \"asked: \$*\"; ! [ -e /etc/torus/refuses ] ;;\n"
    "  check) echo \"asked: \$*\"; ! [ -e /etc/torus/wrong ] ;;\n"
    "esac", "torus"};
  if (count > 1 && !strcmp(arguments[1], "run")) {
    given = arguments;
    struct sigaction on = {.sa_handler = become, .sa_flags = SA_NODEFER};
    sigaction(SIGUSR1, &on, 0);
    for (;;) pause();
  }
  for (int i = 1; i < count && i < 27; i++) shell[3 + i] = arguments[i];
  execv(shell[0], shell);
  return 127;
}
PROGRAM
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

@test "install-kernel: where the newest kernel offered lacks options as well, that is a failure with their names, not one more reboot" {
  host kernel
  sources kernel "deb [trusted=yes] file:/stand-ins/worse ./"
  run with_kernel kernel 4.9.0-19-amd64
  [ "$status" -eq 1 ]
  says "install linux-image-"
  says "is installed, and will not do: 6.6.1-lacking lacks NAMESPACES PID_NS"
  # After the reboot, which somebody did nevertheless.
  local option
  for option in '' --dry-run; do
    # shellcheck disable=SC2086 # an option or none
    run with_kernel kernel 6.6.1-lacking $option
    [ "$status" -eq 1 ]
    says "6.6.1-lacking lacks NAMESPACES PID_NS"
  done
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

@test "install-kernel: a dry run tells what it can know: of backports that apt does not have, of lists that are not there" {
  host kernel
  sources kernel "deb [trusted=yes] file:/stand-ins/old ./"
  run with_kernel kernel 4.9.0-19-amd64 --dry-run
  [ "$status" -eq 10 ]
  says "would write /etc/apt/sources.list.d/torus-backports.list"
  says "of bookworm-backports"
  sources kernel ""
  run with_kernel kernel 4.9.0-19-amd64 --dry-run
  [ "$status" -eq 10 ]
  says "would fetch the lists of packages"
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
  # shellcheck disable=SC2016 # the shell of the container expands it
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

@test "install-kernel: a newer kernel that the last boot passed over is a failure, not one more reboot" {
  host kernel
  in_host kernel sh -c 'cp /stand-ins/trees/6.1.0-99-new/boot/* /boot; printf "#!/bin/sh\necho 1\n" >/usr/local/bin/stat; chmod 755 /usr/local/bin/stat'
  run in_host kernel env KERNEL=4.9.0 PATH=/stand-ins/bin:/usr/local/bin:/usr/bin:/bin /src/scripts/install-kernel
  [ "$status" -eq 1 ]
  says "kernel 6.1.0-99-new is installed and was passed over at the last boot, which took 4.9.0"
}

@test "install-docker: the distribution's engine is installed, enabled and started, once" {
  systemd_host engine
  local before
  unchanged engine /src/scripts/install-docker --dry-run --user daemon
  says "would install docker.io iptables"
  says "would add daemon to the group docker"

  run in_host engine /src/scripts/install-docker
  printf '%s\n' "$output"
  [ "$status" -eq 0 ]
  says "install docker.io iptables"
  [ "$(in_host engine systemctl is-enabled docker.service)" = enabled ]
  in_host engine systemctl is-active docker.service
  wait_for 20 in_host engine docker version
  run in_host engine id -nG daemon
  [[ " $output " != *" docker "* ]]

  unchanged engine /src/scripts/install-docker
  says "nothing to do"
  in_host engine /src/scripts/install-docker --user daemon
  run in_host engine id -nG daemon
  [[ " $output " == *" docker "* ]]
  unchanged engine /src/scripts/install-docker --user daemon
  says "nothing to do"

  # Docker's own cannot stand beside it.
  run in_host engine /src/scripts/install-docker --upstream
  [ "$status" -eq 1 ]
  says "hint: apt-get remove docker.io containerd runc"
}

@test "install-docker: where no systemd is, the start is left for the boot" {
  host engine
  run in_host engine /src/scripts/install-docker
  [ "$status" -eq 0 ]
  says "left for the boot: start docker.service"
  in_host engine test -x /usr/sbin/dockerd
  unchanged engine /src/scripts/install-docker
  says "nothing to do"
}

@test "install-docker: an engine that no package brought is left alone" {
  host engine
  in_host engine sh -c 'printf "#!/bin/sh\n" >/usr/local/bin/dockerd; chmod 755 /usr/local/bin/dockerd'
  unchanged engine /src/scripts/install-docker
  says "an engine is installed that no package of Docker brought: /usr/local/bin/dockerd"
  says "nothing to do"
}

# The stand-in of Docker's repository, by HTTP from within the container.
mirror=http://127.0.0.1:8000

# upstream NAME ARG...: scripts/install-docker --upstream with that.
upstream() {
  in_host "$1" /src/scripts/install-docker --upstream --mirror "$mirror" "${@:2}"
}

# serve NAME: has the container serve the repository to itself.
serve() {
  docker exec --detach "$(own "$1")" python3 -m http.server --bind 127.0.0.1 --directory /stand-ins/upstream 8000
  wait_for 10 in_host "$1" python3 -c "import urllib.request; urllib.request.urlopen('$mirror/debian/gpg')"
}

@test "install-docker --upstream: Docker's packages, by a source of its own and the key with the right fingerprint" {
  systemd_host engine
  serve engine
  local key
  key=$(cat "$BATS_FILE_TMPDIR/fingerprint")
  unchanged engine /src/scripts/install-docker --upstream --mirror "$mirror" --key "$key" --dry-run
  says "would install docker-ce docker-ce-cli containerd.io"

  run upstream engine --key "$key"
  printf '%s\n' "$output"
  [ "$status" -eq 0 ]
  in_host engine dpkg-query --show docker-ce
  in_host engine systemctl is-active docker.service
  run in_host engine cat /etc/apt/sources.list.d/docker.sources
  says "URIs: $mirror/debian"
  says "Suites: bookworm"
  says "Signed-By: /etc/apt/keyrings/docker.asc"
  unchanged engine /src/scripts/install-docker --upstream --mirror "$mirror" --key "$key"
  says "nothing to do"
  unchanged engine /src/scripts/install-docker
  says "nothing to do"
}

@test "install-docker --upstream: a source that somebody else wrote is left as it is" {
  host engine
  in_host engine sh -c 'echo "deb [trusted=yes] file:/stand-ins/upstream/debian bookworm stable" >/etc/apt/sources.list.d/mine.list'
  run in_host engine /src/scripts/install-docker --upstream --mirror file:/stand-ins/upstream
  [ "$status" -eq 0 ]
  says "Docker's repository is configured already, and is left as it is"
  in_host engine dpkg-query --show docker-ce
  in_host engine sh -c '! ls /etc/apt/sources.list.d/docker.sources /etc/apt/keyrings/docker.asc 2>/dev/null'
}

@test "install-docker --upstream: a source that is a comment or switched off is none" {
  systemd_host engine
  serve engine
  # shellcheck disable=SC2016 # the shell of the container expands it
  in_host engine sh -c 'echo "# deb $1/debian bookworm stable" >/etc/apt/sources.list.d/mine.list
    printf "Enabled: no\nTypes: deb\nURIs: %s/debian\nSuites: bookworm\nComponents: stable\n" "$1" >/etc/apt/sources.list.d/mine.sources' \
    sh "$mirror"
  run upstream engine --key "$(cat "$BATS_FILE_TMPDIR/fingerprint")"
  printf '%s\n' "$output"
  [ "$status" -eq 0 ]
  says "write /etc/apt/sources.list.d/docker.sources"
  in_host engine dpkg-query --show docker-ce
}

@test "install-docker --upstream: a key that is not Docker's is refused by both fingerprints, and no source is written" {
  systemd_host engine
  serve engine
  run upstream engine
  printf '%s\n' "$output"
  [ "$status" -eq 1 ]
  says "has not the key 9DC858229FC7DD38854AE2D88D81803C0EBFCD88, but: $(cat "$BATS_FILE_TMPDIR/fingerprint")"
  in_host engine sh -c '! ls /etc/apt/sources.list.d/* /etc/apt/keyrings/docker.asc 2>/dev/null'
  run in_host engine dpkg-query --show docker-ce
  [ "$status" -ne 0 ]
}

@test "install-docker: options that contradict and users that are not are refused" {
  host engine
  run in_host engine /src/scripts/install-docker --mirror file:/x
  [ "$status" -eq 1 ]
  says "belong to --upstream"
  run in_host engine /src/scripts/install-docker --upstream --key 1234
  [ "$status" -eq 1 ]
  says "a fingerprint has 40 hexadecimal digits"
  run in_host engine /src/scripts/install-docker --user nobody-here
  [ "$status" -eq 1 ]
  says 'there is no user "nobody-here"'
}

@test "prepare-host: user, directories and nothing else where the system gives enough, once; and away again" {
  host bare torus-lab/debian --ulimit nofile=20000:20000
  local before
  before=$(state bare)
  unchanged bare /src/scripts/prepare-host --dry-run
  says "changes it would make: 3"

  run in_host bare /src/scripts/prepare-host
  [ "$status" -eq 0 ]
  says "done; changes made: 3"
  run in_host bare stat --format='%A %U %G %n' /etc/torus /var/lib/torus
  [ "$output" = "drwxr-xr-x root root /etc/torus
drwxr-x--- torus torus /var/lib/torus" ]
  run in_host bare getent passwd torus
  [[ "$output" == torus:*:"Torus event bus":/var/lib/torus:/usr/sbin/nologin ]]
  run in_host bare find /etc -name 60-torus.conf
  [ -z "$output" ]
  unchanged bare /src/scripts/prepare-host
  says "nothing to do"

  unchanged bare /src/scripts/prepare-host --remove --dry-run
  in_host bare /src/scripts/prepare-host --remove
  run in_host bare sh -c 'getent passwd torus; getent group torus; ls -d /etc/torus /var/lib/torus 2>/dev/null'
  [ -z "$output" ]
  unchanged bare /src/scripts/prepare-host --remove
  says "nothing to do"
}

@test "prepare-host: what the system gives too little of is raised by files of our own, and nothing is lowered" {
  host meagre torus-lab/debian --ulimit nofile=1024:4096 --sysctl net.core.somaxconn=128
  run in_host meagre /src/scripts/prepare-host --connections 20000
  [ "$status" -eq 0 ]
  says "left for the boot: net.core.somaxconn is 128"
  run in_host meagre tail -n1 /etc/sysctl.d/60-torus.conf
  [ "$output" = "net.core.somaxconn = 4096" ]
  run in_host meagre tail -n1 /etc/security/limits.d/60-torus.conf
  [ "$output" = "torus - nofile 21024" ]
  unchanged meagre /src/scripts/prepare-host --connections 20000
  says "nothing to do"

  in_host meagre /src/scripts/prepare-host --remove
  run in_host meagre find /etc -name 60-torus.conf
  [ -z "$output" ]
}

@test "prepare-host: where /proc/sys can be written the setting holds at once" {
  systemd_host meagre
  in_host meagre sh -c 'mount -o remount,rw /proc/sys && echo 128 >/proc/sys/net/core/somaxconn'
  run in_host meagre /src/scripts/prepare-host
  [ "$status" -eq 0 ]
  says "set net.core.somaxconn to 4096 (it is 128)"
  [ "$(in_host meagre cat /proc/sys/net/core/somaxconn)" = 4096 ]
  unchanged meagre /src/scripts/prepare-host
  says "nothing to do"
}

@test "prepare-host: rights that were changed are mended, and what holds data stays at --remove, with its user" {
  host bare
  in_host bare /src/scripts/prepare-host
  in_host bare sh -c 'chown root:root /var/lib/torus; chmod 777 /var/lib/torus; touch /var/lib/torus/segment'
  run in_host bare /src/scripts/prepare-host
  says "make /var/lib/torus of mode 750, owned by torus"
  run in_host bare /src/scripts/prepare-host --remove
  [ "$status" -eq 0 ]
  says "/var/lib/torus is not empty and stays"
  in_host bare test -e /var/lib/torus/segment
  in_host bare id torus
}

@test "install-torus: a package is installed, enabled, started and checked; the same one is not installed again" {
  systemd_host target
  unchanged target /src/scripts/install-torus /stand-ins/packages/torus_1.0.0_all.deb --dry-run
  says "would install /stand-ins/packages/torus_1.0.0_all.deb"

  run in_host target /src/scripts/install-torus /stand-ins/packages/torus_1.0.0_all.deb
  printf '%s\n' "$output"
  [ "$status" -eq 0 ]
  says "asked: check --for host"
  in_host target systemctl is-active torus.service torus-requests-front.socket
  in_host target systemctl is-enabled torus.service torus-requests-front.socket
  unchanged target /src/scripts/install-torus /stand-ins/packages/torus_1.0.0_all.deb
  says "nothing to do"

  # Another build of the same version is another one.
  in_host target sh -c 'cp -a /stand-ins/torus-1.0.0 /srv/other && printf "\n# another\n" >>/srv/other/usr/bin/torus'
  in_host target sh -c 'mkdir /srv/other/DEBIAN && dpkg-deb --field /stand-ins/packages/torus_1.0.0_all.deb >/srv/other/DEBIAN/control'
  in_host target dpkg-deb --root-owner-group --build /srv/other /srv/other.deb
  run in_host target /src/scripts/install-torus /srv/other.deb
  says "install /srv/other.deb"
  says "have the running torus become the new build"
  [ "$(in_host target tail -n1 /usr/bin/torus)" = "# another" ]
  wait_for 10 runs target /usr/bin/torus

  # A new version keeps the configuration that was changed, without a question; an older one is refused.
  in_host target sh -c 'echo mine >/etc/torus/torus.yaml'
  in_host target /src/scripts/install-torus /stand-ins/packages/torus_1.1.0_all.deb
  [ "$(in_host target tail -n1 /var/lib/torus/upgraded)" = 1.1.0 ]
  [ "$(in_host target torus --version)" = "torus 1.1.0" ]
  [ "$(in_host target cat /etc/torus/torus.yaml)" = mine ]
  run in_host target /src/scripts/install-torus /stand-ins/packages/torus_1.0.0_all.deb
  [ "$status" -eq 1 ]
  says "has version 1.0.0, and 1.1.0 is installed"
  run in_host target /src/scripts/install-torus --binary /stand-ins/torus-1.0.0/usr/bin/torus
  [ "$status" -eq 1 ]
  says "the package torus is installed, and this would hide it"
}

# runs NAME FILE: whether the service runs just that file.
runs() {
  # shellcheck disable=SC2016 # the shell of the container expands it
  in_host "$1" sh -c '[ "/proc/$(systemctl show --property MainPID --value torus.service)/exe" -ef "$1" ]' sh "$2"
}

@test "install-torus --binary: binary, units and host; a new build is taken over without a stop; and away again" {
  systemd_host target
  unchanged target /src/scripts/install-torus --binary /stand-ins/torus-1.0.0/usr/bin/torus --dry-run
  says "would write /usr/local/bin/torus, torus 1.0.0"
  says "would add the system user torus"

  run in_host target /src/scripts/install-torus --binary /stand-ins/torus-1.0.0/usr/bin/torus
  printf '%s\n' "$output"
  [ "$status" -eq 0 ]
  says "asked: check --for host"
  in_host target systemctl is-active torus.service torus-requests-front.socket
  in_host target systemctl is-enabled torus.service torus-requests-front.socket
  in_host target grep -x 'ExecStart=/usr/local/bin/torus run' /etc/systemd/system/torus.service
  in_host target id torus
  [ "$(in_host target cat /etc/torus/torus.yaml)" = "version: repository" ]
  in_host target sh -c 'echo mine >/etc/torus/torus.yaml'
  unchanged target /src/scripts/install-torus --binary /stand-ins/torus-1.0.0/usr/bin/torus
  says "scripts/install-torus: nothing to do"

  local before
  before=$(in_host target systemctl show --property MainPID torus.service)
  in_host target /src/scripts/install-torus --binary /stand-ins/torus-1.1.0/usr/bin/torus
  [ "$(in_host target cat /var/lib/torus/upgraded)" = 1.1.0 ]
  [ "$(in_host target cat /etc/torus/torus.yaml)" = mine ]
  [ "$(in_host target systemctl show --property MainPID torus.service)" = "$before" ]
  wait_for 10 runs target /usr/local/bin/torus

  # A new build that refuses everything leaves the old one at work, and is taken over once that is mended.
  in_host target touch /etc/torus/refuses
  run in_host target /src/scripts/install-torus --binary /stand-ins/torus-1.0.0/usr/bin/torus
  printf '%s\n' "$output"
  [ "$status" -eq 1 ]
  says "asked: config check /etc/torus/torus.yaml"
  says "the old build still runs"
  [ "$(in_host target systemctl show --property MainPID torus.service)" = "$before" ]
  ! runs target /usr/local/bin/torus || false
  in_host target rm /etc/torus/refuses
  run in_host target /src/scripts/install-torus --binary /stand-ins/torus-1.0.0/usr/bin/torus
  [ "$status" -eq 0 ]
  says "have the running torus become the new build"
  says "changes made: 1"
  [ "$(in_host target systemctl show --property MainPID torus.service)" = "$before" ]
  wait_for 10 runs target /usr/local/bin/torus

  in_host target /src/scripts/install-torus --remove
  run in_host target sh -c 'ls /usr/local/bin/torus /etc/systemd/system/torus* 2>/dev/null; systemctl is-active torus.service torus-requests-front.socket; find /etc/systemd -name "torus*"'
  [ "$output" = "inactive
inactive" ]
  unchanged target /src/scripts/install-torus --remove
  says "nothing to do"
}

@test "install-torus: where the service does not start, torus check tells why it may be, and the script fails" {
  systemd_host target
  in_host target sh -c 'mkdir -p /etc/systemd/system/torus.service.d &&
    printf "[Service]\nExecStartPre=/bin/false\n" >/etc/systemd/system/torus.service.d/fails.conf'
  run in_host target /src/scripts/install-torus /stand-ins/packages/torus_1.0.0_all.deb --for vm
  printf '%s\n' "$output"
  [ "$status" -eq 1 ]
  says "asked: check --for vm"
  says "cannot start torus.service (its output is above)"
}

@test "install-torus: a failure that torus check finds is the script's, and Torus stays installed" {
  host target
  in_host target sh -c 'mkdir /etc/torus && touch /etc/torus/wrong'
  run in_host target /src/scripts/install-torus /stand-ins/packages/torus_1.0.0_all.deb --for build
  [ "$status" -eq 1 ]
  says "asked: check --for build"
  says "Torus is installed, and \`torus check\` finds that something is wrong"
  says "left for the boot: start torus.service"
  in_host target torus --version
}

@test "install-torus: what is not a package or not a Torus is refused before anything is changed" {
  host target
  local before
  before=$(state target)
  run in_host target /src/scripts/install-torus /stand-ins/torus-1.0.0/usr/bin/torus
  [ "$status" -eq 1 ]
  says "is not a Debian package"
  run in_host target sh -c '/src/scripts/install-torus /stand-ins/ubuntu/linux-generic_*.deb'
  [ "$status" -eq 1 ]
  says "is the package linux-generic, not torus"
  run in_host target /src/scripts/install-torus --binary /bin/true
  [ "$status" -eq 1 ]
  says "is not a Torus that runs here"
  run in_host target /src/scripts/install-torus
  [ "$status" -eq 1 ]
  says "either FILE.deb, or --binary FILE, or --remove"
  diff <(printf '%s\n' "$before") <(state target)
}
