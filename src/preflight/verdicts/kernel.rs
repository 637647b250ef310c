//! The kernel: its version, what Docker needs of it, and what confines services and workers.

use super::{Check, On, Verdict};
use crate::config::{Config, ServiceKind};
use crate::preflight::Purpose;
use crate::sys::cgroup::Survey;

/// The oldest kernel that Torus works on, major and minor: filters of system calls that kill a whole process, which each
/// worker has, came with 4.14. What else it cannot do without is older: ambient capabilities 4.3, execveat 3.19, memory
/// as sealed files 3.17.
pub const KERNEL_MIN: (u32, u32) = (4, 14);
/// The oldest kernel that is still mended by its makers, and the oldest that `scripts/install-kernel` is content with.
pub const KERNEL_MAINTAINED: (u32, u32) = (5, 10);
/// The first version of Landlock that knows TCP ports.
const LANDLOCK_WITH_PORTS: u32 = 4;

/// What Docker's engine needs for containers, bridges and published ports, whatever the version of cgroups.
const DOCKER_OPTIONS: [&str; 22] = [
    "NAMESPACES",
    "NET_NS",
    "PID_NS",
    "IPC_NS",
    "UTS_NS",
    "CGROUPS",
    "CGROUP_SCHED",
    "CPUSETS",
    "MEMCG",
    "KEYS",
    "POSIX_MQUEUE",
    "VETH",
    "BRIDGE",
    "BRIDGE_NETFILTER",
    "IP_NF_FILTER",
    "IP_NF_NAT",
    "IP_NF_TARGET_MASQUERADE",
    "NETFILTER_XT_MATCH_ADDRTYPE",
    "NETFILTER_XT_MATCH_CONNTRACK",
    "NETFILTER_XT_MARK",
    "NF_NAT",
    "OVERLAY_FS",
];
/// The same, with version 1 of cgroups.
const DOCKER_OPTIONS_1: [&str; 3] = ["CGROUP_FREEZER", "CGROUP_DEVICE", "CGROUP_CPUACCT"];
/// The same, with version 2, on which devices are kept away by BPF.
const DOCKER_OPTIONS_2: [&str; 1] = ["CGROUP_BPF"];

/// What confines containers, services and workers.
const CONFINING_OPTIONS: [&str; 5] = ["USER_NS", "CGROUP_PIDS", "CFS_BANDWIDTH", "SECCOMP_FILTER", "SECURITY_LANDLOCK"];

const NAMESPACES: [&str; 5] = ["ipc", "mnt", "net", "pid", "uts"];
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Whether any check asks for that option.
pub(crate) fn is_asked_for(option: &str) -> bool {
    let lists: [&[&str]; 4] = [&DOCKER_OPTIONS, &DOCKER_OPTIONS_1, &DOCKER_OPTIONS_2, &CONFINING_OPTIONS];
    lists.iter().any(|list| list.contains(&option))
}

pub(super) fn judge(on: &On<'_>) -> Vec<Verdict> {
    let mut verdicts = vec![version(on)];
    if on.is(&[Purpose::Host, Purpose::Vm, Purpose::Build]) {
        verdicts.extend([options(on), namespaces(on), overlay(on), bridge(on)]);
    }
    verdicts.push(cgroups(on));
    // Images are built without any worker.
    if on.purpose != Purpose::Build {
        verdicts.extend([seccomp(on), landlock_wall(on)]);
    }
    verdicts
}

