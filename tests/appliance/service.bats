#!/usr/bin/env bats
# The package for Debian in a machine that systemd runs: installed, hurt, upgraded, taken away.
#
# What stands in single quotes is for the shell of that machine.
# shellcheck disable=SC2016

load lab

packages=${root:?}/target/debian

setup_file() {
  local newest
  newest=$(find "$packages" -maxdepth 1 -name 'torus_*.deb' -printf '%T@ %p\n' | sort -rn | head -n1 | cut -d' ' -f2-)
  if [[ -z $newest ]]; then
    echo "there is no package: scripts/build-deb builds it" >&2
    return 1
  fi
  rm -rf "$packages/lab"
  mkdir -p "$packages/lab"
  cp "$newest" "$packages/lab/torus.deb"
  next_version "$packages/lab/torus.deb" "$packages/lab/next.deb"
  broken_version "$packages/lab/torus.deb" "$packages/lab/broken.deb"
}

teardown_file() {
  rm -rf "$packages/lab"
}

# next_version OLD NEW: the same package as its next version; the binary has its version in one place.
next_version() {
  local tree=$packages/lab/tree
  dpkg-deb --raw-extract "$1" "$tree"
  sed -i 's/^\(Version: [0-9.]*\).*/\1.next-1/' "$tree/DEBIAN/control"
  python3 - "$tree/usr/bin/torus" <<'PYTHON'
import re, sys
program = open(sys.argv[1], "rb").read()
[place] = re.finditer(rb"torus-version:(\d+\.\d+\.)(\d)", program)
digit = b"8" if place[2] == b"7" else b"7"
open(sys.argv[1], "wb").write(program[:place.start(2)] + digit + program[place.end(2):])
PYTHON
  dpkg-deb --root-owner-group --build -Zgzip "$tree" "$2" >/dev/null
  rm -rf "$tree"
}

# broken_version OLD NEW: the same package as a version between the two, with a binary that does nothing here.
broken_version() {
  local tree=$packages/lab/tree
  dpkg-deb --raw-extract "$1" "$tree"
  sed -i 's/^\(Version: [0-9.]*\).*/\1.broken-1/' "$tree/DEBIAN/control"
  printf '#!/bin/sh\necho "this build runs nowhere: $*" >&2\nexit 1\n' >"$tree/usr/bin/torus"
  dpkg-deb --root-owner-group --build -Zgzip "$tree" "$2" >/dev/null
  rm -rf "$tree"
}

setup() {
  docker run --detach --name "$(own debian)" --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_PTRACE \
    --security-opt seccomp=unconfined --cgroupns=host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw \
    --stop-signal SIGRTMIN+3 --env container=docker --tmpfs /run --tmpfs /run/lock --tmpfs /tmp \
    --volume "$packages/lab:/packages:ro" --volume "$root/examples:/examples:ro" \
    --volume "$root/tests/appliance:/tests:ro" --volume "$root/scripts:/scripts:ro" torus-lab/systemd /sbin/init >/dev/null
  wait_for 30 within sh -c 'systemctl is-system-running | grep -Eqx "running|degraded"'
}

teardown() {
  if [[ -z ${BATS_TEST_COMPLETED:-} ]]; then
    within journalctl --no-pager --lines 60 --unit 'torus*' || true
  fi
  remove_own
}

# within COMMAND...: in that machine.
within() {
  docker exec --interactive "$(own debian)" "$@"
}

install() {
  within apt-get install --quiet --yes "/packages/$1"
}

five_worlds_within() {
  within timeout 20 python3 /examples/clients/python/client.py tcp://127.0.0.1:5555 | grep -c 'Received reply .: World' | grep -qx 5
}

# shown PROPERTY [UNIT]: what systemd says of it.
shown() {
  within systemctl show --property "$1" --value "${2:-torus.service}"
}

is_state() {
  [ "$(within systemctl is-active "$1")" = "$2" ]
}

# service JSON_KEY: of the requests worker, as torus tells it.
worker() {
  within torus status --json | python3 -c '
import json, sys
print(next(one for one in json.load(sys.stdin)["services"] if one["name"] == "requests")[sys.argv[1]])' "$1"
}

# is_other PID COMMAND...: whether COMMAND tells another process than PID.
is_other() {
  local before=$1 now
  shift
  now=$("$@")
  [[ $now =~ ^[0-9]+$ && $now != 0 && $now != "$before" ]]
}

@test "an installed package serves the original client from within its sandbox" {
  install torus.deb
  for unit in torus.service torus-requests-front.socket torus-requests-back.socket; do
    is_state "$unit" active
    [ "$(within systemctl is-enabled "$unit")" = enabled ]
  done
  five_worlds_within
  [ "$(within stat --format %U "/proc/$(shown MainPID)")" = torus ]
  # No worker does without a part of its own sandbox, and all have a filter of their own beside systemd's.
  run within torus status --json
  [[ $output == *'"state":"running"'* && $output != *warnings* ]]
  local ours theirs
  ours=$(within sed -n 's/^Seccomp_filters:\t//p' "/proc/$(shown MainPID)/status")
  theirs=$(within sed -n 's/^Seccomp_filters:\t//p' "/proc/$(worker pid)/status")
  [ "$theirs" -gt "$ours" ]
  # The worker is killed first when memory runs out.
  local main
  main=$(within cat "/proc/$(shown MainPID)/oom_score_adj")
  [ "$(within cat "/proc/$(worker pid)/oom_score_adj")" -eq $((main + 100)) ]
  within journalctl --quiet --unit torus.service --grep 'service=hello .*started'
  within torus restart requests
  five_worlds_within
  within systemctl reload torus.service
}

