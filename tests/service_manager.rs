//! What a service manager gives and wants, by systemd's conventions: sockets that it holds, and signs of life.

mod support;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{PATIENCE, TORUS, Torus};

/// Stands in for the service manager until it becomes the program: binds a socket at each address, `NAME=IP:PORT`, writes
/// them to a file, and passes them.
const PASS: &str = r#"
import os, socket, sys
file, count = sys.argv[1], int(sys.argv[2])
sockets, command = sys.argv[3:3 + count], sys.argv[3 + count:]
held = []
for passed in sockets:
    ip, port = passed.split("=")[1].split(":")
    held.append(socket.create_server((ip, int(port)), backlog=64))
with open(file, "w") as bound:
    bound.write("\n".join("%s:%d" % one.getsockname() for one in held))
high = [os.dup2(one.fileno(), 100 + n, inheritable=False) for n, one in enumerate(held)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n, inheritable=True)
if count > 0:
    os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()))
    os.environ["LISTEN_FDNAMES"] = ":".join(passed.split("=")[0] for passed in sockets)
os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execvp(command[0], command)
"#;

/// Starts a torus to which these sockets are passed.
fn passing(sockets: &[&str], configuration: &str, prepare: impl FnOnce(&mut Command)) -> Torus {
    let bound = Torus::place();
    let (file, count) = (bound.join("bound"), sockets.len().to_string());
    let mut words = vec!["python3", "-c", PASS, file.to_str().unwrap(), &count];
    words.extend(sockets);
    let torus = Torus::start_below(&words, configuration, prepare);
    let begin = std::time::Instant::now();
    while !fs::exists(torus.directory.join("bound")).unwrap() {
        let _ = fs::rename(&file, torus.directory.join("bound"));
        assert!(begin.elapsed() < PATIENCE, "nothing was bound\nlog:\n{}", torus.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::remove_dir(bound).unwrap();
    torus
}

/// Where the sockets were bound that were passed.
fn bound(torus: &Torus) -> Vec<String> {
    torus.file("bound").lines().map(str::to_owned).collect()
}

fn bus(ports: [&str; 2]) -> String {
    let [front, back] = ports;
    format!("bus: {{ requests: {{ front: {front}, back: {back} }} }}\nservices: {{ hello: {{ worker: hello }} }}")
}

fn is_running(status: &Value) -> bool {
    status["state"] == "running"
}

#[test]
fn passed_sockets_are_the_doors_of_the_bus_and_stay_so_over_reload_and_upgrade() {
    let torus = passing(&["requests-back=127.0.0.1:0", "requests-front=127.0.0.1:0"], &bus(["0", "0"]), |_| {});
    torus.until("everything runs", is_running);
    let [back, front] = <[String; 2]>::try_from(bound(&torus)).unwrap();
    assert_eq!([torus.front(), torus.back()], [format!("tcp://{front}"), format!("tcp://{back}")]);
    let answers = || {
        let asked = Command::new(TORUS).args(["request", "Hello", "--endpoint", &torus.front()]).output().unwrap();
        assert!(String::from_utf8_lossy(&asked.stdout).ends_with(": World\n"), "{asked:?}\nlog:\n{}", torus.log());
    };
    answers();

    for round in 0..2 {
        torus.rewrite(&bus(["0", "1"]));
        let (code, said) = torus.command(&["reload"]);
        let words = format!(
            "cannot listen on 127.0.0.1:1 for back-ends: systemd holds the socket \"requests-back\" and passed it at {back}"
        );
        assert!(code == Some(1) && said.contains(&words), "{said}");
        answers();
        let port = front.rsplit_once(':').unwrap().1;
        torus.rewrite(&bus([port, "0"]));
        assert_eq!(torus.command(&["reload"]).0, Some(0), "the same in other words\nlog:\n{}", torus.log());
        answers();
        if round == 0 {
            let (code, said) = torus.command(&["upgrade", "--binary", TORUS]);
            assert_eq!(code, Some(0), "{said}");
        }
    }
}

#[test]
fn a_passed_socket_elsewhere_than_configured_is_an_error_that_names_both() {
    let mut torus = passing(&["requests-front=127.0.0.1:0"], &bus(["1", "0"]), |_| {});
    let (status, _) = torus.end();
    assert_eq!(status.code(), Some(1));
    let words = format!(
        "cannot listen on 127.0.0.1:1 for clients: systemd holds the socket \"requests-front\" and passed it at {}",
        bound(&torus)[0]
    );
    assert!(torus.log().contains(&words), "{}", torus.log());
}

#[test]
fn a_passed_socket_that_nothing_wants_is_closed_with_a_warning() {
    let sockets = ["web=127.0.0.1:0", "requests-front=127.0.0.1:0"];
    let torus = passing(&sockets, "services: { idle: { command: [sleep, '1000'] } }", |_| {});
    torus.until("everything runs", is_running);
    let [web, front] = <[String; 2]>::try_from(bound(&torus)).unwrap();
    for words in ["systemd passed a socket \"web\" that nothing wants: closed", "the bus does not listen there: closed"]
    {
        assert!(torus.log().contains(words), "{}", torus.log());
    }
    for address in [web, front] {
        let refused = std::net::TcpStream::connect(&address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{address}");
    }
    let (code, said) = torus.command(&["upgrade", "--binary", TORUS]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn signs_of_life_are_given_when_they_are_wanted_over_an_upgrade_and_until_the_end() {
    let place = Torus::place();
    let manager = UnixDatagram::bind(place.join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who does not heed SIGTERM makes the stop last.
    let stubborn = "services: { stubborn: { command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1; done'], stop: { timeout_ms: 2000 } } }";
    let mut torus = passing(&[], stubborn, |command| {
        command.env("NOTIFY_SOCKET", place.join("notify")).env("WATCHDOG_USEC", "200000");
    });
    torus.until("everything runs", is_running);
    until_told(&manager, "READY=1");
    assert_eq!(told(&manager), "WATCHDOG=1");
    assert_eq!(told(&manager), "WATCHDOG=1");
    let (code, said) = torus.command(&["upgrade", "--binary", TORUS]);
    assert_eq!(code, Some(0), "{said}");
    drain(&manager);
    assert_eq!(told(&manager), "WATCHDOG=1");

    let stat = format!("/proc/{}/stat", torus.until("it runs", is_running)["pid"]);
    torus.signal("STOP");
    while !fs::read_to_string(&stat).unwrap().contains(") T ") {
        std::thread::sleep(Duration::from_millis(1));
    }
    drain(&manager);
    manager.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert_eq!(manager.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock, "who does not run, lives");
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    torus.signal("CONT");

    torus.signal("TERM");
    until_told(&manager, "STOPPING=1");
    assert_eq!(told(&manager), "WATCHDOG=1");
    // Nobody reads any more: that keeps nobody from ending.
    torus.end();
    clear(&place);
}

#[test]
fn a_manager_that_has_no_room_for_a_word_hears_it_later() {
    let place = Torus::place();
    let manager = UnixDatagram::bind(place.join("notify")).unwrap();
    let others = UnixDatagram::unbound().unwrap();
    others.set_nonblocking(true).unwrap();
    while others.send_to(b"STATUS=busy", place.join("notify")).is_ok() {}
    let torus = passing(&[], "services: { idle: { command: [sleep, '1000'] } }", |command| {
        command.env("NOTIFY_SOCKET", place.join("notify"));
    });
    torus.until_log("the service manager takes no word now");
    torus.until("everything runs", is_running);
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    until_told(&manager, "READY=1");
    clear(&place);
}

/// The next word.
fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = manager.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
}

fn until_told(manager: &UnixDatagram, word: &str) {
    while told(manager) != word {}
}

/// Takes what is there.
fn drain(manager: &UnixDatagram) {
    manager.set_nonblocking(true).unwrap();
    while manager.recv(&mut [0; 64]).is_ok() {}
    manager.set_nonblocking(false).unwrap();
}

fn clear(place: &Path) {
    fs::remove_dir_all(place).unwrap();
}
