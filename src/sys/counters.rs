//! A table of named counters in a memfd: written by one worker, read by the supervisor, kept across the worker's death.
//!
//! The supervisor creates the memory and holds it for as long as the instance is configured; each new process of that
//! instance maps the same memory and goes on counting. The table describes itself (names beside values), so that
//! reader and writer need to agree on nothing but this file. The reader trusts nothing that it finds there: the
//! memory is sealed in size, names are bounded and checked, values are just numbers.
//!
//! The values lie side by side, apart from the names: a writer that wakes to count a message or two finds them in few
//! lines of the cache.
//!
//! One writer, any readers: values are single relaxed atomic words, so a reader sees each of them whole, at an instant
//! of its own.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Counters that one table can hold; registering one more fails.
pub const COUNTERS_MAX: usize = 127;
/// Bytes of a counter's name.
pub const NAME_BYTES_MAX: usize = 56;

/// "TORUSCT" and the layout's version, as the first word of the memory.
const MAGIC: u64 = u64::from_be_bytes(*b"TORUSCT\x02");
/// Where the values begin, in words; the names follow them.
const VALUES: usize = 1;
const NAMES: usize = VALUES + COUNTERS_MAX;
const NAME_WORDS: usize = NAME_BYTES_MAX / 8;
const TABLE_BYTES: usize = (NAMES + NAME_WORDS * COUNTERS_MAX) * 8;

/// A mapped table of counters.
#[derive(Debug)]
pub struct Counters {
    base: NonNull<u8>,
}

/// Why a table could not be made, mapped or extended.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// The kernel refused.
    #[error("cannot {what} the counters' memory: {cause}")]
    Memory {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        cause: nix::Error,
    },
    /// The memory was not made by [`create`], or by another version.
    #[error("the counters' memory is not of this version of torus")]
    Foreign,
    /// A name that is empty, too long, or not printable ASCII; or no room for one more.
    #[error("cannot register counter {0:?}: bad name, or more than {COUNTERS_MAX} counters")]
    Register(String),
}

/// Makes an empty table in a new memfd whose size is sealed: whoever maps it can neither shrink it under a reader nor
/// grow it.
pub fn create(name: &str) -> Result<OwnedFd, CountersError> {
    let failed = |what| move |cause| CountersError::Memory { what, cause };
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).map_err(failed("create"))?;
    nix::unistd::ftruncate(&fd, TABLE_BYTES as i64).map_err(failed("size"))?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(failed("seal"))?;
    Counters::map(&fd)?.word(0).store(MAGIC, Ordering::Release);
    Ok(fd)
}

impl Counters {
    /// Maps the table in `fd`, made by [`create`].
    pub fn open(fd: impl AsFd) -> Result<Self, CountersError> {
        let size =
            nix::sys::stat::fstat(&fd).map_err(|cause| CountersError::Memory { what: "inspect", cause })?.st_size;
        if size != TABLE_BYTES as i64 {
            return Err(CountersError::Foreign);
        }
        let table = Self::map(fd)?;
        if table.word(0).load(Ordering::Acquire) != MAGIC {
            return Err(CountersError::Foreign);
        }
        Ok(table)
    }

    /// A table of this process alone, for tests and for workers that were started by hand.
    pub fn private() -> Result<Self, CountersError> {
        Self::open(create("torus-counters")?)
    }

