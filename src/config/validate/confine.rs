//! The keys of a service that say what it may do and have.

use std::collections::BTreeMap;

use super::bound::BYTES_MAX;
use crate::config::Sandbox;
use crate::config::confine::{Amount, CAPABILITIES, CgroupLimits, Confine, Limit, Resource, Umask};
use crate::config::fields::{Fields, Problems, entries, found, join};
use crate::config::suggest::nearest;
use crate::config::tree::{Node, Value};
use crate::config::variables::name_problem;

/// Groups, capabilities, files, variables or secrets that one service may name.
const NAMES_MAX: usize = 256;
/// Characters of a name of a user, a group or a secret.
const NAME_CHARS_MAX: usize = 64;
/// The largest user and group; the next number means "as it is" to the kernel.
const ID_MAX: u32 = u32::MAX - 1;
/// The largest number that a resource limit has; the kernel keeps larger ones for "unlimited".
const AMOUNT_MAX: u64 = i64::MAX as u64;
/// The largest share of CPU time: a thousand whole CPUs.
const CPU_PERCENT_MAX: u32 = 100_000;
/// What the kernel allows as pids.max.
const PIDS_MAX: u32 = 4_194_304;

/// Reads them all; what is absent or wrong stays as the supervisor has it.
pub(super) fn confine(fields: &mut Fields<'_>, default_sandbox: Sandbox, problems: &mut Problems) -> Confine {
    let (user, mut group) =
        fields.take("user").map(|node| user(&fields.path("user"), node, problems)).unwrap_or_default();
    if let Some(node) = fields.take("group") {
        if group.is_some() {
            problems.add(node.line, fields.path("group"), "the group is given with the user already; keep one");
        }
        group = name(&fields.path("group"), node, "a group", problems);
    }
    let supplementary_groups =
        list(fields, "supplementary_groups", problems, |path, node, problems| name(path, node, "a group", problems));
    let capabilities = list(fields, "capabilities", problems, capability);
    // Whoever lowers privileges wants them to stay low; a plain command may go on using sudo or ping.
    let no_new_privs = fields.boolean("no_new_privs", user.is_some() || capabilities.is_some(), problems);
    let limits = fields.take("limits").map(|node| limits(&fields.path("limits"), node, problems)).unwrap_or_default();
    let nice = optional(fields, "nice", "a priority", -20, 19, problems);
    let oom_score_adj = optional(fields, "oom_score_adj", "a score", -1_000, 1_000, problems);
    let umask = fields.take("umask").and_then(|node| umask(&fields.path("umask"), node, problems));
    let directory = fields.take("directory").and_then(|node| path(&fields.path("directory"), node, problems));
    let clear_environment = fields.boolean("clear_environment", false, problems);
    let environment_files = list(fields, "environment_files", problems, path).unwrap_or_default();
    let environment = mapping(fields, "environment", problems, variable);
    let secrets = mapping(fields, "secrets", problems, |path, name, node, problems| {
        let variable = format!("{name}_FILE");
        if environment.contains_key(&variable) {
            problems.add(node.line, path, format!("is told by the variable {variable}, which environment sets"));
        }
        secret(path, name, node, problems)
    });
    let cgroup = fields.take("cgroup").map(|node| cgroup(&fields.path("cgroup"), node, problems)).unwrap_or_default();
    let sandbox = super::sandbox(fields, default_sandbox, problems);
    Confine {
        user,
        group,
        supplementary_groups,
        capabilities,
        no_new_privs,
        limits,
        nice,
        oom_score_adj,
        umask,
        directory,
        clear_environment,
        environment_files,
        environment,
        secrets,
        cgroup,
        sandbox,
    }
}

/// `NAME` or `NAME:GROUP`.
fn user(path: &str, node: &Node, problems: &mut Problems) -> (Option<String>, Option<String>) {
    if let Value::Text(text) = &node.value
        && let Some((user, group)) = text.split_once(':')
    {
        let part = |text: &str, noun, problems: &mut Problems| {
            name(path, &Node { value: Value::Text(text.to_owned()), line: node.line }, noun, problems)
        };
        return (part(user, "a user", problems), part(group, "a group", problems));
    }
    (name(path, node, "a user", problems), None)
}

