"""The measuring protocol."""

import gc

import pytest

from khronos_fast.bench.rounds import interleave, loop_cost, order_of, quiet


class Panic(BaseException):
    """As extensions written in Rust raise it."""


class Recorder:
    def __init__(self, name: str, log: list[str], raises: BaseException | None = None) -> None:
        self.name, self.log, self.raises = name, log, raises
        self.collecting: list[bool] = []
        self.closed = False

    def sample(self, loop_ns: float, /) -> float:
        self.log.append(self.name)
        self.collecting.append(gc.isenabled())
        if self.raises is not None:
            raise self.raises
        return 100.0 - loop_ns

    def close(self) -> None:
        self.closed = True


def ignore(part: float, text: str) -> None:
    pass


def run(recorders: list[Recorder], rounds: int = 3, loop_ns: float = 0.0):
    setups = {recorder.name: lambda recorder=recorder: recorder for recorder in recorders}
    return interleave(setups, lambda _: loop_ns, rounds, ignore)


def test_contenders_take_turns_and_the_order_rotates():
    log: list[str] = []
    run([Recorder(name, log) for name in "ABC"], rounds=4)
    assert "".join(log) == "ABC" + "BCA" + "CAB" + "ABC"


def test_order_of_no_contenders():
    assert order_of([], 5) == []


def test_every_contender_has_one_sample_a_round_without_the_loop():
    outcome = run([Recorder(name, []) for name in "AB"], rounds=3, loop_ns=4.0)
    assert outcome.samples == {"A": [96.0] * 3, "B": [96.0] * 3}
    assert "4.0 ns" in outcome.notes[0]


def test_rows_keep_the_registrys_order():
    assert list(run([Recorder(name, []) for name in "BAC"], rounds=3).samples) == ["B", "A", "C"]


def test_no_garbage_is_collected_while_the_clock_runs():
    recorder = Recorder("A", [])
    assert gc.isenabled()
    run([recorder])
    assert recorder.collecting == [False] * 3
    assert gc.isenabled()


def test_quiet_leaves_a_disabled_collector_disabled():
    gc.disable()
    try:
        with quiet():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [ValueError("bad key"), Panic("bad key")])
def test_one_that_raises_is_reported_and_the_others_go_on(error: BaseException):
    log: list[str] = []
    outcome = run([Recorder("A", log), Recorder("B", log, error), Recorder("C", log)])
    assert outcome.failed == {"B": f"{type(error).__name__}: bad key"}
    assert list(outcome.samples) == ["A", "C"]
    assert log.count("A") == log.count("C") == 3
    assert log.count("B") == 1


def test_one_that_can_not_be_set_up_is_reported():
    def broken() -> Recorder:
        raise RuntimeError("no capacity")

    outcome = interleave({"A": lambda: Recorder("A", []), "B": broken}, lambda _: 0.0, 2, ignore)
    assert outcome.failed == {"B": "RuntimeError: no capacity"}
    assert len(outcome.samples["A"]) == 2


def test_ctrl_c_is_nobodys_failure_and_closes_all():
    first, second = Recorder("A", []), Recorder("B", [], KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run([first, second])
    assert first.closed
    assert second.closed


def test_each_round_begins_with_its_own_keys():
    begun: list[int] = []

    def begin(round_index: int) -> float:
        begun.append(round_index)
        return 0.0

    interleave({"A": lambda: Recorder("A", [])}, begin, 3, ignore)
    assert begun == [-1, 0, 1, 2]


def test_the_empty_loop_costs_something_but_less_than_a_microsecond_a_key():
    assert 0 < loop_cost(["key"] * 1_000) < 1_000
