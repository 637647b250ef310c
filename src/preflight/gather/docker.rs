//! Docker's engine: asked on its socket, in the few words of HTTP that this takes. Whoever does not answer in time, or not
//! to the point, is told as such.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::plain;
use crate::preflight::{Docker, Engine, Fact};
use crate::sys::net;

/// How long both answers may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer; a longer one is not believed.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Where the engine's program may be, in this order.
const PROGRAMS: [&str; 4] = ["/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd", "/snap/bin/dockerd"];

pub(super) fn gather() -> Docker {
    let program = PROGRAMS.into_iter().map(PathBuf::from).find(|path| path.is_file());
    let told = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = match told.strip_prefix("unix://") {
        Some(path) => PathBuf::from(path),
        None if told.is_empty() => default_socket(),
        None => {
            let engine = Fact::unknown(format!("DOCKER_HOST is {told}, and only Unix sockets are asked"));
            return Docker { program, socket: PathBuf::new(), engine };
        }
    };
    let engine = engine(&socket, Instant::now() + PATIENCE).map_err(|cause| told_by(&cause)).into();
    Docker { program, socket, engine }
}

/// The engine of the machine, else that of this user.
fn default_socket() -> PathBuf {
    let common = PathBuf::from("/var/run/docker.sock");
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(|place| Path::new(&place).join("docker.sock"));
    own.filter(|own| !common.exists() && own.exists()).unwrap_or(common)
}

fn told_by(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("it did not answer within {} s", PATIENCE.as_secs())
        }
        _ => plain(cause),
    }
}

fn engine(socket: &Path, deadline: Instant) -> io::Result<Engine> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Version {
        version: String,
        #[serde(default)]
        api_version: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    #[derive(Default)]
    struct Info {
        driver: String,
        driver_status: Option<Vec<Vec<String>>>,
        cgroup_driver: String,
        cgroup_version: Option<String>,
        security_options: Option<Vec<String>>,
        live_restore_enabled: bool,
        docker_root_dir: PathBuf,
    }
    let version: Version = get(socket, "/version", deadline)?;
    let info: Info = get(socket, "/info", deadline)?;
    let security = info.security_options.unwrap_or_default();
    let has = |name: &str| security.iter().any(|one| one.split(',').any(|part| part == name));
    let status = info.driver_status.unwrap_or_default();
    let backing = status.into_iter().find(|pair| pair.first().is_some_and(|key| key == "Backing Filesystem"));
    Ok(Engine {
        version: version.version,
        api_version: version.api_version,
        storage_driver: info.driver,
        backing_filesystem: backing.and_then(|pair| pair.into_iter().nth(1)),
        cgroup_driver: info.cgroup_driver,
        // Engines before 20.10 know but one.
        cgroup_version: info.cgroup_version.unwrap_or_else(|| "1".to_owned()),
        rootless: has("name=rootless"),
        live_restore: info.live_restore_enabled,
        seccomp: has("name=seccomp"),
        root: info.docker_root_dir,
    })
}

/// Asks for one thing, over a connection of its own.
fn get<T: DeserializeOwned>(socket: &Path, path: &str, deadline: Instant) -> io::Result<T> {
    let mut stream = net::connect_unix_now(socket)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let body = body(&answer(stream, deadline)?)?;
    serde_json::from_slice(&body)
        .map_err(|cause| no_engine(&format!("its answer to {path} is not understood: {cause}")))
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// All that comes until the other side has said all.
fn answer(mut stream: UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut piece = [0; 8192];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut piece)? {
            0 => return Ok(answer),
            read => answer.extend_from_slice(&piece[..read]),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(no_engine("its answer is too long"));
        }
    }
}

/// What an answer of HTTP/1.1 carries (RFC 9112), if it is a success.
fn body(answer: &[u8]) -> io::Result<Vec<u8>> {
    let strange = || no_engine("its answer is no HTTP");
    let end = memchr::memmem::find(answer, b"\r\n\r\n").ok_or_else(strange)?;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or_else(strange)?;
    if status != "200" {
        return Err(no_engine(&format!("it answers with status {status}")));
    }
    let chunked = lines.any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    if chunked { unchunked(body).ok_or_else(strange) } else { Ok(body.to_vec()) }
}

