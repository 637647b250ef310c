"""Run with: python3 -m unittest discover --start-directory benches --top-level-directory benches"""

import unittest

from harness.report import Metric, between, comparison, figure, table

FASTER = Metric("rate", "requests per second", ">= 1.3")
SHORTER = Metric("p50", "p50, µs", "<= 0.65")


def rounds(key, *values):
    return [{key: value} for value in values]


class Table(unittest.TestCase):
    def test_ratio_is_the_median_of_the_rounds_own_ratios(self):
        text, _ = table([FASTER], "a", rounds("rate", 20, 30, 80), "b", rounds("rate", 10, 20, 20))
        self.assertIn("| 2.00× (1.50 to 4.00) |", text)

    def test_goal_at_its_bound_is_met(self):
        _, missed = table([FASTER], "a", rounds("rate", 13), "b", rounds("rate", 10))
        self.assertEqual(missed, [])

    def test_goal_is_missed_on_the_wrong_side_of_its_bound(self):
        _, missed = table([SHORTER], "a", rounds("p50", 66), "b", rounds("p50", 100))
        self.assertEqual(missed, ["p50, µs"])

    def test_row_without_a_ratio_misses_its_goal(self):
        text, missed = table([FASTER], "a", rounds("rate", 5), "b", rounds("rate", 0))
        self.assertIn("| – |", text)
        self.assertEqual(missed, ["requests per second"])

    def test_floor_has_a_ratio_where_it_has_figures(self):
        text, missed = table([SHORTER, FASTER], "a", [{"p50": 66, "rate": 13}], "b", [{"p50": 100, "rate": 10}],
                             ("floor", rounds("p50", 60)))
        self.assertEqual(missed, ["p50, µs"])
        self.assertEqual([line.split("|")[-2] for line in text.splitlines()], [" floor ", "---:", " 0.60× ", " "])

    def test_figures_keep_three_digits(self):
        self.assertEqual([figure(value) for value in (43912.4, 225.2, 12.34, 0.384)], ["43,912", "225", "12.3", "0.38"])


class Comparison(unittest.TestCase):
    def test_goal_is_held_against_the_named_peer_or_against_the_figure_itself(self):
        metrics = [Metric("t", "start, ms", "<= 0.5", "b"), Metric("kib", "memory, KiB", "<= 3000"), Metric("x", "x")]
        ours = [{"t": 40, "kib": 3100}, {"t": 50, "kib": 3100}]
        sides = {"b": rounds("t", 100, 100), "a": ours, "c": rounds("t", 10, float("inf"))}
        text, missed = comparison(metrics, "a", sides)
        self.assertEqual(missed, ["memory, KiB"])
        self.assertEqual(text.splitlines()[0], "| | a | b | c | goal | |")
        self.assertEqual(text.splitlines()[2:], [
            "| start, ms | 45.0 | 100 | never | ≤ 0.5× b | met: 0.45× (0.40 to 0.50) |",
            "| memory, KiB | 3,100 |  |  | ≤ 3000 | **missed** |",
            "| x |  |  |  |  |  |",
        ])


class Page(unittest.TestCase):
    def test_only_the_text_between_the_markers_changes(self):
        page = "head\n<!-- t: begin -->\nold\n<!-- t: end -->\ntail\n"
        self.assertEqual(between(page, "t", "new"), "head\n<!-- t: begin -->\nnew\n<!-- t: end -->\ntail\n")

    def test_page_without_markers_is_refused(self):
        with self.assertRaises(ValueError):
            between("head\ntail\n", "t", "new")


if __name__ == "__main__":
    unittest.main()
