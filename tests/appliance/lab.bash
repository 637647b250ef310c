# shellcheck shell=bash
# What the tests of the appliance share. Each begins with `load lab`.

root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

# wait_for SECONDS COMMAND...: tries COMMAND until it succeeds, at most for so long; fails with its last words. A program
# that hangs is ended; a function has to bound what it calls.
wait_for() {
  local until=$((SECONDS + $1)) words bound=()
  [[ $(type -t "$2") != file ]] || bound=(timeout --kill-after=5 "$1")
  shift
  while ! words=$("${bound[@]}" "$@" 2>&1); do
    if ((SECONDS >= until)); then
      printf 'never succeeded: %s\n%s\n' "$*" "$words" >&2
      return 1
    fi
    sleep 0.1
  done
}

# own NAME: a name for a container that no other test has; `remove_own` in teardown takes away all of this test.
own() {
  printf 'lab-%s-%s-%s' "$BATS_SUITE_TEST_NUMBER" "$$" "$1"
}

remove_own() {
  local containers
  mapfile -t containers < <(docker ps --all --quiet --filter "name=^lab-$BATS_SUITE_TEST_NUMBER-")
  ((${#containers[@]} == 0)) || docker rm --force --volumes "${containers[@]}" >/dev/null
}

# five_worlds ENDPOINT: the original client, outside, sends five requests and reads World five times, word for word.
five_worlds() {
  local said
  said=$(timeout 20 /usr/bin/python3 "$root/examples/clients/python/client.py" "$1")
  diff <(printf '%s\n' "$said") - <<'WORDS'
Connecting to server...
Sending request 1...
Sending request 2...
Sending request 3...
Sending request 4...
Sending request 5...
Received reply 1: World
Received reply 2: World
Received reply 3: World
Received reply 4: World
Received reply 5: World
WORDS
}