@test "as README has it: the script installs the package and lets torus check the machine, once" {
  run within /scripts/install-torus /packages/torus.deb
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *'for host: '*' passed'* && $output != *failed* ]]
  within torus status
  within torus request Hello --count 5 | grep -c World | grep -qx 5
  run within /scripts/install-torus /packages/torus.deb
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *'nothing to do'* ]]
}

@test "systemd finds nothing to say against the units, and little exposure" {
  install torus.deb
  # Neither pages nor their reader are in this machine.
  within mkdir -p /run/bare
  within sh -c 'for unit in /usr/lib/systemd/system/torus*; do sed /^Documentation/d $unit >/run/bare/${unit##*/}; done'
  run within sh -c 'systemd-analyze verify /run/bare/torus*'
  [ "$status" -eq 0 ]
  [ -z "$output" ]
  run within systemd-analyze security --offline=true --threshold=12 torus.service
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "a worker and the supervisor come back after kill -9, and clients are served" {
  install torus.deb
  local before
  before=$(worker pid)
  within kill -9 "$before"
  wait_for 10 is_other "$before" worker pid
  five_worlds_within
  before=$(shown MainPID)
  within kill -9 "$before"
  # Who asks at once waits in the socket.
  five_worlds_within
  wait_for 10 is_other "$before" shown MainPID
  [ "$(shown NRestarts)" -eq 1 ]
}

@test "ten kills in a row close no port" {
  install torus.deb
  local before
  for _ in {1..10}; do
    before=$(shown MainPID)
    within kill -9 "$before"
    wait_for 20 is_other "$before" shown MainPID
  done
  five_worlds_within
  is_state torus-requests-front.socket active
}

# tried_again TIMES: whether systemd has started it again so often.
tried_again() {
  [ "$(shown NRestarts)" -ge "$1" ]
}

@test "a start that fails keeps the ports open for more than a few tries, and serves once that is mended" {
  within mkdir -p /etc/torus
  within tee /etc/torus/torus.yaml >/dev/null <<<'nonsense: 1'
  run within apt-get install --quiet --yes -o Dpkg::Options::=--force-confold /packages/torus.deb
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *'torus: the service does not start; why: journalctl --unit torus.service'* ]]
  wait_for 30 tried_again 7
  is_state torus-requests-front.socket active
  is_state torus-requests-back.socket active
  within cp /etc/torus/torus.yaml.dpkg-dist /etc/torus/torus.yaml
  wait_for 10 is_state torus.service active
  five_worlds_within
  # The check before it only tells.
  [[ $(shown ExecStartPre) == *'check --for service'*'ignore_errors=yes'* ]]
}

@test "a supervisor that hangs trips the watchdog and is started again" {
  install torus.deb
  local before
  before=$(shown MainPID)
  within kill -STOP "$before"
  wait_for 40 is_other "$before" shown MainPID
  five_worlds_within
  within journalctl --quiet --unit torus.service --grep 'Watchdog timeout'
}

@test "a stopped service is started by the first client" {
  install torus.deb
  within systemctl stop torus.service
  is_state torus.service inactive
  five_worlds_within
  is_state torus.service active
}

@test "sockets that systemd holds elsewhere than configured are told by both addresses" {
  install torus.deb
  within sed -i 's/front: 5555/front: 7777/' /etc/torus/torus.yaml
  run within torus reload
  [[ $status -eq 1 && $output == *'systemd holds the socket "requests-front" and passed it at 127.0.0.1:5555'* ]]
  run within systemctl reload torus.service
  [ "$status" -ne 0 ]
  five_worlds_within
  run within systemctl restart torus.service
  [ "$status" -ne 0 ]
  wait_for 10 within journalctl --quiet --unit torus.service --grep \
    'socket requests-front +127.0.0.1:5555 .*, but bus.requests.front is 127.0.0.1:7777'
}

