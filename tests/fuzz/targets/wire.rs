//! The libFuzzer face of the `wire` target; the body is shared with the plain test `tests/fuzz_wire.rs`.

#![no_main]

#[path = "wire_body.rs"]
mod wire_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire_body::wire(data));
