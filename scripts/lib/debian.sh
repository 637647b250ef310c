# shellcheck shell=bash
# Which Debian the roots and base images are of, and where its packages come from.

debian=bookworm

# debian_sources: prints this machine's own lists of sources, for mmdebstrap, if they are of the same Debian; else nothing,
# and mmdebstrap has its own.
debian_sources() {
  if [[ $(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release) == "$debian" ]]; then
    find /etc/apt -maxdepth 2 \( -name sources.list -o -path '*/sources.list.d/*.list' -o -path '*/sources.list.d/*.sources' \) -size +0
  fi
}
