//! "Did you mean": the known name that is nearest to a mistyped one.

/// Edits (a letter added, dropped or changed, or two swapped) up to which two names are close.
const EDITS_MAX: usize = 2;

/// The name nearest to `wrong`, if one is close: at most [`EDITS_MAX`] edits away, and fewer than half of its letters.
pub(super) fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        // The difference in length is a lower bound, which keeps a huge key from costing anything.
        .filter(|name| wrong.len().abs_diff(name.len()) <= EDITS_MAX)
        .map(|name| (strsim::osa_distance(wrong, name), *name))
        .filter(|(edits, name)| *edits <= EDITS_MAX && edits * 2 < name.len())
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["front", "back", "window", "waiting_max", "waiting_ms_max"];
        assert_eq!(nearest("frnt", &known), Some("front"));
        assert_eq!(nearest("bakc", &known), Some("back"));
        assert_eq!(nearest("Window", &known), Some("window"));
        assert_eq!(nearest("waiting_s_max", &known), Some("waiting_ms_max"));
        assert_eq!(nearest("port", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
