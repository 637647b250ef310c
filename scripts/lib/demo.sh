# shellcheck shell=bash
# The whole main job, end to end: start Torus, let a client of another language ask five times over TCP, compare, stop.
# Needs say.sh and python.sh.

demo_ready_seconds_max=30
demo_client_seconds_max=30
demo_stop_seconds_max=20

# expected_transcript: the eleven lines that each client prints.
expected_transcript() {
  echo "Connecting to server..."
  printf 'Sending request %d...\n' 1 2 3 4 5
  printf 'Received reply %d: World\n' 1 2 3 4 5
}

# run_demo TORUS PORT: prints the transcript on stdout. PORT is empty for the default configuration.
run_demo() {
  local torus=$1 port=$2 python endpoint
  python=$(python_with_zmq) || fail "no Python can import zmq, although python3-zmq is installed" "try /usr/bin/python3 -c 'import zmq'"
  # Global: the trap outlives this function.
  demo_dir=$(mktemp -d "${TMPDIR:-/tmp}/torus-demo.XXXXXX")
  demo_pid=''
  trap clean_up_demo EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM

  local arguments=(run --runtime-dir "$demo_dir")
  if [[ -n $port ]]; then
    demo_config "$port" >"$demo_dir/torus.yaml"
    arguments+=(--config "$demo_dir/torus.yaml")
  fi
  env --unset=TORUS_CONFIG "$torus" "${arguments[@]}" >"$demo_dir/log" 2>&1 &
  demo_pid=$!

  endpoint=$(await_endpoint "$torus" "$python")
  say "Torus serves clients on $endpoint; examples/clients/python asks it five times:"
  timeout "$demo_client_seconds_max" "$python" "${root:?}/examples/clients/python/client.py" "$endpoint" | tee "$demo_dir/transcript" ||
    demo_failed "the client failed or took longer than $demo_client_seconds_max s"
  diff --unified --label expected --label printed <(expected_transcript) "$demo_dir/transcript" >&2 ||
    demo_failed "the client's transcript is not the expected one (the difference is above)"
  stop_torus
  say "Torus stopped in order. Start it for yourself: scripts/run"
}

# demo_config PORT: the default configuration on other ports.
demo_config() {
  cat <<YAML
bus:
  bind: 127.0.0.1
  requests: { front: $1, back: 0 }
services:
  hello: { worker: hello, instances: 2 }
YAML
}

# await_endpoint TORUS PYTHON: prints where clients connect, as soon as Torus tells. No back-end need be there yet: until
# then requests wait in the bus.
await_endpoint() {
  local deadline=$((SECONDS + demo_ready_seconds_max)) endpoint
  while kill -0 "$demo_pid" 2>/dev/null; do
    if endpoint=$("$1" status --json --runtime-dir "$demo_dir" 2>/dev/null | "$2" -c 'if True:
      import json, sys
      print(json.load(sys.stdin)["endpoints"]["requests_front"])' 2>/dev/null); then
      printf '%s\n' "$endpoint"
      return
    fi
    ((SECONDS < deadline)) || demo_failed "Torus was not ready within $demo_ready_seconds_max s"
    sleep 0.1
  done
  demo_failed "Torus ended before it was ready" "if a port is taken, scripts/run --demo --port 0 takes a free one"
}

# stop_torus: an orderly stop, which must end with code 0 and in time.
stop_torus() {
  local code=0
  kill -TERM "$demo_pid" 2>/dev/null || demo_failed "Torus was gone before it was told to stop"
  timeout "$demo_stop_seconds_max" tail --sleep-interval=0.1 --pid="$demo_pid" -f /dev/null ||
    demo_failed "Torus did not stop within $demo_stop_seconds_max s of SIGTERM"
  wait "$demo_pid" || code=$?
  demo_pid=''
  ((code == 0)) || demo_failed "Torus ended with code $code after SIGTERM, not with 0"
}

# demo_failed WHAT [HINT...]: fails, with what Torus said.
demo_failed() {
  if [[ -s $demo_dir/log ]]; then
    say "Torus said:"
    sed 's/^/  /' "$demo_dir/log" >&2
  fi
  local what=$1
  shift
  fail "demo: $what" "$@"
}

clean_up_demo() {
  if [[ -n $demo_pid ]]; then
    kill -TERM "$demo_pid" 2>/dev/null &&
      timeout "$demo_stop_seconds_max" tail --sleep-interval=0.1 --pid="$demo_pid" -f /dev/null ||
      kill -KILL "$demo_pid" 2>/dev/null || true
    wait "$demo_pid" 2>/dev/null || true
  fi
  rm -rf "$demo_dir"
}