fn newer_kernel(on: &On<'_>) -> &'static str {
    match on.purpose {
        Purpose::Container => "on the host: sudo scripts/install-kernel, then a reboot",
        Purpose::Host | Purpose::Vm | Purpose::Build | Purpose::Service => "sudo scripts/install-kernel, then a reboot",
    }
}

fn version(on: &On<'_>) -> Verdict {
    let ((major, minor), (kept_major, kept_minor)) = (KERNEL_MIN, KERNEL_MAINTAINED);
    let check = Check::new(
        "kernel",
        "version",
        format!("{major}.{minor} or newer; {kept_major}.{kept_minor} or newer to be kept up"),
        format!(
            "the workers' sandbox needs filters of system calls as {major}.{minor} brought them; before \
             {kept_major}.{kept_minor} nobody mends faults any more"
        ),
    );
    let release = match on.facts.kernel.release.known() {
        Ok(release) => release,
        Err(because) => return check.unknown(because),
    };
    match number(release) {
        None => check.skipped(format!("not understood: {release}")),
        Some(number) if number < KERNEL_MIN => check.fail(release, newer_kernel(on)),
        Some(number) if number < KERNEL_MAINTAINED => check.warn(release, newer_kernel(on)),
        Some(_) => check.pass(release),
    }
}

/// Major and minor: `5.10.0-28-amd64` is 5 and 10.
fn number(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn options(on: &On<'_>) -> Verdict {
    let survey = on.facts.kernel.cgroups.known().ok();
    let ours: &[&str] = match survey {
        Some(survey) if versions(survey) == [2] => &DOCKER_OPTIONS_2,
        Some(_) => &DOCKER_OPTIONS_1,
        None => &[],
    };
    let count = DOCKER_OPTIONS.len() + ours.len();
    let check = Check::new(
        "kernel",
        "options for Docker",
        format!("{count} options, built in or as modules"),
        "the engine makes containers of namespaces and cgroups, and publishes ports by a bridge and netfilter",
    );
    let options = match on.facts.kernel.options.known() {
        Ok(options) => options,
        Err(because) => return check.unknown(because),
    };
    let missing = DOCKER_OPTIONS.iter().chain(ours).filter(|name| !options.set.contains_key(**name));
    let missing: Vec<String> = missing.map(|name| format!("CONFIG_{name}")).collect();
    let file = options.file.display();
    if missing.is_empty() {
        return check.pass(format!("all of them, by {file}"));
    }
    let found = format!("missing, by {file}: {}", missing.join(", "));
    if super::docker::is_there(on) || on.purpose == Purpose::Build {
        check.fail(found, newer_kernel(on))
    } else {
        check.warn(found, newer_kernel(on))
    }
}

fn namespaces(on: &On<'_>) -> Verdict {
    let check = Check::new("kernel", "namespaces", NAMESPACES.join(", "), "they are what containers are made of");
    match on.facts.kernel.namespaces.known() {
        Err(because) => check.unknown(because),
        Ok(found) => {
            let missing: Vec<&str> =
                NAMESPACES.into_iter().filter(|name| !found.iter().any(|one| one == name)).collect();
            if missing.is_empty() {
                check.pass(found.join(", "))
            } else {
                check.fail(format!("missing: {}", missing.join(", ")), newer_kernel(on))
            }
        }
    }
}

fn overlay(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "kernel",
        "overlayfs",
        "overlay among the file systems, or as a module",
        "Docker keeps images as layers on top of each other; without it each container is a whole copy",
    );
    let kernel = &on.facts.kernel;
    let is_module = kernel.options.known().is_ok_and(|options| options.set.contains_key("OVERLAY_FS"));
    match kernel.filesystems.known() {
        Ok(known) if known.iter().any(|name| name == "overlay") => check.pass("it is there"),
        Ok(_) if is_module => check.pass("it is a module, which is loaded when it is needed"),
        Ok(_) => check.warn("it is not there", "sudo modprobe overlay, or sudo scripts/install-kernel"),
        Err(because) => check.unknown(because),
    }
}

fn bridge(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "kernel",
        "bridge netfilter",
        "net.bridge.bridge-nf-call-iptables = 1",
        "rules between containers of one network, and their published ports, hold only if packets that cross a bridge \
         meet them",
    );
    let kernel = &on.facts.kernel;
    let is_module = kernel.options.known().is_ok_and(|options| options.set.contains_key("BRIDGE_NETFILTER"));
    match kernel.bridge_netfilter.known() {
        Ok(true) => check.pass("1"),
        Ok(false) => check.warn("0", "sudo sysctl net.bridge.bridge-nf-call-iptables=1"),
        Err(_) if is_module => check.pass("br_netfilter is not loaded yet; the engine does that"),
        Err(because) => check.unknown(because),
    }
}