/// A user or a group, as text: its name or its number.
fn name(path: &str, node: &Node, noun: &str, problems: &mut Problems) -> Option<String> {
    let text = match &node.value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        _ => String::new(),
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_good = if is_number {
        text.parse::<u32>().is_ok_and(|number| number <= ID_MAX)
    } else {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@' | '\\');
        (1..=NAME_CHARS_MAX).contains(&text.len()) && !text.starts_with('-') && text.chars().all(plain)
    };
    if is_good {
        return Some(text);
    }
    let message = format!("{} is not {noun}; write its name, or its number up to {ID_MAX}", found(&node.value));
    problems.add(node.line, path, message);
    None
}

fn capability(path: &str, node: &Node, problems: &mut Problems) -> Option<String> {
    if let Value::Text(text) = &node.value {
        if CAPABILITIES.contains(&text.as_str()) {
            return Some(text.clone());
        }
        if let Some(known) = nearest(text, &CAPABILITIES) {
            let message = format!("{} is not a capability; did you mean {known}?", found(&node.value));
            problems.add(node.line, path, message);
            return None;
        }
    }
    let message = format!("{} is not a capability; write one like CAP_NET_BIND_SERVICE", found(&node.value));
    problems.add(node.line, path, message);
    None
}

fn limits(path: &str, node: &Node, problems: &mut Problems) -> BTreeMap<Resource, Limit> {
    let Some(mut fields) = Fields::open(path, node, problems) else { return BTreeMap::new() };
    let limits = Resource::ALL.into_iter().filter_map(|(resource, key)| {
        let node = fields.take(key)?;
        Some((resource, limit(&fields.path(key), node, problems)?))
    });
    let limits = limits.collect();
    fields.finish(problems);
    limits
}

/// One amount for both ends, or a mapping of either.
fn limit(path: &str, node: &Node, problems: &mut Problems) -> Option<Limit> {
    if !matches!(node.value, Value::Mapping(_)) {
        let both = Some(amount(path, node, problems)?);
        return Some(Limit { soft: both, hard: both });
    }
    let mut fields = Fields::open(path, node, problems)?;
    let mut end = |key| fields.take(key).and_then(|node| amount(&fields.path(key), node, problems));
    let (soft, hard) = (end("soft"), end("hard"));
    fields.finish(problems);
    if let (Some(soft), Some(hard)) = (soft, hard)
        && soft > hard
    {
        problems.add(node.line, join(path, "soft"), format!("{soft} is more than {path}.hard ({hard})"));
        return None;
    }
    if let Value::Mapping(keys) = &node.value
        && keys.is_empty()
    {
        problems.add(node.line, path, "names neither soft nor hard");
    }
    (soft.is_some() || hard.is_some()).then_some(Limit { soft, hard })
}

fn amount(path: &str, node: &Node, problems: &mut Problems) -> Option<Amount> {
    match &node.value {
        Value::Text(text) if text == "unlimited" => return Some(Amount::Unlimited),
        Value::Integer(number) => {
            if let Ok(number) = u64::try_from(*number)
                && number <= AMOUNT_MAX
            {
                return Some(Amount::Number(number));
            }
        }
        _ => {}
    }
    let message = format!("{} is not a limit (0 to {AMOUNT_MAX}, or unlimited)", found(&node.value));
    problems.add(node.line, path, message);
    None
}

fn umask(path: &str, node: &Node, problems: &mut Problems) -> Option<Umask> {
    if let Value::Text(text) = &node.value
        && (3..=4).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'))
        && let Ok(bits) = u32::from_str_radix(text, 8)
        && bits <= 0o777
    {
        return Some(Umask(bits));
    }
    let message = format!("{} is not a umask; write it as octal digits in quotes, like \"0027\"", found(&node.value));
    problems.add(node.line, path, message);
    None
}

