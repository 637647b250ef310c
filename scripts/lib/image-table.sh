# shellcheck shell=bash
# What is in the images and how they run, as a table: asked of the engine, the files and the kernel, not of the Dockerfile.
# Needs say.sh before it, and `images` and `layers` of scripts/build-image. Reads /proc of containers, so that it needs root
# and the engine's own namespace of processes, as the lab has it.

: "${images:?}"

# image_table TAG AGAIN: prints the table, in Markdown. AGAIN is the tag of the second build.
image_table() {
  local name column row rows=() cells=()
  mapfile -t rows < <(printf '%s\n' "unpacked, MB" files user entrypoint "setuid and setgid files" shells "package managers" \
    "capabilities, effective" "capabilities, bounding, with \`--cap-drop ALL\`" "seccomp filters: supervisor, worker" \
    "no_new_privs of a worker" "writable" "writable with \`--read-only\`" "layers" "layers, built again")
  for name in "${images[@]}"; do
    column=$(image_column "$name" "$1" "$2")
    mapfile -t cells <<<"$column"
    ((${#cells[@]} == ${#rows[@]})) || fail "the figures of $name are not one for each row:" "$column"
    for row in "${!rows[@]}"; do
      rows[row]+=" | ${cells[row]}"
    done
  done
  printf '| | %s | %s | %s |\n|---|---|---|---|\n' "${images[@]}"
  printf '| %s |\n' "${rows[@]}"
}

# image_column NAME TAG AGAIN: the figures of one image, a line each, in the order of the rows.
image_column() {
  local image=$1:$2 files plain hardened pid worker
  files=$(mktemp)
  plain=$(docker create "$image")
  docker export "$plain" | tar --list --verbose --file - >"$files"
  docker rm --volumes "$plain" >/dev/null
  awk '/^-/ { bytes += $3 } END { printf "%.1f\n", bytes / 1e6 }' "$files"
  grep -c '^[-l]' "$files"
  docker image inspect --format '{{.Config.User}}' "$image"
  docker image inspect --format '`{{join .Config.Entrypoint " "}} {{join .Config.Cmd " "}}`' "$image"
  awk '$1 ~ /^-..[sS]|^-.....[sS]/ { print $6 }' "$files" | or_none
  awk '$6 ~ /(^|\/)(sh|bash|dash|ash|busybox|zsh|ksh)$/ { print $6 }' "$files" | or_none
  awk '$6 ~ /(^|\/)(apt|apt-get|dpkg|apk|rpm|dnf|pip|pip3)$/ { print $6 }' "$files" | or_none
  rm "$files"

  plain=$(docker run --detach "$image")
  hardened=$(docker run --detach --read-only --cap-drop ALL --security-opt no-new-privileges "$image")
  healthy "$plain" "$image"
  healthy "$hardened" "$image"
  pid=$(docker inspect --format '{{.State.Pid}}' "$plain")
  worker=$(pgrep --parent "$pid" --full 'worker requests')
  of_process "$pid" CapEff
  of_process "$(docker inspect --format '{{.State.Pid}}' "$hardened")" CapBnd
  printf '%s, %s\n' "$(of_process "$pid" Seccomp_filters)" "$(of_process "$worker" Seccomp_filters)"
  of_process "$worker" NoNewPrivs
  writable "$pid"
  writable "$(docker inspect --format '{{.State.Pid}}' "$hardened")"
  docker rm --force --volumes "$plain" "$hardened" >/dev/null
  layers "$image" | short
  layers "$1:$3" | short
}

or_none() {
  paste --serial --delimiters=' ' | sed 's/^$/none/'
}

# short: digests by their first twelve digits.
short() {
  sed 's/^sha256:\(.\{12\}\).*/\1/' | paste --serial --delimiters=' '
}

of_process() {
  sed -n "s/^$2:\t//p" "/proc/$1/status"
}

# healthy CONTAINER IMAGE: waits until torus in it says so, half a minute at most.
healthy() {
  local try
  for ((try = 0; try < 300; try++)); do
    ! docker exec "$1" /torus health >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  fail "$2 does not get healthy" "$(docker logs "$1" 2>&1 | tail -n 5)"
}

# writable PID: the directories that the process's user may write, as they are mounted for that process.
writable() {
  local id
  id=$(awk '/^Uid:/ { print $2 }' "/proc/$1/status")
  (
    cd "/proc/$1/root" || exit
    # What may not be read is not looked into.
    setpriv --reuid "$id" --regid "$id" --clear-groups \
      find . \( -path ./proc -o -path ./sys \) -prune -o -type d -writable -print 2>/dev/null || true
  ) |
    sed 's/^\.//' | sort | or_none
}

# into_docs: puts the table that it reads between the markers in docs/docker.md.
into_docs() {
  python3 -c '
import pathlib, re, sys
page = pathlib.Path("docs/docker.md")
begin, end = "<!-- table: scripts/build-image --table -->\n", "<!-- end of table -->"
text, table = page.read_text(), sys.stdin.read()
new = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + "\n" + table + "\n" + end, text, flags=re.S)
page.write_text(new)'
}
