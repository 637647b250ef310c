//! Standard output, whatever it is: a file, a pipe, a socket, a terminal; one that is stuck, one that is gone.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use torus::sys::{pass, pipe};

use crate::house::{House, drain, lines, read_all};
use crate::support::PATIENCE;
use crate::support::inits::fresh_pids;

const LINES: &str = "exec seq 1 20000";

fn numbers(output: &[u8], end: &str) {
    let text = std::str::from_utf8(output).unwrap();
    let expected: String = (1..=20_000).map(|n| format!("a/1 | {n}{end}")).collect();
    assert!(text == expected, "{}", &text[..text.len().min(2000)]);
}

#[test]
fn a_file_is_appended_to() {
    let path = std::env::temp_dir().join(format!("torus-log-file-{}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    let mut house = House::new(json!({}), file.try_clone().unwrap());
    let source = house.attach("a", 1, "stdout");
    assert!(house.spawn(source, LINES).wait().unwrap().success());
    assert!(house.terminate().success());
    // Somebody who shares it, as the supervisor does, goes on behind what was written.
    file.write_all(b"after\n").unwrap();
    let text = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    numbers(text.strip_prefix(b"before\n").unwrap().strip_suffix(b"after\n").unwrap(), "\n");
}

#[test]
fn a_socket_is_written_to() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let reader = std::thread::spawn(|| drain(ours));
    let mut house = House::new(json!({}), theirs);
    let source = house.attach("a", 1, "stdout");
    assert!(house.spawn(source, LINES).wait().unwrap().success());
    assert!(house.terminate().success());
    numbers(&reader.join().unwrap(), "\n");
}

#[test]
fn a_pipe_that_somebody_made_non_blocking_is_waited_for() {
    let (stdout, reader) = read_all();
    pipe::do_not_wait(&stdout).unwrap();
    let mut house = House::new(json!({}), stdout);
    let source = house.attach("a", 1, "stdout");
    assert!(house.spawn(source, LINES).wait().unwrap().success());
    assert!(house.terminate().success());
    numbers(&reader.join().unwrap(), "\n");
}

#[test]
fn a_terminal_is_written_to_even_where_it_stops_writers_in_the_background() {
    let (stdout, reader) = read_all();
    // script(1) has a terminal for its command and copies what appears there. Workers lead process groups of their own,
    // which is the background to a terminal.
    let mut house = House::with(json!({}), stdout, |command| {
        command.env("RUN", "script -qefc \"stty tostop; set -m; $TORUS worker log & wait\" /dev/null");
    });
    let source = house.attach("a", 1, "stdout");
    assert!(house.spawn(source, LINES).wait().unwrap().success());
    assert!(house.leave().success());
    let output = reader.join().unwrap();
    // The shell may have the last word, about its job.
    let end = output.iter().position(|byte| *byte == b'[').unwrap_or(output.len());
    numbers(&output[..end], "\r\n");
}

#[test]
fn a_stuck_output_holds_no_writer_longer_than_its_bound() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut house = House::new(json!({"block_ms_max": 300}), writer);
    let source = house.attach("a", 1, "stdout");
    // 8 MB: more than the pipes and the queue hold. It tells the longest of its writes on a pipe of its own.
    let script = "import os, time\nlongest = 0\nfor n in range(80000):\n begin = time.monotonic()\n \
                  os.write(1, b'%099d\\n' % n)\n longest = max(longest, time.monotonic() - begin)\n\
                  os.write(2, b'%d' % (longest * 1000))";
    let (said, says) = std::io::pipe().unwrap();
    // The command keeps a copy of the pipe's end for as long as it lives.
    let mut writer =
        { Command::new("python3").args(["-c", script]).stdout(house.writer(source)).stderr(says).spawn().unwrap() };
    assert!(writer.wait().unwrap().success());
    let longest_ms: u64 = String::from_utf8(drain(said)).unwrap().parse().unwrap();
    // What is beyond the bound is the scheduler's; without a bound it would be for ever.
    assert!(longest_ms < 3000, "{longest_ms} ms");
    house.until("all is read", |house| house.counter("lines") == 80_000);
    assert!(house.counter("dropped.blocked") > 0);

    // It flows again: what was dropped is told, and what comes then is shown.
    let all = std::thread::spawn(|| drain(reader));
    house.until("it flows again", |house| house.counter("written") + house.counter("dropped.blocked") == 80_000);
    house.writer(source).write_all(b"and on\n").unwrap();
    assert!(house.terminate().success());
    let output = all.join().unwrap();
    let (shown, told) = lines(&output);
    assert_eq!((shown.len() as u64 + told, shown.last().copied()), (80_001, Some("a/1 | and on")));
    assert_eq!(told, house.counter("dropped.blocked"));
}