    /// Keeps the mapping for the rest of the process's life, as a writer needs it.
    pub fn forever(self) -> &'static Self {
        Box::leak(Box::new(self))
    }

    /// The counter of that name, at zero if it is new. Only the table's one writer calls this.
    ///
    /// Names are `words.with.dots`; the first word groups them in what users read.
    pub fn register(&'static self, name: &str) -> Result<&'static AtomicU64, CountersError> {
        let refused = || CountersError::Register(name.to_owned());
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refused());
        }
        for slot in 0..COUNTERS_MAX {
            match self.name(slot) {
                Some(known) if known == name => return Ok(self.value(slot)),
                Some(_) => {}
                None => {
                    let mut bytes = [0u8; NAME_BYTES_MAX];
                    bytes[..name.len()].copy_from_slice(name.as_bytes());
                    for (word, chunk) in bytes.chunks_exact(8).enumerate().rev() {
                        let value = u64::from_ne_bytes(chunk.try_into().expect("chunks of eight"));
                        self.word(NAMES + slot * NAME_WORDS + word).store(value, Ordering::Release);
                    }
                    return Ok(self.value(slot));
                }
            }
        }
        Err(refused())
    }

    /// Every registered counter with its present value, in order of registration.
    pub fn snapshot(&self) -> Vec<(String, u64)> {
        (0..COUNTERS_MAX)
            .map_while(|slot| self.name(slot).map(|name| (name, self.value(slot).load(Ordering::Relaxed))))
            .collect()
    }

    fn map(fd: impl AsFd) -> Result<Self, CountersError> {
        let length = NonZeroUsize::new(TABLE_BYTES).expect("a table has a size");
        // SAFETY: a fresh shared mapping of a whole memfd whose size is sealed; nothing else is placed there, and all
        // access goes through atomics.
        let mapped =
            unsafe { mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, fd, 0) };
        let base = mapped.map_err(|cause| CountersError::Memory { what: "map", cause })?.cast();
        Ok(Self { base })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index * 8 < TABLE_BYTES, "word {index} lies outside the table");
        // SAFETY: in bounds by the assertion, aligned since mappings are page-aligned; the reference borrows from
        // `self`, whose drop is what unmaps.
        unsafe { &*self.base.as_ptr().cast::<AtomicU64>().add(index) }
    }

    fn value(&self, slot: usize) -> &AtomicU64 {
        self.word(VALUES + slot)
    }

    fn name(&self, slot: usize) -> Option<String> {
        let mut bytes = [0u8; NAME_BYTES_MAX];
        for (word, chunk) in bytes.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&self.word(NAMES + slot * NAME_WORDS + word).load(Ordering::Acquire).to_ne_bytes());
        }
        let length = bytes.iter().position(|&b| b == 0).unwrap_or(NAME_BYTES_MAX);
        let name = &bytes[..length];
        (length > 0 && name.iter().all(u8::is_ascii_graphic)).then(|| String::from_utf8_lossy(name).into_owned())
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // SAFETY: `base` is the start of a mapping of exactly this size, made by `map`; what borrowed
        // from it is gone, since this is its drop.
        let _ = unsafe { munmap(self.base.cast(), TABLE_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_outlive_the_process_that_counted() {
        let fd = create("test").unwrap();
        {
            let writer = Counters::open(&fd).unwrap().forever();
            writer.register("requests").unwrap().fetch_add(5, Ordering::Relaxed);
            writer.register("lost.expired").unwrap().fetch_add(1, Ordering::Relaxed);
        }
        let writer = Counters::open(&fd).unwrap().forever();
        writer.register("requests").unwrap().fetch_add(2, Ordering::Relaxed);
        let read = Counters::open(&fd).unwrap().snapshot();
        assert_eq!(read, [("requests".to_owned(), 7), ("lost.expired".to_owned(), 1)]);
    }

    #[test]
    fn a_table_filled_with_noise_is_read_without_harm() {
        let table = Counters::private().unwrap();
        for index in 1..TABLE_BYTES / 8 {
            table.word(index).store(0xfeff_80ff_0a0d_ffff, Ordering::Relaxed);
        }
        assert_eq!(table.snapshot(), []);
    }

    #[test]
    fn names_and_their_number_are_bounded() {
        let table = Counters::private().unwrap().forever();
        assert!(table.register("").is_err());
        assert!(table.register("two words").is_err());
        assert!(table.register(&"x".repeat(NAME_BYTES_MAX + 1)).is_err());
        assert!(table.register(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        for n in 1..COUNTERS_MAX {
            table.register(&format!("counter.{n}")).unwrap();
        }
        assert!(table.register("one.more").is_err());
    }

    #[test]
    fn foreign_memory_is_refused() {
        let fd = memfd_create("foreign", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(matches!(Counters::open(&fd), Err(CountersError::Foreign)));
        nix::unistd::ftruncate(&fd, TABLE_BYTES as i64).unwrap();
        assert!(matches!(Counters::open(&fd), Err(CountersError::Foreign)));
    }
}
