# shellcheck shell=bash
# How the scripts speak. Narration goes to stderr, so that stdout holds results alone.

# What a message begins with: the script as its user calls it.
script_name="scripts/$(basename "$0")"

# say WORD...: one line of narration.
say() {
  printf '%s\n' "$*" >&2
}

# fail WHAT [HINT...]: ends the script with a clear sentence and what to do next.
fail() {
  say "$script_name: error: $1"
  shift
  local hint
  for hint in "$@"; do
    say "hint: $hint"
  done
  exit 1
}

# quietly WHAT COMMAND...: runs COMMAND without its output, which is shown if it fails.
quietly() {
  local what=$1 output
  shift
  if ! output=$("$@" 2>&1); then
    say "$output"
    fail "cannot $what (its output is above)"
  fi
}
