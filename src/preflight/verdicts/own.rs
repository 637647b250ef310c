//! Torus itself: configuration, where it is reached, data directory, control socket.

use super::{Check, On, Verdict};
use crate::preflight::{DataLock, Purpose};

pub(super) fn judge(on: &On<'_>) -> Vec<Verdict> {
    let mut verdicts = vec![configuration(on)];
    if on.purpose == Purpose::Build {
        return verdicts;
    }
    if on.purpose == Purpose::Container {
        verdicts.push(reach(on));
    }
    verdicts.extend([data(on), control(on)]);
    verdicts
}

fn configuration(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "torus",
        "configuration",
        "one that can be run",
        "torus run refuses what is wrong, instead of running something else",
    );
    match on.facts.torus.configuration.known() {
        Ok(origin) => check.pass(origin),
        Err(problems) => {
            check.fail(problems, "torus config check FILE tells each line; docs/configuration.md each key")
        }
    }
}

fn reach(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "torus",
        "reach",
        "bus.bind beyond loopback",
        "a container's loopback is its own: ports that Docker publishes do not lead there",
    );
    let Some(config) = on.config else { return check.skipped("the configuration is wrong") };
    match config.bus.as_ref().filter(|bus| bus.requests.is_some()) {
        None => check.skipped("there is no bus"),
        Some(bus) if bus.bind.is_loopback() => check.warn(
            format!("{}: only who is in this container reaches the bus", bus.bind),
            "set bus.bind: 0.0.0.0 and bus.allow_insecure: true, and publish ports to whom you trust",
        ),
        Some(bus) => check.pass(bus.bind.to_string()),
    }
}

fn data(on: &On<'_>) -> Verdict {
    let (torus, data) = (&on.facts.torus, &on.facts.torus.data);
    let path = data.path.display();
    let check = Check::new(
        "torus",
        "data directory",
        format!("{path}, written by nobody but its owner, and lockable"),
        "what others may write cannot be trusted, and two who write at once destroy it",
    );
    let found = format!("uid {}, mode {:o}", data.owner, data.mode);
    let is_ours = on.is(&[Purpose::Container, Purpose::Service]);
    if !data.exists {
        return match on.purpose {
            Purpose::Container => check.skipped("there is none; this version of torus keeps nothing on disk"),
            Purpose::Service => check.warn("there is none", "StateDirectory=torus in the unit"),
            Purpose::Host | Purpose::Vm | Purpose::Build => check.warn("there is none", "sudo scripts/prepare-host"),
        };
    }
    let chown = match on.purpose {
        Purpose::Container => format!("give the volume at {path} to uid {}", torus.uid),
        _ => format!("sudo chown torus: {path} && sudo chmod 0750 {path}"),
    };
    match data.lock.known() {
        _ if data.mode & 0o022 != 0 => check.fail_if(on.keeps_data(), format!("{found}: others may write"), chown),
        _ if is_ours && (data.owner != torus.uid || !data.writable) => {
            check.warn(format!("{found}: not of uid {}, who asks", torus.uid), chown)
        }
        Ok(DataLock::Free) => check.pass(found),
        Ok(DataLock::Held) => match &torus.running {
            Some(running) => check.pass(format!("{found}, locked by the torus that runs here, pid {}", running.pid)),
            None => check.fail_if(
                on.keeps_data(),
                format!("{found}: somebody has locked it"),
                format!("sudo fuser -v {path} tells who; stop it, or name another directory"),
            ),
        },
        Err(because) => check.warn(
            format!("{found}: it cannot be locked: {because}"),
            format!("use a file system with locks at {path}"),
        ),
    }
}

fn control(on: &On<'_>) -> Verdict {
    let torus = &on.facts.torus;
    let control = &torus.control;
    let path = control.directory.display();
    let check = Check::new(
        "torus",
        "control socket",
        format!("{path}, of this user and closed to others"),
        "torus status, restart, reload and the others ask there",
    );
    match (&control.problem, &torus.running) {
        (_, Some(running)) => check.pass(format!("torus {} answers there, pid {}", running.version, running.pid)),
        (None, None) => check.pass("it can be made there"),
        (Some(problem), None) if control.is_named => {
            check.fail(problem, "name a directory of this user's own by --runtime-dir or TORUS_RUNTIME_DIR")
        }
        (Some(problem), None) => check.pass(format!("{problem}; it will be one without a file")),
    }
}
