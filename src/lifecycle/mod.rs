//! A service's life as a pure state machine: `step(state, event, now) -> actions`.
