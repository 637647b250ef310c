//! The process's own memory: giving back what only its start needed.
//!
//! A start runs code that is not run again (command line, configuration, the loader), and each page of a program's file
//! that was touched stays mapped, with fifteen around it. A process that rests for months need not hold them.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use nix::errno::Errno;
use nix::libc;

/// Unmaps the pages of files that are mapped, not writable and as they are in the file: code and constants. What is
/// needed again comes back from the page cache, at the price of a page fault. What the heap has free goes back too.
pub fn let_go_of_start() -> io::Result<()> {
    Mappings::open()?.let_go()
}

/// What this process has mapped, told when it is read: for who has no files to open by then.
#[derive(Debug)]
pub struct Mappings(File);

impl Mappings {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        Ok(Self(File::open("/proc/self/smaps")?))
    }

    /// As [`let_go_of_start`].
    pub fn let_go(self) -> io::Result<()> {
        for (start, length) in unchanged(BufReader::new(self.0))? {
            // SAFETY: the mapping is private to us, of a file, and holds no page that differs from that file. So every
            // byte reads as before.
            Errno::result(unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) })?;
        }
        // SAFETY: it gives back what nobody has.
        #[cfg(target_env = "gnu")]
        unsafe {
            libc::malloc_trim(0);
        }
        Ok(())
    }
}

/// Start and length of the mappings of files that nobody may write and nobody has changed, from the text of smaps
/// (proc_pid_smaps(5)). What the loader has relocated, and code that holds a debugger's breakpoint, has anonymous pages.
fn unchanged(smaps: impl BufRead) -> io::Result<Vec<(usize, usize)>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let line = line?;
        if let Some(mapping) = mapping(&line) {
            candidate = mapping;
        } else if line.split_ascii_whitespace().eq(["Anonymous:", "0", "kB"]) {
            found.extend(candidate.take());
        }
    }
    Ok(found)
}

/// What a line that begins a mapping tells: the mapping, if it is one of a file that is private and not writable.
fn mapping(line: &str) -> Option<Option<(usize, usize)>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let protection = words.next()?;
    let of_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let fits = of_file && matches!(protection, "r--p" | "r-xp");
    Some(fits.then_some((start, end - start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_files_and_unchanged_is_let_go() {
        let smaps = "\
1000-3000 r-xp 00000000 08:01 42 /usr/bin/torus
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
3000-4000 r--p 00002000 08:01 42 /usr/bin/torus
Anonymous:             4 kB
4000-5000 rw-p 00003000 08:01 42 /usr/bin/torus
Anonymous:             0 kB
5000-6000 rw-p 00000000 00:00 0 [heap]
Anonymous:             4 kB
6000-7000 r--p 00000000 00:00 0
Anonymous:             0 kB
7000-8000 r--s 00000000 08:01 43 /usr/lib/locale
Anonymous:             0 kB
8000-a000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
ffffffffff600000-ffffffffff601000 r--p 00000000 08:01 44 /a b
Anonymous:             0 kB
";
        assert_eq!(unchanged(smaps.as_bytes()).unwrap(), [(0x1000, 0x2000), (0xffff_ffff_ff60_0000, 0x1000)]);
    }

    #[test]
    fn everything_still_runs_and_reads_after_it() {
        let constant = std::hint::black_box("a constant");
        let_go_of_start().unwrap();
        assert_eq!(format!("{constant}, {:.3}", std::hint::black_box(2.0_f64).sqrt()), "a constant, 1.414");
    }
}
