//! "Did you mean": the known name that is nearest to a mistyped one.

/// Edits (a letter added, dropped or changed) up to which two names are close.
const EDITS_MAX: usize = 2;

/// The name nearest to `wrong`, if one is close: at most [`EDITS_MAX`] edits away, and fewer than half of its letters.
pub(super) fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        // The difference in length is a lower bound, which keeps a huge key from costing anything.
        .filter(|name| wrong.len().abs_diff(name.len()) <= EDITS_MAX)
        .map(|name| (edits(wrong, name), *name))
        .filter(|(edits, name)| *edits <= EDITS_MAX && edits * 2 < name.len())
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance, one row at a time.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters_added_dropped_and_changed() {
        assert_eq!(edits("front", "front"), 0);
        assert_eq!(edits("frnt", "front"), 1);
        assert_eq!(edits("fronts", "front"), 1);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "bus"), 3);
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["front", "back", "window", "waiting_max", "waiting_ms_max"];
        assert_eq!(nearest("frnt", &known), Some("front"));
        assert_eq!(nearest("Window", &known), Some("window"));
        assert_eq!(nearest("waiting_s_max", &known), Some("waiting_ms_max"));
        assert_eq!(nearest("port", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
