//! Giving up what a process has no need for.

use std::io;

use caps::CapSet;

/// Gives up every capability, and the way to any new one through exec. What counts is the effect: the bounding set may
/// be out of reach of an unprivileged process, but with the other sets empty and no_new_privs set it grants nothing.
pub fn drop_all() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    let sets = [CapSet::Ambient, CapSet::Bounding, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted];
    for set in sets {
        let _ = caps::clear(None, set);
    }
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted] {
        let left = caps::read(None, set).map_err(io::Error::other)?;
        if !left.is_empty() {
            return Err(io::Error::other(format!("capabilities are left in the {set:?} set: {left:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gave_them_up_has_none() {
        // Capabilities belong to the thread, so the rest of this process keeps its own.
        let has_any = std::thread::spawn(|| {
            drop_all().unwrap();
            caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_CHOWN).unwrap()
        });
        assert!(!has_any.join().unwrap());
    }
}