fn path(path: &str, node: &Node, problems: &mut Problems) -> Option<String> {
    match &node.value {
        Value::Text(text) if text.starts_with('/') && !text.contains('\0') => Some(text.clone()),
        value => {
            problems.add(node.line, path, format!("{} is not an absolute path", found(value)));
            None
        }
    }
}

/// A variable's value; a number or a flag is asked to be in quotes, since what YAML makes of it is not what was written.
fn variable(path: &str, name: &str, node: &Node, problems: &mut Problems) -> Option<String> {
    if let Some(message) = name_problem(name) {
        problems.add(node.line, path, message);
        return None;
    }
    match &node.value {
        Value::Text(text) if text.contains('\0') => {
            problems.add(node.line, path, "a variable cannot hold a NUL character");
            None
        }
        Value::Text(text) => Some(text.clone()),
        value @ (Value::Sequence(_) | Value::Mapping(_)) => {
            problems.add(node.line, path, format!("{} is not text", found(value)));
            None
        }
        value => {
            problems.add(node.line, path, format!("{} is not text; write it in quotes", found(value)));
            None
        }
    }
}

fn secret(at: &str, name: &str, node: &Node, problems: &mut Problems) -> Option<String> {
    let is_good = name.len() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_good {
        let message = format!("not a secret's name: up to {NAME_CHARS_MAX} letters, digits and _, no digit first");
        problems.add(node.line, at, message);
        return None;
    }
    path(at, node, problems)
}

fn cgroup(path: &str, node: &Node, problems: &mut Problems) -> CgroupLimits {
    let Some(mut fields) = Fields::open(path, node, problems) else { return CgroupLimits::default() };
    let limits = CgroupLimits {
        memory_bytes_max: optional(&mut fields, "memory_bytes_max", "a number of bytes", 1, BYTES_MAX, problems),
        cpu_percent_max: optional(&mut fields, "cpu_percent_max", "a percentage", 1, CPU_PERCENT_MAX, problems),
        pids_max: optional(&mut fields, "pids_max", "a count", 1, PIDS_MAX, problems),
    };
    fields.finish(problems);
    limits
}

/// A number that has no default.
fn optional<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    noun: &str,
    min: T,
    max: T,
    problems: &mut Problems,
) -> Option<T>
where
    T: Copy + std::fmt::Display + PartialOrd + TryFrom<i128>,
{
    let given = fields.number(key, noun, min..=max, min, problems);
    given.line.map(|_| given.value)
}

/// A list; `None` if the key is absent. What is wrong in it is left out.
fn list(
    fields: &mut Fields<'_>,
    key: &'static str,
    problems: &mut Problems,
    item: impl Fn(&str, &Node, &mut Problems) -> Option<String>,
) -> Option<Vec<String>> {
    let node = fields.take(key)?;
    let path = fields.path(key);
    let Value::Sequence(nodes) = &node.value else {
        problems.add(
            node.line,
            path,
            format!("{} is not a list; write [one, another, ...], or []", found(&node.value)),
        );
        return None;
    };
    if nodes.len() > NAMES_MAX {
        problems.add(node.line, path, format!("names {}, which is more than {NAMES_MAX}", nodes.len()));
        return None;
    }
    let items = nodes.iter().enumerate();
    Some(items.filter_map(|(index, node)| item(&format!("{path}[{index}]"), node, problems)).collect())
}

