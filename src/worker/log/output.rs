//! The way out: a queue of lines, bounded in bytes, and the thread that writes them to standard output or to the journal.
//!
//! A thread of its own, since standard output is shared: it must not be made non-blocking for others, so a write may
//! wait for as long as a terminal is held, and nobody else here may wait with it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use memchr::{memchr, memchr_iter, memrchr};

use super::counts::{Counts, add};
use super::entry;
use crate::sys::journal::Journal;
use crate::sys::output::Output;
use crate::sys::wake::Wake;

/// Memory that a written batch keeps for the next one.
const SPARE_BYTES_MAX: usize = 2 << 20;
/// Batches whose memory waits for a next one.
const SPARES_MAX: usize = 4;

/// Where lines go.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout(Output),
    /// Entries, and lines on standard output for what the journal refuses.
    Journal(Journal, Output),
}

/// Lines that are written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Whole lines, or entries for the journal.
    pub(super) bytes: Vec<u8>,
    /// How many of them services wrote; what we say ourselves is not counted.
    pub(super) lines: u64,
}

/// The end of the queue where lines are put in.
#[derive(Debug)]
pub(super) struct Queue {
    /// The batch that is being filled.
    pub(super) batch: Batch,
    batches: Sender<Batch>,
    spares: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes that were sent and are not written yet.
    queued_bytes: AtomicUsize,
    /// Wakes when fewer bytes than this are queued; 0 does not wake.
    wake_below: AtomicUsize,
    wake: Wake,
}

impl Queue {
    /// Starts the thread that writes, and returns when it runs: on its way there it makes calls that a sandbox does not
    /// allow. It ends with the process.
    pub(super) fn start(sink: Sink, counts: Counts) -> io::Result<Self> {
        let shared = Shared { queued_bytes: 0.into(), wake_below: 0.into(), wake: Wake::new()? };
        let shared = Arc::new(shared);
        let (batches, to_write) = channel::<Batch>();
        let (give_back, spares) = sync_channel(SPARES_MAX);
        let (begin, begun) = sync_channel(1);
        let mut writer = Writer { sink, counts, shared: shared.clone(), is_cut: false };
        thread::Builder::new().name("output".into()).spawn(move || {
            let _ = begin.send(());
            for mut batch in to_write {
                writer.write(&batch);
                batch.bytes.clear();
                batch.bytes.shrink_to(SPARE_BYTES_MAX);
                let _ = give_back.try_send(batch.bytes);
            }
        })?;
        begun.recv().map_err(io::Error::other)?;
        Ok(Self { batch: Batch::default(), batches, spares, shared })
    }

    /// Hands the batch over to be written.
    pub(super) fn send(&mut self) {
        if self.batch.bytes.is_empty() {
            return;
        }
        let spare = self.spares.try_recv().unwrap_or_default();
        self.shared.queued_bytes.fetch_add(self.batch.bytes.len(), Ordering::SeqCst);
        let batch = std::mem::replace(&mut self.batch, Batch { bytes: spare, lines: 0 });
        self.batches.send(batch).expect("the thread that writes ends with the process");
    }

    /// Bytes that are not written yet.
    pub(super) fn queued_bytes(&self) -> usize {
        self.shared.queued_bytes.load(Ordering::SeqCst) + self.batch.bytes.len()
    }

    /// Wakes once when fewer bytes than this are queued. Look at them again afterwards: it may have happened already.
    pub(super) fn wake_below(&self, bytes: usize) {
        self.shared.wake_below.store(bytes, Ordering::SeqCst);
    }

    /// What wakes.
    pub(super) fn wake(&self) -> &Wake {
        &self.shared.wake
    }
}

/// What the thread has.
#[derive(Debug)]
struct Writer {
    sink: Sink,
    counts: Counts,
    shared: Arc<Shared>,
    /// Whether the last thing written is a part of a line.
    is_cut: bool,
}

impl Writer {
    fn write(&mut self, batch: &Batch) {
        let mut queued = batch.bytes.len();
        let mut written = |bytes| {
            // The last of them leave the queue when they are counted: once it is empty, the process may end.
            if bytes < queued {
                queued -= bytes;
                self.shared.written(bytes);
            }
        };
        let left = match &self.sink {
            Sink::Stdout(output) => write_lines(output, &mut self.is_cut, &batch.bytes, written),
            Sink::Journal(journal, output) => {
                let mut left = 0;
                for (bytes, fields) in entry::entries(&batch.bytes) {
                    if journal.send(&fields).is_err() {
                        add(self.counts.journal_refused, 1);
                        left += write_lines(output, &mut self.is_cut, &plain(&fields), |_| {});
                    }
                    written(bytes);
                }
                left
            }
        };
        let left = left.min(batch.lines);
        add(self.counts.written, batch.lines - left);
        add(self.counts.dropped_output, left);
        self.shared.written(queued);
    }
}