/// The chunks of a body put together; `None` if the last one is missing.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = memchr::memmem::find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        let chunk = rest.get(end + 2..)?;
        whole.extend_from_slice(chunk.get(..size)?);
        rest = chunk.get(size + 2..)?;
    }
}

fn no_engine(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const VERSION: &str = r#"{"Version":"20.10.24+dfsg1","ApiVersion":"1.41"}"#;
    const INFO: &str = r#"{"Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"]],"CgroupDriver":"systemd",
        "CgroupVersion":"2","SecurityOptions":["name=seccomp,profile=default","name=rootless"],
        "LiveRestoreEnabled":true,"DockerRootDir":"/var/lib/docker"}"#;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let place = std::env::temp_dir().join(format!("torus-docker-{name}-{}", std::process::id()));
            std::fs::create_dir(&place).unwrap();
            Self(place)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("docker.sock")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// An engine that gives these answers, one to each connection.
    fn asked(name: &str, answers: Vec<String>) -> Result<Engine, String> {
        let place = Place::new(name);
        let listener = UnixListener::bind(place.socket()).unwrap();
        let serving = thread::spawn(move || {
            for answer in answers {
                let (mut client, _) = listener.accept().unwrap();
                let _ = client.read(&mut [0; 1024]).unwrap();
                client.write_all(answer.as_bytes()).unwrap();
            }
        });
        let engine = engine(&place.socket(), Instant::now() + PATIENCE).map_err(|cause| told_by(&cause));
        serving.join().unwrap();
        engine
    }

    #[test]
    fn an_engine_is_understood_whole_or_in_chunks() {
        let whole = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{VERSION}");
        let (first, second) = INFO.split_at(17);
        let chunks = format!("{:x}\r\n{first}\r\n{:X};x=y\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
        let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let engine = asked("whole", vec![whole, chunked]).unwrap();
        assert_eq!(
            (&*engine.version, &*engine.storage_driver, &*engine.cgroup_version),
            ("20.10.24+dfsg1", "overlay2", "2")
        );
        assert_eq!(engine.backing_filesystem.as_deref(), Some("extfs"));
        assert!(engine.rootless && engine.seccomp && engine.live_restore);
    }

    #[test]
    fn what_is_no_engine_is_told() {
        let told = |name, answer: &str| asked(name, vec![answer.to_owned()]).unwrap_err();
        assert_eq!(told("smtp", "220 mail\r\n"), "its answer is no HTTP");
        assert_eq!(told("403", "HTTP/1.1 403 Forbidden\r\n\r\n"), "it answers with status 403");
        assert!(told("json", "HTTP/1.1 200 OK\r\n\r\n{").starts_with("its answer to /version is not understood"));
        let cut = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{";
        assert_eq!(told("cut", cut), "its answer is no HTTP");
    }

    #[test]
    fn an_engine_that_is_dead_is_not_waited_for() {
        let place = Place::new("dead");
        let ask =
            || engine(&place.socket(), Instant::now() + Duration::from_millis(50)).map_err(|cause| told_by(&cause));
        assert_eq!(ask().unwrap_err(), "there is no such socket");
        let listener = UnixListener::bind(place.socket()).unwrap();
        assert_eq!(ask().unwrap_err(), "it did not answer within 2 s");
        // Nobody accepts, and the queue fills up: then there is no connecting either.
        let waiting: Vec<_> = (0..10_000).map_while(|_| net::connect_unix_now(&place.socket()).ok()).collect();
        assert!(waiting.len() < 10_000);
        assert_eq!(ask().unwrap_err(), "it did not answer within 2 s");
        drop(listener);
        assert_eq!(ask().unwrap_err(), "nobody listens there");
    }
}