/// A mapping of names to texts. What is wrong in it is left out.
fn mapping(
    fields: &mut Fields<'_>,
    key: &'static str,
    problems: &mut Problems,
    item: impl Fn(&str, &str, &Node, &mut Problems) -> Option<String>,
) -> BTreeMap<String, String> {
    let Some(node) = fields.take(key) else { return BTreeMap::new() };
    let path = fields.path(key);
    let entries = entries(&path, node, problems).unwrap_or_default();
    if entries.len() > NAMES_MAX {
        problems.add(node.line, path, format!("names {}, which is more than {NAMES_MAX}", entries.len()));
        return BTreeMap::new();
    }
    let items = entries.into_iter().filter_map(|(key, node)| {
        let text = item(&join(&path, &key.text), &key.text, node, problems)?;
        Some((key.text.clone(), text))
    });
    items.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Origin, Service, parse};

    const PAGE: &str = include_str!("../../../docs/configuration.md");

    fn read(keys: &str) -> Result<Config, String> {
        let text = format!("services:\n  one:\n    command: [x]\n{keys}");
        parse(&text, &Origin::File("torus.yaml".into())).map_err(|error| error.to_string())
    }

    fn confined(keys: &str) -> Confine {
        let Service { confine, .. } = read(keys).unwrap().services.remove("one").unwrap();
        confine
    }

    /// Every key, in a form that differs from its default.
    const EVERYTHING: &str = r#"
    user: app:staff
    supplementary_groups: [audio, 44]
    capabilities: [CAP_NET_BIND_SERVICE]
    no_new_privs: false
    limits: { nofile: 100, nproc: {soft: 5}, core_bytes: 0, as_bytes: unlimited, data_bytes: {hard: unlimited},
      memlock_bytes: 1, stack_bytes: {soft: 1, hard: 2}, cpu_s: 3, fsize_bytes: 4 }
    nice: -5
    oom_score_adj: 500
    umask: "0027"
    directory: /srv
    clear_environment: true
    environment_files: [/etc/app.env]
    environment: { A: "100% $HOME\n\"'", B: '' , "C.D": "1" }
    secrets: { DB_PASSWORD: /run/secrets/db }
    cgroup: { memory_bytes_max: 1000000, cpu_percent_max: 50, pids_max: 20 }
    sandbox: required
