//! Docker's engine: whether it is there, answers, and is set up so that containers with Torus live well.

use super::{Check, On, Verdict};
use crate::preflight::{Engine, Purpose};

/// The first engine with version 2 of cgroups, and with a seccomp profile that newer C libraries run under.
const VERSION_MIN: (u32, u32) = (20, 10);
/// Storage drivers that share layers instead of copying them, and are kept up.
const STORAGE: [&str; 5] = ["overlay2", "overlayfs", "fuse-overlayfs", "btrfs", "zfs"];

/// Whether an engine is installed or answers.
pub(super) fn is_there(on: &On<'_>) -> bool {
    on.facts.docker.program.is_some() || on.facts.docker.engine.known().is_ok()
}

pub(super) fn judge(on: &On<'_>) -> Vec<Verdict> {
    match on.purpose {
        Purpose::Container => vec![installed().skipped("a container has no engine of its own")],
        Purpose::Service => vec![installed().skipped("a service of systemd needs none")],
        Purpose::Host | Purpose::Vm | Purpose::Build => {
            let mut verdicts = vec![is_installed(on), answers(on)];
            verdicts.extend(match on.facts.docker.engine.known() {
                Ok(engine) => of(engine, on),
                Err(_) => Vec::new(),
            });
            verdicts
        }
    }
}

fn installed() -> Check {
    Check::new("docker", "installed", "Docker's engine", "images are built and containers run by it")
}

fn is_installed(on: &On<'_>) -> Verdict {
    let mend = "sudo scripts/install-docker";
    match &on.facts.docker.program {
        Some(program) => installed().pass(program.display().to_string()),
        None if is_there(on) => installed().pass("elsewhere: it answers"),
        None if on.purpose == Purpose::Build => installed().fail("no", mend),
        None => installed().skipped(format!("no; only containers need it ({mend})")),
    }
}

fn answers(on: &On<'_>) -> Verdict {
    let docker = &on.facts.docker;
    let socket = docker.socket.display();
    let check = Check::new(
        "docker",
        "engine",
        "an answer on its socket within 2 s",
        "a daemon that does not answer starts no container, and restarts none",
    );
    match docker.engine.known() {
        Ok(engine) => check.pass(format!("{socket} answers, API {}", engine.api_version)),
        Err(_) if !is_there(on) && on.purpose != Purpose::Build => check.skipped("no engine is installed"),
        Err(because) => {
            let mend = match because {
                because if because.starts_with("Permission denied") => "ask as root: sudo torus check".to_owned(),
                because if because.starts_with("it did not answer") => "sudo service docker restart".to_owned(),
                _ if docker.program.is_none() => "sudo scripts/install-docker".to_owned(),
                _ => "sudo service docker start".to_owned(),
            };
            let found =
                if docker.socket.as_os_str().is_empty() { because.to_owned() } else { format!("{socket}: {because}") };
            check.fail_if(on.purpose == Purpose::Build, found, mend)
        }
    }
}

fn of(engine: &Engine, on: &On<'_>) -> Vec<Verdict> {
    vec![
        version(engine),
        storage(engine),
        cgroup_driver(engine),
        seccomp(engine),
        rootless(engine),
        live_restore(engine, on),
    ]
}

fn version(engine: &Engine) -> Verdict {
    let (major, minor) = VERSION_MIN;
    let check = Check::new(
        "docker",
        "version",
        format!("{major}.{minor} or newer"),
        "older engines know no cgroups of version 2, and their seccomp profile breaks newer C libraries",
    );
    let mut parts = engine.version.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) < VERSION_MIN => {
            check.warn(&engine.version, "sudo scripts/install-docker --upstream")
        }
        (Some(_), Some(_)) => check.pass(&engine.version),
        _ => check.skipped(format!("not understood: {}", engine.version)),
    }
}

fn storage(engine: &Engine) -> Verdict {
    let check = Check::new(
        "docker",
        "storage driver",
        STORAGE.join(", "),
        "vfs copies every layer into every container; devicemapper and aufs are gone from newer engines",
    );
    let below = engine.backing_filesystem.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    let found = format!("{}{below}", engine.storage_driver);
    if STORAGE.contains(&&*engine.storage_driver) {
        check.pass(found)
    } else {
        check.warn(found, "set \"storage-driver\": \"overlay2\" in /etc/docker/daemon.json; its images are pulled anew")
    }
}

fn cgroup_driver(engine: &Engine) -> Verdict {
    let check = Check::new(
        "docker",
        "cgroup driver",
        "systemd or cgroupfs",
        "without one, --memory, --cpus and --pids-limit hold nothing",
    );
    let found = format!("{}, cgroups version {}", engine.cgroup_driver, engine.cgroup_version);
    match &*engine.cgroup_driver {
        "systemd" | "cgroupfs" => check.pass(found),
        _ if engine.cgroup_version == "2" => check.warn(
            found,
            "delegate controllers to users: Delegate=yes below [Service] in \
             /etc/systemd/system/user@.service.d/delegate.conf, then a reboot",
        ),
        _ => check.warn(found, "boot with version 2 of cgroups: systemd.unified_cgroup_hierarchy=1"),
    }
}

fn seccomp(engine: &Engine) -> Verdict {
    let check = Check::new(
        "docker",
        "seccomp profile",
        "the engine's own, or another",
        "it keeps containers from calls of the kernel that no container needs",
    );
    if engine.seccomp {
        check.pass("on")
    } else {
        check.warn("off", "sudo scripts/install-docker --upstream, on a kernel with CONFIG_SECCOMP_FILTER")
    }
}

fn rootless(engine: &Engine) -> Verdict {
    let check = Check::new(
        "docker",
        "rootless",
        "either",
        "an engine without root's rights cannot bind ports below 1024, and clients come from its own address",
    );
    check.pass(if engine.rootless { "yes" } else { "no" })
}

fn live_restore(engine: &Engine, on: &On<'_>) -> Verdict {
    let check = Check::new(
        "docker",
        "live-restore",
        "on",
        "without it, an update or a crash of the engine ends the bus and all else that runs in containers",
    );
    match (engine.live_restore, on.purpose) {
        (true, _) => check.pass("on"),
        (false, Purpose::Build) => check.skipped("off; nothing runs here for long"),
        (false, _) => {
            check.warn("off", "set \"live-restore\": true in /etc/docker/daemon.json, then: sudo service docker reload")
        }
    }
}