impl Shared {
    /// So many bytes are out of the queue.
    fn written(&self, bytes: usize) {
        let left = self.queued_bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        let below = self.wake_below.load(Ordering::SeqCst);
        if left < below && self.wake_below.swap(0, Ordering::SeqCst) != 0 {
            self.wake.wake();
        }
    }
}

/// Writes lines, as many at once as nobody can come between; tells how many were refused.
fn write_lines(output: &Output, is_cut: &mut bool, bytes: &[u8], mut written: impl FnMut(usize)) -> u64 {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(whole_lines(rest, output.whole_bytes()));
        if let Err(left) = write_all(output, is_cut, now) {
            written(rest.len());
            return (memchr_iter(b'\n', left).count() + memchr_iter(b'\n', later).count()) as u64;
        }
        written(now.len());
        rest = later;
    }
    0
}

/// Writes all, or answers what was left when the output refused.
fn write_all<'a>(output: &Output, is_cut: &mut bool, bytes: &'a [u8]) -> Result<(), &'a [u8]> {
    // A full disk may have taken half a line; the next one is not to be its end.
    if *is_cut {
        *is_cut = output.write(b"\n").is_err();
    }
    let mut left = bytes;
    while !left.is_empty() {
        match output.write(left) {
            Ok(written) => left = &left[written..],
            Err(_) => {
                let before = bytes.len() - left.len();
                *is_cut |= before > 0 && bytes[before - 1] != b'\n';
                return Err(left);
            }
        }
    }
    Ok(())
}

/// Bytes of the whole lines that fit into `bytes_max`; one line at least.
fn whole_lines(lines: &[u8], bytes_max: usize) -> usize {
    if lines.len() <= bytes_max {
        return lines.len();
    }
    let end = memrchr(b'\n', &lines[..bytes_max]).or_else(|| memchr(b'\n', lines));
    end.map_or(lines.len(), |end| end + 1)
}

/// An entry as a line.
fn plain(fields: &[&str]) -> Vec<u8> {
    let field = |name| fields.iter().find_map(|field| field.strip_prefix(name)).unwrap_or_default();
    format!("{} | {}\n", field("SYSLOG_IDENTIFIER="), field("MESSAGE=")).into_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::counters::Counters;

    fn counts() -> Counts {
        let table = Counters::private().unwrap().forever();
        Counts::register(|name| table.register(name)).unwrap()
    }

    #[test]
    fn as_many_whole_lines_are_written_as_fit() {
        assert_eq!(whole_lines(b"ab\ncd\nef\n", 7), 6);
        assert_eq!(whole_lines(b"ab\ncd\n", 6), 6);
        assert_eq!(whole_lines(b"abcdefgh\ncd\n", 4), 9, "a longer line goes alone");
    }

    #[test]
    fn lines_come_out_and_the_one_who_waits_for_room_is_woken() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let counts = counts();
        let mut queue = Queue::start(Sink::Stdout(Output::new(ours.into()).unwrap()), counts).unwrap();
        for _ in 0..2000 {
            let line = [&[b'x'; 999][..], b"\n"].concat();
            queue.batch.bytes.extend_from_slice(&line);
            queue.batch.lines += 1;
            queue.send();
        }
        assert!(queue.queued_bytes() > 1000, "nobody reads");
        queue.wake_below(1);
        let mut poller = crate::sys::poller::Poller::new().unwrap();
        poller.watch_reads(queue.wake(), 1).unwrap();
        theirs.read_exact(&mut vec![0; 2_000_000]).unwrap();
        poller.wait(true).unwrap();
        assert_eq!(queue.queued_bytes(), 0);
        drop(queue);
    }

    #[test]
    fn what_has_left_the_queue_is_counted() {
        let counts = counts();
        let null = std::fs::File::options().write(true).open("/dev/null").unwrap();
        let mut queue = Queue::start(Sink::Stdout(Output::new(null.into()).unwrap()), counts).unwrap();
        for line in 1..=20_000 {
            queue.batch.bytes.extend_from_slice(b"a\n");
            queue.batch.lines += 1;
            queue.send();
            while queue.queued_bytes() > 0 {
                std::hint::spin_loop();
            }
            assert_eq!(counts.written.load(Ordering::Relaxed), line);
        }
    }

    #[test]
    fn what_the_output_refuses_is_counted() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let counts = counts();
        let shared = Arc::new(Shared { queued_bytes: 6.into(), wake_below: 0.into(), wake: Wake::new().unwrap() });
        let sink = Sink::Stdout(Output::new(full.into()).unwrap());
        let mut writer = Writer { sink, counts, shared, is_cut: false };
        writer.write(&Batch { bytes: b"a\nb\nc\n".to_vec(), lines: 3 });
        assert_eq!(counts.dropped_output.load(Ordering::Relaxed), 3);
        assert_eq!(
            (counts.written.load(Ordering::Relaxed), writer.shared.queued_bytes.load(Ordering::Relaxed)),
            (0, 0)
        );
    }
}
