//! What goes in comes out: whole, counted, in the format that was asked for.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};

use crate::house::{House, lines, read_all};

#[test]
fn lines_of_twenty_writers_are_never_mixed() {
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({}), stdout);
    let sources: Vec<usize> = (0..20).map(|n| house.attach(&format!("s{n}"), 1, "stdout")).collect();
    let writers: Vec<_> = sources
        .iter()
        // Written in blocks of 4 KiB, which end within a line.
        .map(|&n| house.spawn(n, &format!("exec seq -f 'w{n} %.0f and some words more' 1 3000")))
        .collect();
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    assert!(house.terminate().success());
    let output = reader.join().unwrap();
    let mut next = BTreeMap::new();
    for line in lines(&output).0 {
        let (service, text) = line.split_once("/1 | ").unwrap();
        let at = next.entry(service.to_owned()).or_insert(1);
        assert_eq!(text, format!("w{} {at} and some words more", &service[1..]));
        *at += 1;
    }
    assert!(next.len() == 20 && next.values().all(|next| *next == 3001), "{next:?}");
    assert_eq!((house.counter("lines"), house.counter("written")), (60_000, 60_000));
}

/// A million lines of 100 bytes.
const FLOOD: &str = "yes \"$(seq -s. 1 37 | cut -c1-99)\" | head -n 1000000";

#[test]
fn a_flood_of_100_megabytes_is_shown_to_the_last_line() {
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({}), stdout);
    let source = house.attach("flood", 1, "stdout");
    assert!(house.spawn(source, FLOOD).wait().unwrap().success());
    assert!(house.terminate().success());
    let output = reader.join().unwrap();
    let (shown, dropped) = lines(&output);
    assert_eq!((shown.len(), dropped, house.counter("bytes")), (1_000_000, 0, 100_000_000));
    assert!(shown.iter().all(|line| line.len() == "flood/1 | ".len() + 99));
}

#[test]
fn a_flood_beyond_its_rate_is_dropped_counted_and_told() {
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({"rate_lines_per_s": 10_000, "burst_lines": 5_000}), stdout);
    let source = house.attach("flood", 1, "stdout");
    let other = house.attach("calm", 1, "stdout");
    house.writer(other).write_all(b"one\n").unwrap();
    assert!(house.spawn(source, FLOOD).wait().unwrap().success());
    house.writer(other).write_all(b"two\n").unwrap();
    assert!(house.terminate().success());
    let output = reader.join().unwrap();
    let (shown, told) = lines(&output);
    let calm = shown.iter().filter(|line| line.starts_with("calm/1 | ")).count() as u64;
    let flood = shown.len() as u64 - calm;
    assert_eq!((calm, flood + told), (2, 1_000_000));
    assert!(flood >= 5_000 && told > 0);
    assert_eq!(house.counter("dropped.rate"), told);
    assert_eq!((house.counter("dropped_of.flood"), house.counter("dropped_of.calm")), (told, 0));
}

#[test]
fn json_tells_all_about_a_line_and_loses_no_byte() {
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({"format": "json", "line_bytes_max": 64}), stdout);
    let out = house.attach("hello", 2, "stdout");
    let err = house.attach("hello", 2, "stderr");
    house.writer(out).write_all(b"nul \0 quote \" end\n").unwrap();
    house.until("one line", |house| house.counter("written") == 1);
    house.writer(err).write_all(b"latin \xe9\n").unwrap();
    house.until("two lines", |house| house.counter("written") == 2);
    house.writer(out).write_all(&[&[b'x'; 100][..], b"\n"].concat()).unwrap();
    assert!(house.terminate().success());
    let output = reader.join().unwrap();
    let objects: Vec<Value> = output
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let first = &objects[0];
    assert_eq!(first["line"], "nul \0 quote \" end");
    assert_eq!((&first["service"], &first["instance"], &first["pid"]), (&json!("hello"), &json!(2), &json!(123)));
    let time = first["ts"].as_str().unwrap();
    assert!(time.len() == "2026-01-31T12:00:00.123456Z".len() && time.ends_with('Z'), "{time}");
    assert_eq!((&objects[1]["stream"], &objects[1]["line_base64"]), (&json!("stderr"), &json!("bGF0aW4g6Q==")));
    assert_eq!((&objects[2]["line"], &objects[2]["more"]), (&json!("x".repeat(64)), &json!(true)));
    assert_eq!((&objects[3]["line"], &objects[3]["continued"]), (&json!("x".repeat(36)), &json!(true)));
    assert_eq!((objects.len(), house.counter("split")), (4, 1));
}

#[test]
fn text_leaves_bytes_as_they_are_and_marks_pieces() {
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({"line_bytes_max": 64}), stdout);
    let source = house.attach("hello", 1, "stdout");
    house.writer(source).write_all(&[b"\0\xff\x1b[0m\n".as_slice(), &[b'x'; 100], b"\n"].concat()).unwrap();
    assert!(house.terminate().success());
    let long = format!("hello/1 | {}\nhello/1 + {}\n", "x".repeat(64), "x".repeat(36));
    assert_eq!(reader.join().unwrap(), [b"hello/1 | \0\xff\x1b[0m\n".as_slice(), long.as_bytes()].concat());
}

#[test]
fn last_words_are_a_line_and_a_new_process_begins_its_own() {
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({"format": "json"}), stdout);
    let source = house.attach("hello", 1, "stdout");
    house.writer(source).write_all(b"last words").unwrap();
    house.tell(&json!({"ended": {"sources": [source]}}), &[]);
    house.until("the last words", |house| house.counter("written") == 1);
    house.writer(source).write_all(b"said before its pid is known\n").unwrap();
    house.until("a line", |house| house.counter("written") == 2);
    house.tell(&json!({"pid": {"source": source, "pid": 456}}), &[]);
    house.writer(source).write_all(b"first words\n").unwrap();
    house.tell(&json!({"detach": {"source": source}}), &[]);
    house.until("the first words", |house| house.counter("written") == 3);
    assert!(house.terminate().success());
    let output = String::from_utf8(reader.join().unwrap()).unwrap();
    let objects: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = objects.iter().map(|object| (&object["line"], &object["pid"])).collect();
    assert_eq!(
        told,
        [
            (&json!("last words"), &json!(123)),
            (&json!("said before its pid is known"), &json!(null)),
            (&json!("first words"), &json!(456))
        ]
    );
}

#[test]
fn packets_without_meaning_or_descriptor_are_refused() {
    let (stdout, _reader) = read_all();
    let mut house = House::new(json!({}), stdout);
    house.tell(&json!({"later": {}}), &[]);
    house.tell(&json!({"attach": {"source": 9, "service": "a", "instance": 1, "stream": "stdout"}}), &[]);
    assert_eq!(house.hear(), r#"{"refused":{"source":9}}"#);
    assert_eq!(house.counter("refused"), 2);
    assert!(house.leave().success());
}

#[test]
fn a_sign_of_life_is_given_also_while_the_output_is_stuck() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut house = House::new(json!({"block_ms_max": 86_400_000}), writer);
    let source = house.attach("a", 1, "stdout");
    let mut talker = house.spawn(source, &format!("exec yes {}", "x".repeat(1_000)));
    // A megabyte waits, and nothing is read any more.
    house.until("a full queue", |house| house.counter("bytes") > 1 << 20);
    house.tell(&json!({"ping": {}}), &[]);
    assert_eq!(house.hear(), "WATCHDOG=1");
    talker.kill().unwrap();
    talker.wait().unwrap();
}
