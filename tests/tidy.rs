//! The house stays tidy: who may import whom, who may touch the machine, and what no file says.
//!
//! The source is read as tokens, without comments and literals. Rust needs no more than that to name a room: a path
//! leaves its room only by `crate`, by `super`, or, in the binary, by the name of the library.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may import. Rooms that are not built yet stand here too, so that the plan is one table.
const ROOMS: &[(&str, &[&str])] = &[
    ("lifecycle", &[]),
    ("topic", &[]),
    ("wire", &[]),
    ("stream", &[]),
    ("sys", &[]),
    ("broker", &["wire", "topic", "stream"]),
    ("config", &["lifecycle", "topic", "stream"]),
    ("disk", &["stream", "sys"]),
    ("transport", &["wire", "broker", "sys"]),
    ("control", &["lifecycle", "sys"]),
    ("preflight", &["config", "sys"]),
    ("supervisor", &["lifecycle", "config", "control", "preflight", "sys"]),
    ("worker", &["config", "topic", "stream", "disk", "broker", "transport", "wire", "sys"]),
    (
        "cli",
        &[
            "lifecycle",
            "topic",
            "wire",
            "stream",
            "sys",
            "broker",
            "config",
            "disk",
            "transport",
            "control",
            "preflight",
            "supervisor",
            "worker",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Words that only `sys` may say.
const WORDS_OF_SYS: [&str; 7] = ["nix", "caps", "systemd", "libc", "seccompiler", "landlock", "unsafe"];

/// Where people keep their files; a path that goes on from here is of one machine only.
const HOMES: [&str; 3] = ["/home/", "/root/", "/Users/"];

/// What stands in for a room when a path takes the whole crate.
const WHOLE_CRATE: &str = "the whole crate";

#[test]
fn every_room_imports_only_what_the_table_allows() {
    check_sources(imports);
}

#[test]
fn only_sys_touches_the_machine() {
    check_sources(words_of_sys);
}

#[test]
fn every_source_file_says_what_it_is() {
    check_sources(missing_header);
}

#[test]
fn every_directory_of_src_is_a_room() {
    for path in files(&root().join("src")) {
        let file = relative(&path);
        let room = &modules(&file).0;
        assert!(allowed(room).is_some(), "{file}: {room} is not in the table of rooms");
    }
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let root = root();
    let findings: Vec<String> = files(&root)
        .into_iter()
        .filter_map(|path| Some((relative(&path), fs::read_to_string(&path).ok()?)))
        .flat_map(|(file, text)| machine_paths(&file, &text, &root))
        .collect();
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// Runs a rule over every file of src and reports all that it finds.
fn check_sources(rule: fn(&str, &str) -> Vec<String>) {
    let sources: Vec<PathBuf> =
        files(&root().join("src")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).collect();
    assert!(sources.len() > ROOMS.len() / 2, "the sources were not found");
    let findings: Vec<String> = sources
        .iter()
        .flat_map(|path| rule(&relative(path), &fs::read_to_string(path).expect("a source file")))
        .collect();
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// Imports that the table does not allow.
fn imports(file: &str, source: &str) -> Vec<String> {
    let (room, module) = modules(file);
    let allowed = allowed(&room).unwrap_or_default();
    let uses = rooms_used(&module, &tokens(source));
    uses.into_iter()
        .filter(|(used, _)| *used != room && !allowed.contains(&used.as_str()))
        .map(|(used, line)| format!("{file}:{line}: {room} may not use {used}"))
        .collect()
}

/// Words of `sys` outside `sys`.
fn words_of_sys(file: &str, source: &str) -> Vec<String> {
    if modules(file).0 == "sys" {
        return Vec::new();
    }
    tokens(source)
        .into_iter()
        .filter(|token| WORDS_OF_SYS.contains(&token.text))
        .map(|token| format!("{file}:{}: only sys may say {}", token.line, token.text))
        .collect()
}

/// A file that does not begin by saying what it is.
fn missing_header(file: &str, source: &str) -> Vec<String> {
    if source.starts_with("//! ") { Vec::new() } else { vec![format!("{file}:1: begins without a //! header")] }
}

/// Paths that hold on one machine only: below somebody's home, or this checkout's own.
fn machine_paths(file: &str, text: &str, checkout: &Path) -> Vec<String> {
    // A checkout at the top of a tree has a name too common to look for.
    let checkout = checkout.to_str().filter(|_| checkout.components().count() > 2);
    let begins = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || "$}._-~/".contains(c));
    let goes_on = |after: &str| after.starts_with(|c: char| c.is_alphanumeric() || c == '.');
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let homes = HOMES.iter().any(|home| {
            line.match_indices(home).any(|(at, _)| begins(&line[..at]) && goes_on(&line[at + home.len()..]))
        });
        if homes || checkout.is_some_and(|checkout| line.contains(checkout)) {
            findings.push(format!("{file}:{}: names a path of one machine", number + 1));
        }
    }
    findings
}

fn allowed(room: &str) -> Option<&'static [&'static str]> {
    ROOMS.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed)
}

/// The room and the module path of a file: `src/wire/frame.rs` is in room `wire`, module `wire::frame`.
fn modules(file: &str) -> (String, Vec<String>) {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    let room = module[0].clone();
    if module.last().is_some_and(|last| last == "mod") || room == "lib" || room == "main" {
        module.pop();
    }
    (room, module)
}

/// The rooms that paths lead to, with their lines, from a file whose module path is `file`.
fn rooms_used(file: &[String], tokens: &[Token<'_>]) -> Vec<(String, usize)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut module = file.to_vec();
    // The depth of braces in which each inline module began.
    let mut inline = Vec::new();
    let mut depth = 0;
    let mut used = Vec::new();
    for at in 0..tokens.len() {
        let before = if at == 0 { "" } else { text(at - 1) };
        match text(at) {
            "mod" if text(at + 2) == "{" => {
                module.push(text(at + 1).to_owned());
                inline.push(depth);
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
            }
            // `pub(crate)` and `pub(super)` say who may see, not what is used.
            "crate" | "super" if before == "(" && text(at + 1) == ")" => {}
            "crate" | "super" if before != "::" => follow(tokens, at, module.clone(), &mut used),
            "self" | "torus" if before != "::" && text(at + 1) == "::" => {
                follow(tokens, at, module.clone(), &mut used);
            }
            _ => {}
        }
    }
    used
}

/// Follows one path from `at`, starting in `module`, to the room where it leads.
fn follow(tokens: &[Token<'_>], mut at: usize, mut module: Vec<String>, used: &mut Vec<(String, usize)>) {
    while let Some(token) = tokens.get(at) {
        match token.text {
            "crate" | "torus" => module.clear(),
            "super" => drop(module.pop()),
            "self" => {}
            "{" => return follow_group(tokens, at, &module, used),
            "*" => break,
            name => {
                module.push(name.to_owned());
                used.push((module[0].clone(), token.line));
                return;
            }
        }
        if tokens.get(at + 1).is_none_or(|next| next.text != "::") {
            break;
        }
        at += 2;
    }
    // The path ends at a module. If that is the crate itself, every room can be reached through it.
    let line = tokens[at.min(tokens.len() - 1)].line;
    used.push((module.first().map_or(WHOLE_CRATE, String::as_str).to_owned(), line));
}

/// Follows each path of the group `{...}` at `open`.
fn follow_group(tokens: &[Token<'_>], open: usize, module: &[String], used: &mut Vec<(String, usize)>) {
    let mut depth = 0;
    for at in open..tokens.len() {
        match tokens[at].text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
        let begins = depth == 1 && matches!(tokens[at].text, "{" | ",");
        if begins && tokens.get(at + 1).is_some_and(|next| next.text != "}") {
            follow(tokens, at + 1, module.to_vec(), used);
        }
    }
}

/// A word, `::`, or one character of punctuation.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// The tokens of Rust source, without comments and literals.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let skipped = comment(rest).or_else(|| literal(rest));
        let length = skipped.unwrap_or_else(|| match first {
            ':' if rest.starts_with("::") => 2,
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        });
        if skipped.is_none() && !first.is_whitespace() {
            tokens.push(Token { text: &rest[..length], line });
        }
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment that `rest` begins with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        let step = match here {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            return Some(at);
        }
    }
    Some(rest.len())
}

/// The length of the string, character or raw identifier's prefix that `rest` begins with. A lifetime is none.
fn literal(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|after| after.starts_with(['"', '#']) || after.starts_with("'\\"))
    });
    let body = &rest[prefix.map_or(0, str::len)..];
    if prefix.is_some_and(|prefix| prefix.ends_with('r')) {
        let hashes = body.len() - body.trim_start_matches('#').len();
        if !body[hashes..].starts_with('"') {
            // A raw identifier: the prefix goes, the word stays.
            return Some(rest.len() - body.len() + hashes);
        }
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = &body[hashes + 1..];
        return Some(inside.find(&end).map_or(rest.len(), |at| rest.len() - inside.len() + at + end.len()));
    }
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut inside = body.char_indices().skip(1);
    let is_lifetime = quote == '\'' && !body[1..].starts_with('\\') && body.chars().nth(2) != Some('\'');
    if is_lifetime {
        return None;
    }
    while let Some((at, c)) = inside.next() {
        match c {
            '\\' => drop(inside.next()),
            c if c == quote => return Some(rest.len() - body.len() + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("a path of ours").display().to_string()
}

/// All files below a directory, without what git and the builds keep there.
fn files(directory: &Path) -> Vec<PathBuf> {
    const NOT_OURS: [&str; 4] = ["target", ".git", "node_modules", "__pycache__"];
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if NOT_OURS.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The rules find what they look for: each is shown a violation and something that only looks like one.
mod rules {
    use super::*;

    fn found(file: &str, source: &str) -> Vec<String> {
        imports(file, source)
    }

    #[test]
    fn a_forbidden_import_is_found_in_every_spelling() {
        for source in [
            "use crate::transport::Peer;",
            "use crate::{wire, transport::{Peer, Queue}};",
            "use crate::{\n    wire::{Frame, self},\n    transport,\n};",
            "fn f() { let _ = crate::transport::peer(); }",
            "use super::transport::Peer;",
            "mod tests { use super::super::transport::Peer; }",
            "mod a { mod b {} use super::super::transport; }",
            "use self::super::transport;",
            "use crate::r#transport::Peer;",
            "use torus::transport;",
            "macro_rules! m { () => { $crate::transport::peer() } }",
            "const C: char = '\"'; use crate::transport; const D: char = '\"';",
            "fn f<'a>(x: &'a str) -> crate::transport::Peer<'a> {}",
        ] {
            let found = found("src/broker/mod.rs", source);
            assert!(
                matches!(&found[..], [one] if one.ends_with("broker may not use transport")),
                "{source}: {found:?}"
            );
        }
        assert_eq!(
            found("src/wire/frame.rs", "\nuse super::super::broker::Core;"),
            ["src/wire/frame.rs:2: wire may not use broker"]
        );
    }

    #[test]
    fn the_whole_crate_and_unknown_rooms_may_not_be_used() {
        for source in ["use crate as c;", "use crate::*;", "use crate::{self as c};", "use super as c;"] {
            assert_eq!(
                found("src/cli/mod.rs", source),
                ["src/cli/mod.rs:1: cli may not use the whole crate"],
                "{source}"
            );
        }
        assert_eq!(found("src/cli/mod.rs", "use crate::Config;"), ["src/cli/mod.rs:1: cli may not use Config"]);
    }

    #[test]
    fn the_rooms_that_must_not_meet_do_not() {
        for (file, source) in [
            ("src/worker/hello.rs", "use crate::supervisor::Child;"),
            ("src/supervisor/mod.rs", "use crate::worker::Kind;"),
            ("src/sys/mod.rs", "use crate::config::Config;"),
            ("src/control/mod.rs", "use crate::cli;"),
            ("src/main.rs", "use torus::config::Config;"),
            ("src/lib.rs", "pub use crate::config::Config;"),
        ] {
            assert_eq!(found(file, source).len(), 1, "{file}: {source}");
        }
    }

    #[test]
    fn what_only_looks_like_an_import_is_none() {
        for source in [
            "// use crate::transport;",
            "/* crate::transport /* nested */ crate::transport */",
            "/// See [`crate::transport`].",
            "const S: &str = \"crate::transport \\\" crate::transport\";",
            "const S: &str = r#\"\" crate::transport\"#;",
            "pub(crate) fn f() {} pub(super) fn g() {}",
            "use crate::wire::Frame; use super::wire::Command;",
            "use self::requests::Core;",
            "mod tests { use super::*; mod deep { use super::super::Core; } }",
            "impl Core { fn new() -> Self { self::helper() } }",
        ] {
            assert_eq!(found("src/broker/mod.rs", source), Vec::<String>::new(), "{source}");
        }
        assert_eq!(found("src/broker/requests.rs", "use super::Core; use super::super::wire;"), Vec::<String>::new());
        assert_eq!(found("src/main.rs", "fn main() -> ExitCode { torus::cli::main() }"), Vec::<String>::new());
    }

    #[test]
    fn a_word_of_sys_is_found_outside_sys_alone() {
        let source = "use nix::poll;\nfn f() { unsafe {} }\n";
        let expected = ["src/wire/mod.rs:1: only sys may say nix", "src/wire/mod.rs:2: only sys may say unsafe"];
        assert_eq!(words_of_sys("src/wire/mod.rs", source), expected);
        assert_eq!(words_of_sys("src/sys/poll.rs", source), Vec::<String>::new());
        assert_eq!(words_of_sys("src/wire/mod.rs", "// unsafe\nconst S: &str = \"nix\";"), Vec::<String>::new());
    }

    #[test]
    fn a_file_without_header_is_found() {
        assert_eq!(missing_header("src/a.rs", "use std::io;\n"), ["src/a.rs:1: begins without a //! header"]);
        assert_eq!(missing_header("src/a.rs", "//! What it is.\n"), Vec::<String>::new());
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let checkout = Path::new("/somewhere/torus");
        let found = |text: &str| machine_paths("README.md", text, checkout).len();
        for home in HOMES {
            assert_eq!(found(&format!("cd {home}ann/torus")), 1, "{home}");
            assert_eq!(found(&format!("mkdir \"$chroot{home}torus\"")), 0, "{home}");
            assert_eq!(found(&format!("the directory `{home}`")), 0, "{home}");
        }
        assert_eq!(found("fine\n(/somewhere/torus/src)"), 1);
        assert_eq!(machine_paths("README.md", "/etc/torus", Path::new("/torus")), Vec::<String>::new());
    }
}
