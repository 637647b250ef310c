//! Bounds that other bounds bound.

use crate::config::fields::{Fields, Given, Problems};

/// Bytes that any bound may ask for: a tebibyte, more than any machine of ours has.
pub(super) const BYTES_MAX: u64 = 1 << 40;
/// Milliseconds that any time may last: a day. It keeps sums of times far from overflow.
const MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A bound that another one bounds, with the path that messages name it by.
pub(super) struct Bound {
    pub(super) path: String,
    pub(super) given: Given<u64>,
}

impl Bound {
    pub(super) fn bytes(fields: &mut Fields<'_>, key: &'static str, default: u64, problems: &mut Problems) -> Self {
        let given = fields.number(key, "a number of bytes", 1..=BYTES_MAX, default, problems);
        Self { path: fields.path(key), given }
    }

    pub(super) fn milliseconds(
        fields: &mut Fields<'_>,
        key: &'static str,
        default: u64,
        problems: &mut Problems,
    ) -> Self {
        let given = fields.number(key, "a number of milliseconds", 1..=MS_MAX, default, problems);
        Self { path: fields.path(key), given }
    }

    /// Holds this bound to a larger one. A default gives way, so that lowering one bound needs no second key; a value
    /// that the text gives is a contradiction.
    pub(super) fn at_most(&mut self, larger: &Bound, problems: &mut Problems) {
        if self.given.value <= larger.given.value {
            return;
        }
        match self.given.line {
            None => self.given.value = larger.given.value,
            Some(line) => {
                let Bound { path, given } = larger;
                let message =
                    format!("{} is more than {path} ({}{})", self.given.value, given.value, by_default(given));
                problems.add(line, &self.path, message);
            }
        }
    }
}

/// A time that no other one bounds.
pub(super) fn milliseconds(
    fields: &mut Fields<'_>,
    key: &'static str,
    min: u64,
    default: u64,
    problems: &mut Problems,
) -> u64 {
    fields.number(key, "a number of milliseconds", min..=MS_MAX, default, problems).value
}

/// What to add about a value that the reader will not find in the text.
pub(super) fn by_default<T>(given: &Given<T>) -> &'static str {
    if given.line.is_some() { "" } else { " by default" }
}
