#!/usr/bin/env bash
# The first process of the lab, see lab.sh: starts the engine, runs one command, and ends the engine.
set -euo pipefail

lab=$1 group=$2
shift 2

main() {
  ip link set lo up
  # The engine's own, and an engine's that runs outside is not seen from here.
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p "$lab/docker" "$lab/imported"
  start_engine
  import_images
  local code=0
  "$@" || code=$?
  end_engine
  exit "$code"
}

start_engine() {
  /usr/sbin/dockerd --data-root "$lab/docker" --exec-root /run/docker --pidfile /run/docker.pid \
    --host unix:///run/docker.sock --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$group" \
    >"$lab/dockerd.log" 2>&1 &
  engine=$!
  export DOCKER_HOST=unix:///run/docker.sock DOCKER_BUILDKIT=1
  # Debian's client goes with Debian's engine, whatever else is on the PATH.
  mkdir -p /run/lab/bin
  ln -s /usr/bin/docker /run/lab/bin/docker
  export PATH=/run/lab/bin:/usr/sbin:$PATH
  local try
  for ((try = 0; try < 200; try++)); do
    if docker version >/dev/null 2>&1; then
      return
    fi
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$lab/dockerd.log" >&2
  printf 'error: the lab has no engine: dockerd does not answer (its last words are above)\n' >&2
  exit 1
}

# Each under its name, once for each state of its file.
import_images() {
  local tar name stamp
  for tar in "$lab"/images/*.tar; do
    [[ -e $tar ]] || continue
    name=$(basename "$tar" .tar)
    stamp=$(stat --format='%Y %s' "$tar")
    if [[ $(cat "$lab/imported/$name" 2>/dev/null) == "$stamp" ]] && docker image inspect "torus-lab/$name" >/dev/null 2>&1; then
      continue
    fi
    docker import "$tar" "torus-lab/$name" >/dev/null
    printf '%s\n' "$stamp" >"$lab/imported/$name"
  done
}

# In order, for the sake of its cache; whatever does not end then ends with the lab.
end_engine() {
  kill -TERM "$engine" 2>/dev/null || true
  timeout 20 tail --pid="$engine" -f /dev/null || true
}

main "$@"