/// The versions of cgroups that have any controller.
fn versions(survey: &Survey) -> Vec<u8> {
    let mut versions: Vec<u8> =
        survey.trees.iter().filter(|tree| !tree.controllers.is_empty()).map(|tree| tree.version).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

fn cgroups(on: &On<'_>) -> Verdict {
    let asked = on.config.map(asked_of_cgroups).unwrap_or_default();
    // Docker wants them all for its containers; by ourselves we want what the configuration names.
    let is_for_docker = on.is(&[Purpose::Host, Purpose::Vm, Purpose::Build]);
    let wanted = if is_for_docker { CONTROLLERS.to_vec() } else { asked.clone() };
    let names = if wanted.is_empty() { "no service asks for any".to_owned() } else { wanted.join(", ") };
    let check = Check::new(
        "kernel",
        "cgroups",
        format!("version 1 or 2, with: {names}"),
        if is_for_docker {
            "limits of memory, CPU and processes are kept by cgroups"
        } else {
            "services have limits of their own (services.NAME.cgroup), which take groups that we may make"
        },
    );
    let survey = match on.facts.kernel.cgroups.known() {
        Ok(survey) => survey,
        Err(because) => return check.unknown(because),
    };
    let has = |name: &str| {
        let mut trees = survey.trees.iter().filter(|tree| tree.controllers.iter().any(|one| one == name));
        trees.any(|tree| is_for_docker || tree.writable)
    };
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !has(name)).collect();
    let found = match &*versions(survey) {
        [] => "no controllers".to_owned(),
        [one] => format!("version {one}: {}", controllers(survey)),
        _ => format!("versions 1 and 2: {}", controllers(survey)),
    };
    match (&*missing, on.purpose) {
        ([], _) => check.pass(found),
        (missing, Purpose::Container) => check.warn(
            format!("not to be had here: {} ({found})", missing.join(", ")),
            "leave limits to docker run (--memory, --cpus, --pids-limit), or give the container a cgroup that it may \
             write",
        ),
        (missing, Purpose::Service) => check.warn(
            format!("not to be had here: {} ({found})", missing.join(", ")),
            "install the drop-in systemd/delegate.conf, then: systemctl daemon-reload && systemctl restart torus",
        ),
        (missing, Purpose::Host | Purpose::Vm | Purpose::Build) => check.warn(
            format!("missing: {} ({found})", missing.join(", ")),
            "boot with cgroup_enable=memory on the kernel's command line, or mount them: apt-get install cgroupfs-mount",
        ),
    }
}

fn controllers(survey: &Survey) -> String {
    let mut names: Vec<&str> = survey.trees.iter().flat_map(|tree| &tree.controllers).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// The controllers that services ask for.
fn asked_of_cgroups(config: &Config) -> Vec<&'static str> {
    let limits = || config.services.values().map(|service| &service.confine.cgroup);
    let asked = [
        limits().any(|limits| limits.cpu_percent_max.is_some()),
        limits().any(|limits| limits.memory_bytes_max.is_some()),
        limits().any(|limits| limits.pids_max.is_some()),
    ];
    CONTROLLERS.into_iter().zip(asked).filter_map(|(name, asked)| asked.then_some(name)).collect()
}

fn seccomp(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "kernel",
        "seccomp",
        "filters of system calls (CONFIG_SECCOMP_FILTER)",
        "whoever takes a worker over by a fault of it is shut in by that filter",
    );
    match on.facts.kernel.seccomp.known() {
        Ok(true) => check.pass("it takes filters"),
        Ok(false) => check.fail_if(on.needs_sandbox(), "this kernel has none", newer_kernel(on)),
        Err(because) => check.unknown(because),
    }
}

fn landlock_wall(on: &On<'_>) -> Verdict {
    let runs_hello = on
        .config
        .is_some_and(|config| config.services.values().any(|service| matches!(service.kind, ServiceKind::Worker(_))));
    let check = Check::new(
        "kernel",
        "landlock",
        if runs_hello { "version 4 or newer (Linux 6.7)" } else { "version 1 or newer (Linux 5.13)" },
        "a second wall around each worker: no files, and for the hello worker no port but the bus's",
    );
    let needed = on.needs_sandbox();
    let there = if on.purpose == Purpose::Container { "on the host: " } else { "" };
    match on.facts.kernel.landlock_version.known() {
        Ok(version) if runs_hello && *version < LANDLOCK_WITH_PORTS => {
            let found = format!("version {version}, which knows no ports");
            check.fail_if(needed, found, format!("{there}a kernel from 6.7 on (Debian: backports; Ubuntu: HWE)"))
        }
        Ok(version) => check.pass(format!("version {version}")),
        Err(because) => {
            let mend = "a kernel from 5.13 on, booted with landlock among the modules of lsm=";
            check.fail_if(needed, because, format!("{there}{mend}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `scripts/install-kernel` goes by.
    const SCRIPT: &str = include_str!("../../../scripts/lib/kernel.sh");

    #[test]
    fn the_script_that_installs_a_kernel_wants_what_is_checked() {
        let (major, minor) = KERNEL_MAINTAINED;
        assert!(SCRIPT.lines().any(|line| line == format!("kernel_min={major}.{minor}")), "{SCRIPT}");
        let (_, list) = SCRIPT.split_once("kernel_options=(").unwrap();
        let (list, _) = list.split_once(')').unwrap();
        assert_eq!(list.split_whitespace().collect::<Vec<_>>(), DOCKER_OPTIONS);
    }
}
