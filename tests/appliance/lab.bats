#!/usr/bin/env bats
# The lab itself: what all other tests here rely on.

load lab

teardown() {
  remove_own
}

@test "a container runs under the limits that others are tested under" {
  run docker run --rm --name "$(own limits)" --read-only --cap-drop ALL --security-opt no-new-privileges \
    --user 12345 --memory 64m --pids-limit 64 --network none torus-lab/debian id -u
  [ "$status" -eq 0 ]
  [ "$output" = 12345 ]
}

@test "the engine has its own network, mounts and processes, which end with it" {
  local kind
  for kind in mnt net pid; do
    [[ $LAB_OUTSIDE == *"$kind:["* ]]
    [[ $LAB_OUTSIDE != *"$(readlink "/proc/self/ns/$kind")"* ]]
    [ "$(readlink "/proc/$(cat /run/docker.pid)/ns/$kind")" = "$(readlink "/proc/self/ns/$kind")" ]
  done
}

@test "a published port is reached over the loopback, and there is no other way out" {
  docker run --detach --name "$(own web)" --publish 127.0.0.1:0:8000 torus-lab/systemd \
    python3 -m http.server 8000 >/dev/null
  local endpoint
  endpoint=$(docker port "$(own web)" 8000)
  wait_for 10 python3 -c "import urllib.request; urllib.request.urlopen('http://$endpoint/etc/os-release').read()"
  run ip -brief link show up type veth
  [ -n "$output" ]
  run ip route show default
  [ -z "$output" ]
}
