# shellcheck shell=bash
# A run is a row of named steps with their times. The first that fails ends it. Needs say.sh, and `set -e`.

current_step=''
step_times=()

# step NAME COMMAND...: runs COMMAND as a step. It is not called in a condition, since bash would then ignore `set -e` in
# everything below it; instead the end of the script finds the step that was not finished.
step() {
  local name=$1 started=$SECONDS
  shift
  current_step=$name
  say $'\n'"== $name (at ${SECONDS}s)"
  "$@"
  current_step=''
  step_times+=("$(printf '%4ds  %s' $((SECONDS - started)) "$name")")
}

# summary: what was run, and how long each step took.
summary() {
  say $'\n'"== all passed in ${SECONDS}s"
  printf '%s\n' "${step_times[@]}" >&2
}

report_unfinished_step() {
  local code=$?
  if [[ -n $current_step ]]; then
    say $'\n'"== FAILED: $current_step, after ${SECONDS}s (code $code); its words are above"
  fi
}
trap report_unfinished_step EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