@test "an upgrade under load keeps the process and refuses nobody, and a changed configuration is kept" {
  install torus.deb
  within sh -c 'echo "# mine" >>/etc/torus/torus.yaml'
  within sh -c 'python3 /tests/crowd.py /tmp/stop >/tmp/crowd 2>&1 & echo $! >/tmp/crowd.pid'
  wait_for 20 within grep -q 'answered [1-9][0-9]' /tmp/crowd
  local main worker before after
  main=$(shown MainPID)
  worker=$(worker pid)
  before=$(within torus --version)
  install next.deb
  after=$(within torus --version)
  [ "$before" != "$after" ]
  [ "$(shown MainPID)" = "$main" ]
  [ "$(worker pid)" = "$worker" ]
  within torus status --json | grep -q "\"torus\": *\"${after#torus }\""
  # All who asked meanwhile were answered, and so is whoever asks now.
  local told
  told=$(within wc -l /tmp/crowd | cut -d' ' -f1)
  wait_for 20 within sh -c "[ \$(wc -l </tmp/crowd) -gt $((told + 5)) ]"
  run within tail -n1 /tmp/crowd
  echo "$output"
  [[ $output == 'answered '*' refused 0 silent 0' ]]
  # A restart to the new build's own workers refuses nobody either.
  within systemctl restart torus.service
  [ "$(shown MainPID)" != "$main" ]
  five_worlds_within
  within touch /tmp/stop
  wait_for 20 within sh -c '! kill -0 "$(cat /tmp/crowd.pid)" 2>/dev/null'
  run within tail -n1 /tmp/crowd
  echo "$output"
  [[ $output == 'answered '*' refused 0 silent '* ]]
  within grep -qx '# mine' /etc/torus/torus.yaml
  [ "$(within dpkg-query --show --showformat '${Version}' torus | grep -c next)" -eq 1 ]
}

@test "an upgrade to a build that cannot start leaves the old one at work, and says so" {
  install torus.deb
  local main
  main=$(shown MainPID)
  run install broken.deb
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *'runs nowhere: --runtime-dir /run/torus upgrade'*'runs nowhere: config check /etc/torus/torus.yaml'* ]]
  [[ $output == *'torus: the old build still runs'*'then: torus upgrade'* ]]
  [ "$(shown MainPID)" = "$main" ]
  five_worlds_within
  # And it becomes the next one that can.
  install next.deb
  [ "$(shown MainPID)" = "$main" ]
  local version
  version=$(within torus --version)
  within torus status --json | grep -q "\"torus\": *\"${version#torus }\""
}

# What is in the machine, without what every installation changes.
inventory() {
  within sh -c 'find / -xdev \( -path /proc -o -path /sys -o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg \
    -o -path /var/lib/apt -o -path /var/lib/systemd/catalog -o -path "/tmp/*" -o -path "/var/tmp/*" \) -prune -o -print | sort
    cut -d: -f1 /etc/passwd /etc/group; ls /run /run/systemd/system /etc/systemd/system'
}

@test "a removal keeps the configuration, and a purge leaves nothing" {
  inventory >"$BATS_TEST_TMPDIR/before"
  install torus.deb
  five_worlds_within
  # Whatever a machine's own policy is about starting and stopping.
  within sh -c 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d'
  within sed -i 's/^USERGROUPS_ENAB.*/USERGROUPS_ENAB no/' /etc/login.defs
  within apt-get remove --quiet --yes torus
  within test -e /etc/torus/torus.yaml
  run within sh -c 'ps -e -o comm= | grep -x torus'
  [ "$status" -ne 0 ]
  within apt-get purge --quiet --yes torus
  within rm /usr/sbin/policy-rc.d
  inventory >"$BATS_TEST_TMPDIR/after"
  # Backups of the lists of users are the system's.
  diff <(grep -v '^/etc/.*-$' "$BATS_TEST_TMPDIR/before") <(grep -v '^/etc/.*-$' "$BATS_TEST_TMPDIR/after")
}

# widened DROP_IN SCORE: with that drop-in alone torus serves, and its exposure is as docs/systemd.md says.
widened() {
  within sh -c "rm -f /etc/systemd/system/torus.service.d/*; cp /usr/share/doc/torus/$1.conf /etc/systemd/system/torus.service.d/"
  within systemctl daemon-reload
  within systemctl restart torus.service
  five_worlds_within
  within systemd-analyze security --offline=true torus.service | grep -F "Overall exposure level for torus.service: $2"
}

# has_state SERVICE STATE
has_state() {
  within torus status --json | python3 -c '
import json, sys
sys.exit(not any((one["name"], one["state"]) == tuple(sys.argv[1:]) for one in json.load(sys.stdin)["services"]))' "$@"
}

@test "drop-ins widen the sandbox as far as they say" {
  install torus.deb
  # A program that compiles as it runs, such as Node.js.
  within tee -a /etc/torus/torus.yaml >/dev/null <<'YAML'
  compiler:
    command: [/usr/bin/python3, -c, "import mmap, time; mmap.mmap(-1, 4096, prot=7); print('compiled', flush=True); time.sleep(1000)"]
    restart: { limit: { restarts: 1, window_ms: 60000 }, backoff: { ms_min: 10, ms_max: 10 } }
YAML
  within mkdir -p /etc/systemd/system/torus.service.d
  widened delegate 1.3
  wait_for 20 has_state compiler quarantined
  run within journalctl --quiet --unit torus.service --grep '^compiled$'
  [ -z "$output" ]
  widened commands 2.0
  wait_for 20 within journalctl --quiet --unit torus.service --grep '^compiled$'
}
