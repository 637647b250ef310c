//! `torus logs`: recent lines, then those that come; a reader who is slow or gone disturbs nobody.

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::{Value, json};

use crate::house::{House, lines, read_all};

#[test]
fn recent_lines_come_first_and_then_those_that_follow() {
    let (stdout, _reader) = read_all();
    let mut house = House::new(json!({}), stdout);
    let (one, two) = (house.attach("a", 1, "stdout"), house.attach("a", 2, "stderr"));
    let other = house.attach("b", 1, "stdout");
    for (count, (source, text)) in
        [(one, "first\n"), (two, "second\n"), (other, "third\n"), (one, "fourth\n")].into_iter().enumerate()
    {
        house.writer(source).write_all(text.as_bytes()).unwrap();
        house.until("the line", |house| house.counter("lines") == count as u64 + 1);
    }
    let read = |follow: Value| {
        let mut text = String::new();
        house.follow(&follow).read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!(read(json!({"service": "a", "lines": 2, "follow": false})), "a/2 | second\na/1 | fourth\n");
    assert_eq!(read(json!({"service": "a", "instance": 2, "lines": 9, "follow": false})), "a/2 | second\n");
    assert_eq!(read(json!({"lines": 3, "follow": false})), "a/2 | second\nb/1 | third\na/1 | fourth\n");
    assert_eq!(read(json!({"service": "none", "lines": 3, "follow": false})), "");
    let object: Value =
        serde_json::from_str(&read(json!({"service": "a", "lines": 1, "follow": false, "format": "json"}))).unwrap();
    assert_eq!((&object["line"], &object["stream"]), (&json!("fourth"), &json!("stdout")));

    let mut following = BufReader::new(house.follow(&json!({"service": "a", "lines": 1})));
    let mut line = || {
        let mut line = String::new();
        following.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(line(), "a/1 | fourth\n");
    house.writer(other).write_all(b"not for you\n").unwrap();
    house.writer(two).write_all(b"fifth\n").unwrap();
    assert_eq!(line(), "a/2 | fifth\n");
    assert!(house.terminate().success());
    assert_eq!(line(), "", "it ends with the worker");
}

#[test]
fn a_slow_reader_misses_lines_and_is_told_and_one_who_left_is_forgotten() {
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({}), stdout);
    let source = house.attach("a", 1, "stdout");
    let slow = house.follow(&json!({"service": "a"}));
    drop(house.follow(&json!({"service": "a"})));
    assert!(house.spawn(source, "exec seq -w 1 200000").wait().unwrap().success());
    house.until("all lines", |house| house.counter("written") == 200_000);
    assert!(house.counter("dropped.slow") > 0);
    let mut text = Vec::new();
    let mut slow = BufReader::new(slow);
    while !text.ends_with(b"too slow\n") {
        assert_ne!(slow.read_until(b'\n', &mut text).unwrap(), 0);
    }
    let (shown, told) = lines(&text);
    assert_eq!(shown.len() as u64 + told, 200_000);
    house.writer(source).write_all(b"still here\n").unwrap();
    let mut line = String::new();
    slow.read_line(&mut line).unwrap();
    assert_eq!(line, "a/1 | still here\n");
    assert!(house.leave().success());
    assert_eq!(lines(&reader.join().unwrap()).0.len(), 200_001);
}
