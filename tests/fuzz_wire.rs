//! The short form of the fuzz target `wire`: the same body, on some hundred generated conversations. The long form is
//! libFuzzer's (`scripts/test --long`).

#[path = "fuzz/targets/wire_body.rs"]
mod wire_body;

use proptest::collection::vec;
use proptest::prelude::*;

/// A frame with any flags, that may announce any length whatever it then carries.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let announced = prop_oneof![any::<u64>(), 0..300u64, (0..64u32).prop_map(|bit| 1 << bit)];
    (any::<u8>(), announced, vec(any::<u8>(), 0..300)).prop_map(|(flags, announced, body)| {
        let mut frame = vec![flags];
        if flags & 0x02 == 0 {
            frame.push(announced as u8);
        } else {
            frame.extend(announced.to_be_bytes());
        }
        frame.extend(body);
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_of_a_peer_break_the_rules_of_wire(
        choice in any::<u8>(),
        cut in any::<u8>(),
        frames in vec(frame(), 0..8),
        kept in any::<prop::sample::Index>(),
    ) {
        let mut input = vec![choice, cut];
        input.extend(frames.concat());
        input.truncate(2 + kept.index(input.len() - 1));
        wire_body::wire(&input);
    }
}