#[test]
fn a_stuck_output_does_not_keep_the_worker_from_ending() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut house = House::new(json!({"block_ms_max": 0}), writer);
    let source = house.attach("a", 1, "stdout");
    assert!(house.spawn(source, "yes | head -c 4000000").wait().unwrap().success());
    let begin = Instant::now();
    assert!(house.terminate().success());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn an_output_that_is_gone_is_counted_and_hurts_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut house = House::new(json!({}), writer);
    let source = house.attach("a", 1, "stdout");
    drop(reader);
    assert!(house.spawn(source, LINES).wait().unwrap().success());
    house.until("all is dropped", |house| house.counter("dropped.output") == 20_000);
    let mut socket = house.follow(&json!({"service": "a", "lines": 1, "follow": false}));
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert_eq!(text, "a/1 | 20000\n", "it goes on for those who ask");
    assert!(house.terminate().success());
}

#[test]
fn without_a_journal_lines_go_to_standard_output() {
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({"to": "journal"}), stdout);
    let journal_is_here = fs::exists("/run/systemd/journal/socket").unwrap();
    let source = house.attach("a", 1, "stdout");
    house.writer(source).write_all(b"where am I\n").unwrap();
    assert!(house.terminate().success());
    let expected: &[u8] = if journal_is_here { b"" } else { b"a/1 | where am I\n" };
    assert_eq!(reader.join().unwrap(), expected);
}

#[test]
fn lines_of_any_length_reach_the_journal_and_standard_output_when_it_is_gone() {
    let journal = directory_of_a_journal();
    fs::create_dir_all(&journal).unwrap();
    let receiver = UnixDatagram::bind(journal.join("socket")).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let (stdout, reader) = read_all();
    let other = json!({"to": "journal", "line_bytes_max": 1 << 20});
    let mut house = House::with(other, stdout, |command| {
        let begin = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                     mount --bind \"$JOURNAL\" /run/systemd/journal && exec \"$TORUS\" worker log";
        command.env("RUN", format!("{} sh -c '{begin}'", fresh_pids().join(" ")));
        command.env("JOURNAL", directory_of_a_journal()).env("TORUS_SANDBOX", "required");
    });
    let source = house.attach("a", 1, "stdout");
    let long = "x".repeat(1_000_000);
    for line in ["short", &long] {
        house.writer(source).write_all(format!("{line}\n").as_bytes()).unwrap();
        let entry = entry_of(&receiver);
        assert!(entry.contains(&format!("MESSAGE={line}\n")) && entry.contains("SYSLOG_IDENTIFIER=a\n"), "{entry}");
    }
    assert_eq!(house.counter("journal.refused"), 0);

    drop(receiver);
    house.writer(source).write_all(b"and on\n").unwrap();
    house.until("a refusal", |house| house.counter("journal.refused") == 1);
    let again = journal.join("again");
    let receiver = UnixDatagram::bind(&again).unwrap();
    receiver.set_nonblocking(true).unwrap();
    fs::rename(again, journal.join("socket")).unwrap();
    house.writer(source).write_all(b"it is back\n").unwrap();
    assert!(entry_of(&receiver).contains("MESSAGE=it is back\n"));
    assert!(house.leave().success());
    assert_eq!(reader.join().unwrap(), b"a | and on\n");
    fs::remove_dir_all(journal).unwrap();
}

fn directory_of_a_journal() -> PathBuf {
    std::env::temp_dir().join(format!("torus-journal-{}", std::process::id()))
}

/// The next entry, whether it comes in a packet or in a file.
fn entry_of(journal: &UnixDatagram) -> String {
    let begin = Instant::now();
    let mut packet = vec![0; 1 << 20];
    loop {
        match pass::receive(journal, &mut packet) {
            Ok(pass::Received::Packet { length, descriptors }) => {
                let Some(memory) = descriptors.into_iter().next() else {
                    return String::from_utf8(packet[..length].to_vec()).unwrap();
                };
                let mut memory = File::from(memory);
                memory.rewind().unwrap();
                let mut entry = String::new();
                memory.read_to_string(&mut entry).unwrap();
                return entry;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
        assert!(begin.elapsed() < PATIENCE, "no entry came");
    }
}
