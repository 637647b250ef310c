#!/usr/bin/env bats
# The container images: built offline, run under all limits, killed inside, stopped.

load lab
bats_require_minimum_version 1.5.0

hardened=(--read-only --cap-drop ALL --security-opt no-new-privileges --user 12345 --memory 64m --pids-limit 64)

setup_file() {
  # What the images stand on was compiled before, unless sources changed.
  "$BATS_TEST_DIRNAME/../../scripts/build-image" --offline --tag lab >&2
}

teardown() {
  remove_own
}

# up NAME OPTION... -- IMAGE [ARG...]: a container with the port for clients published, as soon as it is healthy.
up() {
  local name options=()
  name=$(own "$1")
  shift
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  docker run --detach --name "$name" --publish 127.0.0.1:0:5555 "${options[@]}" "$@" >/dev/null
  wait_for 20 docker exec "$name" /torus health
}

front() {
  printf 'tcp://%s' "$(docker port "$(own "$1")" 5555)"
}

# stops NAME: tells it to, and that it ended with code 0; prints after how many milliseconds. Within $() nothing fails by
# itself, so each step says so.
stops() {
  local name before after
  name=$(own "$1")
  before=$(date +%s%3N)
  docker stop --time 10 "$name" >/dev/null || return
  after=$(date --date "$(docker inspect --format '{{.State.FinishedAt}}' "$name")" +%s%3N) || return
  [ "$(docker inspect --format '{{.State.ExitCode}}' "$name")" = 0 ] || return
  echo $((after - before))
}

# as_it_should NAME: five Worlds, a control socket that answers, a stop with code 0.
as_it_should() {
  five_worlds "$(front "$1")"
  docker exec "$(own "$1")" /torus status
  stops "$1"
}

# healthy NAME: docker has seen that it is.
healthy() {
  [ "$(docker inspect --format '{{.State.Health.Status}}' "$(own "$1")")" = healthy ]
}

# came_back CONTAINER N: everything runs, after N restarts.
came_back() {
  docker exec "$1" /torus status --json | python3 -c '
import json, sys
status = json.load(sys.stdin)
sys.exit(not (status["state"] == "running" and sum(one["restarts"] for one in status["services"]) >= int(sys.argv[1])))
' "$2"
}

# said_five COMPOSE...: the client has ended well, after five Worlds.
said_five() {
  local client
  client=$("$@" ps --quiet client)
  [ "$(docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$client")" = "exited 0" ] &&
    [ "$(docker logs "$client" 2>&1 | grep -c World)" -eq 5 ]
}

@test "docker run: the original client is answered, and docker sees that it is healthy" {
  up plain -- torus:lab
  five_worlds "$(front plain)"
  wait_for 20 healthy plain
  docker logs "$(own plain)" 2>&1 | grep 'configured by /etc/torus/torus.yaml'
  stops plain
}

@test "with nothing writable, no capability and any user it serves, and is asked without a file" {
  up bare "${hardened[@]}" -- torus:lab
  docker logs "$(own bare)" 2>&1 | grep -F 'listening without a file, at @torus-12345/control.sock'
  as_it_should bare
}

@test "with a tmpfs the control socket is a file there" {
  up tmpfs "${hardened[@]}" --tmpfs /tmp -- torus:lab
  ! docker logs "$(own tmpfs)" 2>&1 | grep -F 'without a file' || false
  as_it_should tmpfs
}

@test "without a network it is asked from within" {
  docker run --detach --name "$(own none)" "${hardened[@]}" --network none torus:lab >/dev/null
  wait_for 20 docker exec "$(own none)" /torus health
  run docker exec "$(own none)" /torus request Hello --count 5
  [ "$status" -eq 0 ]
  [ "$(grep -c World <<<"$output")" -eq 5 ]
  stops none
}

@test "below docker's own init it does as well" {
  up init "${hardened[@]}" --init -- torus:lab
  docker top "$(own init)" | grep docker-init
  as_it_should init
}

@test "below docker's own init, ours with one back-end is healthy too" {
  up both "${hardened[@]}" --init -- torus-c:lab init -- /server/server
  docker top "$(own both)" | grep docker-init
  five_worlds "$(front both)"
  stops both
}

@test "it stops in less than half a second" {
  local try ms
  for try in 1 2 3; do
    up "stop$try" "${hardened[@]}" -- torus:lab
    ms=$(stops "stop$try")
    echo "# stopped in $ms ms" >&3
    if ((ms < 500)); then break; fi
  done
  ((ms < 500))
}

