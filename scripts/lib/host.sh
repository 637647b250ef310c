# shellcheck shell=bash
# What scripts that prepare a host share: each change is looked at before it is made, told, and counted; a dry run tells
# alone. Needs say.sh and packages.sh.

# Words of other programs are read here.
export LC_ALL=C

: "${script_name:?}"

dry_run=false
changes=0
# What only a boot, or whoever starts services here, can bring to its end.
left_for_boot=()

# change WHAT COMMAND...: runs COMMAND, without its output unless it fails. In a dry run it is told alone.
change() {
  local what=$1
  shift
  changes=$((changes + 1))
  if $dry_run; then
    say "would $what"
    return
  fi
  say "$what"
  quietly "$what" "$@"
}

# left WHAT: notes what was left for the boot.
left() {
  left_for_boot+=("$1")
}

# finish: the last words.
finish() {
  local what
  for what in "${left_for_boot[@]}"; do
    say "left for the boot: $what"
  done
  if ((changes == 0)); then
    say "$script_name: nothing to do"
  elif $dry_run; then
    say "$script_name: a dry run: nothing was changed; changes it would make: $changes"
  else
    say "$script_name: done; changes made: $changes"
  fi
}

# want_root ARG...: fails unless this may change the system. A dry run needs nothing.
want_root() {
  $dry_run || ((EUID == 0)) || fail "this changes the system and needs root" "sudo $script_name $*"
}

# want_distribution: leaves `distribution`, `release` and `codename`, or fails on one that these scripts do not know.
want_distribution() {
  local file=/etc/os-release
  [[ -r $file ]] || file=/usr/lib/os-release
  [[ -r $file ]] || fail "cannot tell which system this is: there is no /etc/os-release" "this script knows Debian and Ubuntu"
  distribution=$(os_release "$file" ID)
  # shellcheck disable=SC2034 # read by whoever sources this
  release=$(os_release "$file" VERSION_ID)
  # shellcheck disable=SC2034 # the same
  codename=$(os_release "$file" VERSION_CODENAME)
  case $distribution in
    debian | ubuntu) ;;
    *)
      fail "this script knows Debian and Ubuntu, and this is $(os_release "$file" PRETTY_NAME)" \
        "docs/host.md tells what is wanted; do the same with your system's own means"
      ;;
  esac
  command -v apt-get >/dev/null || fail "there is no apt-get, although this is $distribution"
}

# os_release FILE KEY: prints that value, unquoted, or nothing.
os_release() {
  sed -n "s/^$2=//p" "$1" | tr -d "\"'"
}

# systemd_runs: whether systemd is the init that runs here. It is not in a chroot and in most containers.
systemd_runs() {
  [[ -d /run/systemd/system ]]
}

# in_container: whether this is a container, which shares the kernel of its host.
in_container() {
  if command -v systemd-detect-virt >/dev/null; then
    systemd-detect-virt --quiet --container
  else
    [[ -e /.dockerenv || -e /run/.containerenv || -e /run/systemd/container ]]
  fi
}

# installed PACKAGE: whether dpkg has it, configured.
installed() {
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# refresh_packages: fetches the lists of packages, once. Not in a dry run: what apt knows has to do.
lists_fetched=false
refresh_packages() {
  if ! $dry_run && ! $lists_fetched; then
    quietly "fetch the lists of packages" apt_get update
    lists_fetched=true
  fi
}

# file_is FILE MODE TEXT: whether FILE is root's, with that mode and text.
file_is() {
  [[ -f $1 && $(stat --format='%a %u %g' "$1") == "$2 0 0" ]] && cmp --silent "$1" <(printf '%s\n' "$3")
}

# put_file FILE MODE TEXT: has FILE be root's, with that mode and text. Whoever reads it meanwhile finds all or nothing.
put_file() {
  file_is "$@" || change "write $1" write_file "$@"
}

write_file() {
  mkdir -p "$(dirname "$1")" &&
    printf '%s\n' "$3" >"$1.new" &&
    chmod "$2" "$1.new" &&
    mv "$1.new" "$1"
}

# put_away FILE: removes it, if it is there.
put_away() {
  [[ ! -e $1 && ! -L $1 ]] || change "remove $1" rm --force "$1"
}

# enable_unit UNIT [START...]: has systemd start it at boot; and now, where it runs, by START UNIT.
enable_unit() {
  local unit=$1 start=("${@:2}")
  ((${#start[@]} > 0)) || start=(start_anew)
  if ! command -v systemctl >/dev/null; then
    left "start $unit: systemd is not installed here, so by what starts services"
    return
  fi
  [[ $(systemctl is-enabled "$unit" 2>/dev/null) == enabled ]] || change "enable $unit" systemctl --quiet enable "$unit"
  if ! systemd_runs; then
    left "start $unit: systemd does it, which does not run here"
  elif ! systemctl --quiet is-active "$unit"; then
    change "start $unit" "${start[@]}" "$unit"
  fi
}

# start_anew UNIT: starts it. If it has used up its tries, it gets new ones.
start_anew() {
  systemctl reset-failed "$1" 2>/dev/null || true
  systemctl start "$1"
}
