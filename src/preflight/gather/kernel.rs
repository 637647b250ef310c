//! The kernel, from /proc, /sys, /boot, and by asking it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::{bytes, number, plain, text};
use crate::preflight::verdicts::is_asked_for;
use crate::preflight::{Kernel, Options};
use crate::sys::{cgroup, machine, sandbox};

/// Bytes of a kernel's options as text; they have some 300 KiB.
const OPTIONS_BYTES_MAX: usize = 4 << 20;

/// What is quick.
pub(super) fn gather() -> Kernel {
    Kernel {
        release: machine::release().map_err(|cause| plain(&cause)).into(),
        cgroups: cgroup::survey().map_err(|cause| plain(&cause)).into(),
        seccomp: sandbox::takes_filters().map_err(|cause| plain(&cause)).into(),
        landlock_version: sandbox::landlock_version().into(),
        ..Kernel::default()
    }
}

/// What takes reading: the options of a kernel are a compressed file.
pub(super) fn more(kernel: &mut Kernel) {
    kernel.options = options(kernel.release.known().map_or("", String::as_str)).into();
    kernel.namespaces = namespaces().map_err(|cause| plain(&cause)).into();
    let names = |text: String| text.lines().filter_map(|line| line.split_whitespace().last()).map(Into::into).collect();
    kernel.filesystems = text("/proc/filesystems").map(names).into();
    kernel.bridge_netfilter = number("/proc/sys/net/bridge/bridge-nf-call-iptables").map(|value| value != 0).into();
}

fn namespaces() -> io::Result<Vec<String>> {
    let names = std::fs::read_dir("/proc/self/ns")?.flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // Those of future children are the same kinds again.
    let mut names: Vec<String> = names.filter(|name| !name.ends_with("_for_children")).collect();
    names.sort();
    Ok(names)
}

/// The options from the first place that has them.
fn options(release: &str) -> Result<Options, String> {
    let places = [
        "/proc/config.gz".to_owned(),
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/usr/lib/modules/{release}/config"),
    ];
    let mut refused = Vec::new();
    for place in places {
        match bytes(&place).map(|bytes| if place.ends_with(".gz") { unpacked(&bytes) } else { Some(bytes) }) {
            Ok(Some(bytes)) => return Ok(read(place.into(), &String::from_utf8_lossy(&bytes))),
            Ok(None) => refused.push(format!("{place} is damaged")),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => refused.push(cause.to_string()),
        }
    }
    let none = || format!("there is neither /proc/config.gz nor /boot/config-{release}");
    Err(if refused.is_empty() { none() } else { refused.join("; ") })
}

fn read(file: PathBuf, text: &str) -> Options {
    let set = text.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
    let set = set.filter(|(name, _)| is_asked_for(name)).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Options { file, set: set.collect::<BTreeMap<_, _>>() }
}

/// What a gzip file holds (RFC 1952); `None` if it is none. Its checksum is not looked at: what is damaged does not unpack.
fn unpacked(file: &[u8]) -> Option<Vec<u8>> {
    const NAME: u8 = 8;
    let (head, rest) = file.split_at_checked(10)?;
    let [0x1f, 0x8b, 8, flags, ..] = *head else { return None };
    let body = match flags {
        0 => rest,
        NAME => &rest[rest.iter().position(|byte| *byte == 0)? + 1..],
        _ => return None,
    };
    decompress_to_vec_with_limit(body, OPTIONS_BYTES_MAX).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "CONFIG_VETH=m\n# CONFIG_BRIDGE is not set\n";
    /// What gzip(1) makes of that text.
    const PACKED: [u8; 56] = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 115, 246, 247, 115, 243, 116, 143, 15, 115, 13, 241, 176, 205, 229, 82, 86,
        112, 134, 240, 157, 130, 60, 93, 220, 93, 21, 50, 139, 21, 242, 242, 75, 20, 138, 83, 75, 184, 0, 49, 156, 30,
        231, 41, 0, 0, 0,
    ];

    #[test]
    fn options_are_read_and_what_is_not_set_is_left_out() {
        let text = "CONFIG_VETH=m\n# CONFIG_BRIDGE is not set\nCONFIG_NET_NS=y\nCONFIG_OF_NO_INTEREST=y\n";
        let options = read("/boot/config".into(), text);
        let set: Vec<_> = options.set.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(set, ["NET_NS=y", "VETH=m"]);
    }

    #[test]
    fn a_gzip_file_is_unpacked_and_what_is_none_is_told() {
        assert_eq!(unpacked(&PACKED).as_deref(), Some(TEXT.as_bytes()));
        let named = [&PACKED[..3], &[8], &PACKED[4..10], b"config\0", &PACKED[10..]].concat();
        assert_eq!(unpacked(&named).as_deref(), Some(TEXT.as_bytes()));
        assert_eq!(unpacked(TEXT.as_bytes()), None);
        assert_eq!(unpacked(&PACKED[..40]), None);
    }
}
