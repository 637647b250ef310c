# shellcheck shell=bash
# What the kernel of a host must be. `torus check` holds the same, see src/preflight.

# The oldest kernel that its makers still mend. What Torus and Docker cannot do without is older; a kernel whose holes are
# no longer closed confines neither containers nor workers.
# shellcheck disable=SC2034 # read by whoever sources this
kernel_min=5.10

# What Docker's engine needs for containers, bridges and published ports.
kernel_options=(
  NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_SCHED CPUSETS MEMCG KEYS POSIX_MQUEUE
  VETH BRIDGE BRIDGE_NETFILTER IP_NF_FILTER IP_NF_NAT IP_NF_TARGET_MASQUERADE
  NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_CONNTRACK NETFILTER_XT_MARK NF_NAT OVERLAY_FS
)

# kernel_config VERSION: prints the configuration of that kernel, or fails if it is nowhere to be read. The one below
# /proc is that of the kernel that runs.
kernel_config() {
  if [[ -r /boot/config-$1 ]]; then
    cat "/boot/config-$1"
  elif [[ -r /lib/modules/$1/config ]]; then
    cat "/lib/modules/$1/config"
  elif [[ $1 == "$(uname -r)" && -r /proc/config.gz ]]; then
    gzip --decompress --stdout /proc/config.gz
  else
    return 1
  fi
}

# kernel_lacks VERSION: prints the options that that kernel was built without. None, if its configuration cannot be read.
kernel_lacks() {
  local config option
  config=$(kernel_config "$1") || return 0
  for option in "${kernel_options[@]}"; do
    grep -q "^CONFIG_$option=[ym]" <<<"$config" || printf '%s\n' "$option"
  done
}