"#;

    #[test]
    fn every_key_is_read_and_shown_again() {
        let config = read(EVERYTHING).unwrap();
        let confine = &config.services["one"].confine;
        assert_eq!((confine.user.as_deref(), confine.group.as_deref()), (Some("app"), Some("staff")));
        assert_eq!(confine.limits.len(), Resource::ALL.len());
        assert_eq!(confine.environment["A"], "100% $HOME\n\"'");
        assert_eq!(confine.umask, Some(Umask(0o027)));
        assert_eq!(parse(&config.to_yaml(), &Origin::Embedded).unwrap(), config, "{}", config.to_yaml());
    }

    #[test]
    fn every_key_has_its_row_on_the_page() {
        let config = read(EVERYTHING).unwrap().to_yaml();
        let keys = config.lines().filter_map(|line| {
            let key = line.strip_prefix("    ")?;
            key.starts_with(|c: char| c.is_ascii_lowercase()).then(|| key.split(':').next().expect("a key"))
        });
        for key in keys.filter(|key| *key != "cgroup") {
            assert!(PAGE.contains(&format!("| `services.NAME.{key}` |")), "{key} has no row");
        }
        for (_, key) in Resource::ALL {
            assert!(PAGE.contains(&format!("`{key}`")), "{key} is not on the page");
        }
        for key in ["memory_bytes_max", "cpu_percent_max", "pids_max"] {
            assert!(PAGE.contains(&format!("| `services.NAME.cgroup.{key}` |")), "{key} has no row");
        }
    }

    #[test]
    fn a_service_without_these_keys_stays_as_the_supervisor_is() {
        assert_eq!(confined(""), Confine::default());
    }

    #[test]
    fn whoever_lowers_privileges_has_them_stay_low_unless_the_file_says_otherwise() {
        assert!(confined("    user: 65532").no_new_privs);
        assert!(confined("    capabilities: []").no_new_privs);
        assert!(!confined("    capabilities: []\n    no_new_privs: false").no_new_privs);
        assert!(!confined("    nice: 1").no_new_privs);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_all_at_once() {
        let keys = r#"
    user: "a b"
    group: -1
    supplementary_groups: audio
    capabilities: [CAP_NET_BIND_SERVIC, net_raw, 1]
    no_new_privs: maybe
    limits: { nofile: -1, nproc: {soft: 2, hard: 1}, files: 3, cpu_s: {}, as_bytes: many }
    nice: 20
    oom_score_adj: -1001
    umask: 27
    directory: srv
    environment_files: [app.env]
    environment: { A: 1, "B=": x, TORUS_SERVICE: x, C: [x], DB_FILE: x }
    secrets: { 1A: /x, DB: x }
    cgroup: { memory_bytes_max: 0, memory: 1 }
    sandbox: maybe
"#;
        insta::assert_snapshot!(read(keys).unwrap_err(), @r#"
        torus.yaml:5: services.one.user: the text "a b" is not a user; write its name, or its number up to 4294967294
        torus.yaml:6: services.one.group: -1 is not a group; write its name, or its number up to 4294967294
        torus.yaml:7: services.one.supplementary_groups: the text "audio" is not a list; write [one, another, ...], or []
        torus.yaml:8: services.one.capabilities[0]: the text "CAP_NET_BIND_SERVIC" is not a capability; did you mean CAP_NET_BIND_SERVICE?
        torus.yaml:8: services.one.capabilities[1]: the text "net_raw" is not a capability; write one like CAP_NET_BIND_SERVICE
        torus.yaml:8: services.one.capabilities[2]: 1 is not a capability; write one like CAP_NET_BIND_SERVICE
        torus.yaml:9: services.one.no_new_privs: the text "maybe" is not true or false
        torus.yaml:10: services.one.limits.nofile: -1 is not a limit (0 to 9223372036854775807, or unlimited)
        torus.yaml:10: services.one.limits.nproc.soft: 2 is more than services.one.limits.nproc.hard (1)
        torus.yaml:10: services.one.limits.as_bytes: the text "many" is not a limit (0 to 9223372036854775807, or unlimited)
        torus.yaml:10: services.one.limits.cpu_s: names neither soft nor hard
        torus.yaml:10: services.one.limits.files: no such key; known here: nofile, nproc, core_bytes, as_bytes, data_bytes, memlock_bytes, stack_bytes, cpu_s, fsize_bytes
        torus.yaml:11: services.one.nice: 20 is not a priority (-20 to 19)
        torus.yaml:12: services.one.oom_score_adj: -1001 is not a score (-1000 to 1000)
        torus.yaml:13: services.one.umask: 27 is not a umask; write it as octal digits in quotes, like "0027"
        torus.yaml:14: services.one.directory: the text "srv" is not an absolute path
        torus.yaml:15: services.one.environment_files[0]: the text "app.env" is not an absolute path
        torus.yaml:16: services.one.environment.A: 1 is not text; write it in quotes
        torus.yaml:16: services.one.environment.B=: has a name with a space, a control character or =
        torus.yaml:16: services.one.environment.TORUS_SERVICE: sets a variable that Torus itself tells its services
        torus.yaml:16: services.one.environment.C: a sequence is not text
        torus.yaml:17: services.one.secrets.1A: not a secret's name: up to 64 letters, digits and _, no digit first
        torus.yaml:17: services.one.secrets.DB: is told by the variable DB_FILE, which environment sets
        torus.yaml:17: services.one.secrets.DB: the text "x" is not an absolute path
        torus.yaml:18: services.one.cgroup.memory_bytes_max: 0 is not a number of bytes (1 to 1099511627776)
        torus.yaml:18: services.one.cgroup.memory: no such key; known here: memory_bytes_max, cpu_percent_max, pids_max
        torus.yaml:19: services.one.sandbox: the text "maybe" is not best-effort or required
        27 problems
        "#);
        let twice = read("    user: 'a:b'\n    group: c").unwrap_err();
        assert!(twice.contains("services.one.group: the group is given with the user already"), "{twice}");
        let last = read("    user: 4294967295").unwrap_err();
        assert!(last.contains("4294967295 is not a user; write its name, or its number up to 4294967294"), "{last}");
    }
}