@test "workers that are killed inside come back, and the container goes on" {
  local name before
  up kill "${hardened[@]}" -- torus:lab
  name=$(own kill)
  before=$(docker inspect --format '{{.State.Pid}}' "$name")
  local workers
  mapfile -t workers < <(docker top "$name" -o pid,args | awk '/ worker / { print $1 }')
  # The bus, the log, and two back-ends.
  [ "${#workers[@]}" -eq 4 ]
  kill -KILL "${workers[@]}"
  wait_for 20 came_back "$name" 4
  five_worlds "$(front kill)"
  docker exec "$name" /torus restart hello
  [ "$(docker inspect --format '{{.State.Pid}}' "$name")" = "$before" ]
  as_it_should kill
}

@test "a configuration that is wrong is refused with its line" {
  echo 'bus: { bnd: 0.0.0.0 }' >"$BATS_TEST_TMPDIR/torus.yaml"
  run docker run --rm --name "$(own wrong)" --volume "$BATS_TEST_TMPDIR/torus.yaml:/etc/torus/torus.yaml:ro" torus:lab
  [ "$status" -eq 1 ]
  [[ $output == *"/etc/torus/torus.yaml:1: bus.bnd: no such key"* ]]
}

@test "torus-c and torus-python serve their back-end behind the bus" {
  local language
  for language in c python; do
    up "$language" "${hardened[@]}" -- "torus-$language:lab"
    docker top "$(own "$language")" -o pid,args | grep /server/server
    as_it_should "$language"
  done
}

@test "torus-c and torus-python serve alone, under our init, as the original project did" {
  local language program
  for language in c python; do
    program=/server/server
    [ "$language" = c ] || program=/server/server.py
    up "alone-$language" "${hardened[@]}" -- "torus-$language:lab" init -- "$program"
    wait_for 20 five_worlds "$(front "alone-$language")"
    wait_for 20 healthy "alone-$language"
    stops "alone-$language"
  done
}

@test "compose: the bus, a back-end and a client on a network of their own" {
  export TORUS_IMAGE=torus:lab TORUS_C_IMAGE=torus-c:lab TORUS_PORT=15555
  local compose=(docker-compose --project-name "$(own compose)" --file "$root/docker/compose.yaml")
  "${compose[@]}" up --no-build --detach
  wait_for 30 said_five "${compose[@]}"
  wait_for 10 five_worlds tcp://127.0.0.1:15555
  run "${compose[@]}" down --volumes --timeout 5
  [ "$status" -eq 0 ]
  run docker network ls --quiet --filter "name=$(own compose)"
  [ -z "$output" ]
}

@test "there is nothing in the image but what it needs, and it is at most 15 MB" {
  [ "$(docker image inspect --format '{{.Config.User}}' torus:lab)" = 65532:65532 ]
  run -127 docker run --rm --name "$(own shell)" --entrypoint /bin/sh torus:lab -c true
  docker create --name "$(own files)" torus:lab >/dev/null
  docker export "$(own files)" | tar --list --verbose >"$BATS_TEST_TMPDIR/files"
  # Neither setuid nor setgid.
  ! grep -E '^-(..[sS]|.....[sS])' "$BATS_TEST_TMPDIR/files" || false
  ! grep -E '/(sh|bash|dash|busybox|apt|apt-get|dpkg)$' "$BATS_TEST_TMPDIR/files" || false
  awk '{ bytes += $3 } END { exit bytes > 15e6 }' "$BATS_TEST_TMPDIR/files"
}

@test "the list of parts names the libraries and the crates" {
  python3 - "$root/target/image/torus.cdx.json" <<'PYTHON'
import json, sys
parts = {one["name"]: one for one in json.load(open(sys.argv[1]))["components"]}
assert parts["libsystemd0"]["purl"].startswith("pkg:deb/debian/libsystemd0@"), parts["libsystemd0"]
assert parts["tokio"]["licenses"] == [{"expression": "MIT"}], parts["tokio"]
assert "libc6" in parts and "libzmq5" in parts and "proptest" not in parts
PYTHON
}

@test "a library that no package owns, whose terms are unknown, keeps an image from being built" {
  local program
  # shellcheck disable=SC2016 # the shell of the container expands it
  program='source /lay-out /tmp/out 1; for path in "$@"; do echo "$path"; done | owners'
  run docker run --rm --name "$(own owners)" --volume "$root/docker/lay-out:/lay-out:ro" torus-lab/debian \
    bash -c "$program" bash /bin/sh /usr/bin/ls
  [ "$status" -eq 0 ]
  [ "$output" = "coreutils
dash" ]
  run docker run --rm --name "$(own owners)" --volume "$root/docker/lay-out:/lay-out:ro" torus-lab/debian \
    bash -c "$program" bash /bin/sh /lay-out
  [ "$status" -ne 0 ]
  [[ $output == *'lay-out: no package owns /lay-out'* ]]
}
