#!/usr/bin/env bash
# What a newcomer does first, on a machine that has nothing but the clone. Run in a fresh root by scripts/test --fresh.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/lib/say.sh
source scripts/lib/say.sh
# shellcheck source=scripts/lib/demo.sh
source scripts/lib/demo.sh

transcript=$(scripts/run --demo)
# The demo compares too; here it is its stdout that must hold the transcript and nothing else.
diff --unified --label expected --label printed <(expected_transcript) - <<<"$transcript" >&2 ||
  fail "scripts/run --demo exited 0, but its transcript is not the expected one"
scripts/test --quick
