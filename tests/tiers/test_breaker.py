"""`Breaker`: when it opens and closes, whose word counts, and that one alone probes."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast.tiers.breaker import Breaker


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(3, clock)


def opened(breaker):
    for _ in range(breaker.threshold):
        breaker.failed(breaker.allows())
    assert not breaker.allows()
    return breaker


class TestOpening:
    def test_new_is_closed(self, breaker):
        assert breaker.allows()
        assert breaker.state == "closed"
        assert breaker.opened == 0
        assert repr(breaker) == "<Breaker: closed, opened 0 time(s)>"

    def test_opens_at_the_threshold_and_says_so_once(self, breaker):
        ticket = breaker.allows()
        assert [breaker.failed(ticket) for _ in range(5)] == [False, False, True, False, False]
        assert breaker.allows() == 0
        assert breaker.state == "open"
        assert breaker.opened == 1

    def test_only_failures_in_a_row_count(self, breaker):
        for _ in range(10):
            breaker.failed(breaker.allows())
            breaker.failed(breaker.allows())
            assert not breaker.succeeded(breaker.allows())
        assert breaker.state == "closed"

    def test_without_tickets(self, breaker):
        assert [breaker.failed() for _ in range(4)] == [False, False, True, False]
        assert breaker.succeeded()
        assert breaker.allows()
        breaker.failed()
        assert not breaker.succeeded()
        assert [breaker.failed() for _ in range(3)] == [False, False, True]
        assert breaker.opened == 2

    def test_a_threshold_of_one(self):
        breaker = Breaker(1)
        assert breaker.failed(breaker.allows())
        assert not breaker.allows()


class TestLateOutcomes:
    def test_late_success_does_not_close_it(self, breaker):
        ticket = breaker.allows()
        opened(breaker)
        assert not breaker.succeeded(ticket)
        breaker.start_probe()
        assert not breaker.succeeded(ticket)
        assert not breaker.allows()

    def test_late_failures_do_not_open_it_again(self, breaker):
        ticket = breaker.allows()
        opened(breaker)
        breaker.succeeded(breaker.start_probe())
        assert not any(breaker.failed(ticket) for _ in range(10))
        assert breaker.allows()
        assert breaker.opened == 1

    def test_late_failures_do_not_add_to_new_ones(self, breaker):
        ticket = breaker.allows()
        opened(breaker)
        breaker.succeeded(breaker.start_probe())
        breaker.failed(breaker.allows())
        breaker.failed(breaker.allows())
        assert not breaker.failed(ticket)
        assert breaker.allows()

    def test_late_success_does_not_forgive_new_failures(self, breaker):
        ticket = breaker.allows()
        opened(breaker)
        breaker.succeeded(breaker.start_probe())
        breaker.failed(breaker.allows())
        breaker.failed(breaker.allows())
        breaker.succeeded(ticket)
        assert breaker.failed(breaker.allows())

    def test_late_failures_do_not_put_the_probe_off(self, breaker, clock):
        ticket = breaker.allows()
        opened(breaker)
        clock.now += 0.4
        breaker.failed(ticket)
        assert breaker.seconds_to_probe() == pytest.approx(0.1)

    def test_no_ticket_is_no_say(self, breaker):
        opened(breaker)
        assert not breaker.succeeded(0)
        assert not breaker.allows()
        breaker.start_probe()
        assert not breaker.succeeded(0)
        assert not breaker.allows()

    def test_late_probers_are_not_listened_to(self, breaker):
        opened(breaker)
        first = breaker.start_probe()
        breaker.end_probe(first)
        second = breaker.start_probe()
        assert not breaker.succeeded(first)
        breaker.end_probe(first)
        assert breaker.is_awaited(second)
        assert breaker.succeeded(second)


class TestProbing:
    def test_nobody_probes_while_it_is_closed(self, breaker):
        assert breaker.start_probe() == 0
        assert not breaker.is_awaited(0)

    def test_one_alone_probes(self, breaker):
        opened(breaker)
        probe = breaker.start_probe()
        assert probe
        assert [breaker.start_probe() for _ in range(5)] == [0] * 5
        assert breaker.is_awaited(probe)
        assert not breaker.is_awaited(0)

    def test_its_success_closes_it_once_and_ends_the_duty(self, breaker):
        opened(breaker)
        probe = breaker.start_probe()
        assert breaker.succeeded(probe)
        assert not breaker.succeeded(probe)
        assert breaker.state == "closed"
        assert not breaker.is_awaited(probe)
        assert breaker.start_probe() == 0
        opened(breaker)
        assert breaker.start_probe() > probe

    def test_its_failure_leaves_it_open(self, breaker, clock):
        opened(breaker)
        probe = breaker.start_probe()
        for _ in range(10):
            clock.now += breaker.seconds_to_probe()
            assert breaker.state == "half_open"
            assert not breaker.failed(probe)
            assert breaker.state == "open"
            assert breaker.seconds_to_probe() == pytest.approx(0.5)
        assert breaker.opened == 1
        assert breaker.is_awaited(probe)

    def test_half_open_once_the_pause_is_over(self, breaker, clock):
        opened(breaker)
        assert breaker.state == "open"
        clock.now += 0.6
        assert breaker.state == "half_open"
        assert not breaker.allows()
        assert breaker.seconds_to_probe() == 0
        assert "half_open" in repr(breaker)

    def test_given_back(self, breaker):
        opened(breaker)
        probe = breaker.start_probe()
        breaker.end_probe(probe)
        assert not breaker.is_awaited(probe)
        assert breaker.start_probe()
        breaker.end_probe()
        assert breaker.start_probe()

    def test_one_that_is_not_heard_of_is_replaced(self, breaker, clock):
        opened(breaker)
        first = breaker.start_probe()
        clock.now += 9
        breaker.failed(first)
        clock.now += 9
        assert breaker.start_probe() == 0
        clock.now += 1
        second = breaker.start_probe()
        assert second
        assert not breaker.is_awaited(first)
        assert breaker.start_probe() == 0

    def test_one_that_begins_late_has_its_time(self, breaker, clock):
        opened(breaker)
        clock.now += 1000
        assert breaker.start_probe()
        assert breaker.seconds_to_probe() == 0
        assert breaker.start_probe() == 0


class TestForks:
    def test_the_child_starts_closed_even_if_the_lock_was_held(self, breaker):
        ticket = breaker.allows()
        opened(breaker)
        probe = breaker.start_probe()
        held = threading.Event()

        def hold():
            breaker._lock.acquire()
            held.set()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        thread.join()
        breaker.reset()
        assert breaker.state == "closed"
        assert breaker.opened == 1
        assert not any(breaker.failed(late) for late in (ticket, probe) * 3)
        assert breaker.failed(breaker.allows()) is False
        assert breaker.failed() is False
        assert breaker.failed() is True


@given(st.lists(st.sampled_from(["call", "good", "bad", "probe", "probe good", "probe bad", "give up"]), max_size=60))
def test_any_sequence(steps):
    """Beside the rules, said once more and in another way."""
    breaker = Breaker(2, Clock())
    calls, probes = [], []  # tickets that are out, with the number of times it had opened or closed by then
    turns = failures = 0
    probing = False
    for step in steps:
        if step == "call":
            ticket = breaker.allows()
            assert bool(ticket) == (turns % 2 == 0)
            if ticket:
                calls.append((ticket, turns))
        elif step == "good" and calls:
            ticket, turn = calls.pop(0)
            assert not breaker.succeeded(ticket)
            failures = 0 if turn == turns else failures
        elif step == "bad" and calls:
            ticket, turn = calls.pop(0)
            failures += turn == turns
            opens = turn == turns and failures == 2
            assert breaker.failed(ticket) == opens
            if opens:
                turns, failures = turns + 1, 0
        elif step == "probe":
            probe = breaker.start_probe()
            assert bool(probe) == (turns % 2 == 1 and not probing)
            if probe:
                probing = True
                probes.append(probe)
        elif step == "probe good" and probes:
            valid = probing and turns % 2 == 1
            assert breaker.succeeded(probes[-1]) == valid
            if valid:
                turns, probing = turns + 1, False
        elif step == "probe bad" and probes:
            assert not breaker.failed(probes[-1])
        elif step == "give up" and probing:
            breaker.end_probe(probes[-1])
            probing = False
        assert breaker.opened == (turns + 1) // 2


def test_threads_open_it_once_and_one_of_them_probes():
    breaker = Breaker(3)
    start = threading.Barrier(8)
    opens, probes = [], []

    def run():
        start.wait()
        for _ in range(200):
            ticket = breaker.allows()
            if breaker.failed(ticket):
                opens.append(1)
            probe = breaker.start_probe()
            if probe:
                probes.append(probe)
                assert breaker.succeeded(probe)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opens) == breaker.opened
    assert len(probes) == len(set(probes))
    assert breaker.opened - len(probes) in (0, 1)
