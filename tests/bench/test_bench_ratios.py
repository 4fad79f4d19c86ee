"""The arithmetic behind the tables."""

import pytest

from khronos_fast.bench.ratios import all_ratios, paired, spread
from khronos_fast.bench.units import BYTES, MILLIONS_A_SECOND, NANOSECONDS, PERCENT


def test_lower_is_better_for_times_and_sizes():
    assert NANOSECONDS.times_better(40, than=100) == 2.5
    assert BYTES.times_better(100, than=50) == 0.5


def test_higher_is_better_for_rates_and_hits():
    assert MILLIONS_A_SECOND.times_better(40, than=10) == 4
    assert PERCENT.times_better(20, than=80) == 0.25


def test_a_ratio_to_nothing_is_infinite_and_of_two_nothings_one():
    assert PERCENT.times_better(10, than=0) == float("inf")
    assert PERCENT.times_better(0, than=0) == 1


def test_ratios_pair_the_samples_of_a_round():
    """The machine got slower by half each round: the medians' ratio would be right too, but not by design."""
    samples = {"ours": [10.0, 20.0, 300.0], "rival": [20.0, 40.0, 60.0]}
    ratio = paired(NANOSECONDS, samples, "ours", "rival")
    assert ratio.samples == (2.0, 2.0, 0.2)
    assert ratio.ratio == 2.0


def test_paired_is_not_the_ratio_of_medians():
    samples = {"ours": [10.0, 30.0, 20.0], "rival": [10.0, 90.0, 40.0]}
    assert paired(NANOSECONDS, samples, "ours", "rival").ratio == 2.0
    samples = {"ours": [1.0, 10.0, 100.0], "rival": [100.0, 10.0, 1_000.0]}
    assert paired(NANOSECONDS, samples, "ours", "rival").ratio == 10.0  # the medians' would be 10 as well
    samples = {"ours": [1.0, 10.0, 100.0], "rival": [3.0, 20.0, 100.0]}
    assert paired(NANOSECONDS, samples, "ours", "rival").samples == (3.0, 2.0, 1.0)


def test_unequal_rounds_are_an_error_not_a_guess():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired(NANOSECONDS, {"a": [1.0, 2.0], "b": [1.0]}, "b", "a")


def test_ours_to_everyone_and_everyone_to_the_floor():
    samples = {"dict": [1.0], "ours": [2.0], "ours too": [4.0], "rival": [8.0]}
    pairs = {
        (ratio.contender, ratio.to): ratio.ratio
        for ratio in all_ratios(NANOSECONDS, samples, ["ours", "ours too"], "dict")
    }
    assert pairs == {
        ("ours", "dict"): 0.5,
        ("ours", "ours too"): 2.0,
        ("ours", "rival"): 4.0,
        ("ours too", "dict"): 0.25,
        ("ours too", "ours"): 0.5,
        ("ours too", "rival"): 2.0,
        ("rival", "dict"): 0.125,
    }


def test_without_the_floor_or_ours_there_are_fewer_ratios():
    assert list(all_ratios(NANOSECONDS, {"rival": [1.0]}, ["ours"], "dict")) == []


def test_spread():
    assert spread([90.0, 100.0, 120.0]) == pytest.approx(0.3)
    assert spread([0.0, 0.0]) == 0.0


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (NANOSECONDS, 1234.5, "1,234"),
        (NANOSECONDS, 45.67, "45.7"),
        (NANOSECONDS, 4.567, "4.57"),
        (BYTES, 48.04, "48.0"),
        (PERCENT, 7.0, "7.00"),
    ],
)
def test_numbers_have_the_digits_that_mean_something(unit, value, text):
    assert unit.text(value) == text
