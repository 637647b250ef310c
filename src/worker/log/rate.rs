//! A rate of lines with a burst (the generic cell rate algorithm). Pure: the time is an argument.

/// How many lines a service may write.
#[derive(Debug)]
pub(super) struct Rate {
    /// Nanoseconds that one line is worth.
    line_ns: u64,
    /// How far ahead of time a service may be.
    ahead_ns_max: u64,
    /// When the lines so far would be paid for, in nanoseconds of the same clock as `now_ns`.
    paid_at_ns: u64,
}

impl Rate {
    /// `None` where there is no bound. `burst_lines` is at least 1.
    pub(super) fn new(lines_per_s: u32, burst_lines: u32) -> Option<Self> {
        let line_ns = 1_000_000_000u64.checked_div(lines_per_s.into())?;
        Some(Self { line_ns, ahead_ns_max: line_ns * u64::from(burst_lines - 1), paid_at_ns: 0 })
    }

    /// Whether one more line may pass now.
    pub(super) fn passes(&mut self, now_ns: u64) -> bool {
        let paid_at_ns = self.paid_at_ns.max(now_ns);
        let passes = paid_at_ns - now_ns <= self.ahead_ns_max;
        if passes {
            self.paid_at_ns = paid_at_ns + self.line_ns;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(rate: &mut Rate, lines: usize, now_ns: u64) -> usize {
        (0..lines).filter(|_| rate.passes(now_ns)).count()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_what_the_rate_says() {
        let mut rate = Rate::new(10, 5).unwrap();
        assert_eq!(passed(&mut rate, 100, 1_000), 5);
        assert_eq!(passed(&mut rate, 100, 1_000), 0);
        assert_eq!(passed(&mut rate, 100, 300_001_000), 3);
        assert_eq!(passed(&mut rate, 100, 60_000_000_000), 5, "what was not used is not kept beyond the burst");
    }

    #[test]
    fn no_rate_is_no_bound() {
        assert!(Rate::new(0, 1).is_none());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_allow(
            per_s in 1u32..2_000_000,
            burst in 1u32..1000,
            steps in prop::collection::vec((0u64..100_000_000, 0usize..300), 1..50),
        ) {
            let mut rate = Rate::new(per_s, burst).unwrap();
            let (mut now, mut all) = (5, 0);
            for (step, lines) in steps {
                now += step;
                all += passed(&mut rate, lines, now);
                let line_ns = 1_000_000_000 / u64::from(per_s);
                prop_assert!(all as u64 <= u64::from(burst) + (now - 5) / line_ns);
            }
        }
    }
}
