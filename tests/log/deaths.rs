//! The log worker dies under load; another one goes on with the same pipes.

use std::collections::BTreeMap;

use serde_json::json;

use crate::house::{House, read_all};
use crate::support::process;

/// What a log worker may hold: its queue, and what it has just read.
const HELD_BYTES_MAX: usize = (1 << 20) + (64 << 10) * 5;

#[test]
fn a_worker_killed_under_load_loses_what_it_held_and_nothing_else() {
    const WRITERS: usize = 4;
    const LINES: usize = 60_000;
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({}), stdout);
    let sources: Vec<usize> = (0..WRITERS).map(|n| house.attach(&format!("s{n}"), 1, "stdout")).collect();
    // Each says at the end how it fared: a SIGPIPE would leave it no word.
    let writers: Vec<_> =
        sources.iter().map(|n| house.spawn(*n, &format!("seq -f 'w{n} %06.0f 01234567890123' 1 {LINES}"))).collect();
    for kills in 1..=3 {
        house.until("lines", |house| house.counter("written") > kills * 20_000);
        process::signal("KILL", house.worker.id().into());
        house.replace();
    }
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    assert!(house.terminate().success());

    let output = reader.join().unwrap();
    let mut seen: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut broken = 0;
    for line in std::str::from_utf8(&output).unwrap().lines() {
        let whole = line.split_once("/1 | w").filter(|(_, text)| text.len() == "0 000001 01234567890123".len());
        match whole {
            Some((service, text)) => seen.entry(service).or_default().push(text[2..8].parse().unwrap()),
            // Its beginning died with the worker that had read it.
            None => broken += 1,
        }
    }
    assert!(broken <= 3 * WRITERS, "{broken} lines have no beginning");
    assert!(seen.values().all(|numbers| numbers.is_sorted_by(|a, b| a < b)), "a line came twice or out of order");
    assert!(seen.values().all(|numbers| numbers.last() == Some(&LINES)), "lines go on after each death");
    let shown: usize = seen.values().map(Vec::len).sum();
    let missing_bytes = (WRITERS * LINES - shown) * "w0 000001 01234567890123\n".len();
    assert!(missing_bytes <= 3 * HELD_BYTES_MAX, "{missing_bytes} bytes are missing");
    let counted = house.counter("written") + house.counter("lost");
    assert_eq!(
        house.counter("lines"),
        counted,
        "all that is missing is counted or was a piece of a line: {:?}",
        house.counters()
    );
}

#[test]
fn pipes_without_a_worker_hold_what_is_written_until_there_is_one() {
    use std::io::Write;
    let (stdout, reader) = read_all();
    let mut house = House::new(json!({}), stdout);
    let source = house.attach("a", 1, "stdout");
    process::signal("KILL", house.worker.id().into());
    house.worker.wait().unwrap();
    house.writer(source).write_all(b"said to nobody\n").unwrap();
    house.replace();
    house.until("the line", |house| house.counter("written") == 1);
    assert!(house.leave().success());
    assert_eq!(reader.join().unwrap(), b"a/1 | said to nobody\n");
}
