"""A circuit breaker leaves a failing provider alone, tries it with one request, and believes what it sees."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vespera_agents.providers.circuit import Circuit, CircuitBreaker, worst_circuits


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock, *, failures_max: int = 3) -> CircuitBreaker:
    circuit = CircuitBreaker(failures_max, 10.0, 60.0, clock)
    for _ in range(failures_max):
        number = circuit.enter()
        assert number is not None
        circuit.failed(number, "it broke")
    return circuit


def test_it_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    clock = Clock()
    circuit = CircuitBreaker(3, 10.0, 60.0, clock)
    for _ in range(2):
        circuit.failed(circuit.enter() or 0, "it broke")
    circuit.succeeded()
    for _ in range(2):
        circuit.failed(circuit.enter() or 0, "it broke")
    assert circuit.state is Circuit.CLOSED, "a success in between begins anew"
    circuit.failed(circuit.enter() or 0, "it broke")
    assert (circuit.state, circuit.enter(), circuit.wait_seconds) == (Circuit.OPEN, None, 10.0)


def test_half_open_lets_one_probe_through_whose_success_closes_it() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now += 10.0
    assert circuit.state is Circuit.HALF_OPEN
    probe = circuit.enter()
    assert probe is not None
    assert circuit.enter() is None, "one probe at a time"
    assert circuit.wait_seconds > 0.0
    circuit.succeeded()
    assert (circuit.state, circuit.wait_seconds) == (Circuit.CLOSED, 0.0)


def test_each_probe_that_fails_doubles_the_time_up_to_a_bound() -> None:
    clock = Clock()
    circuit = opened(clock)
    waits = []
    for _ in range(5):
        clock.now += circuit.wait_seconds
        circuit.failed(circuit.enter() or 0, "still broken")
        waits.append(circuit.wait_seconds)
    assert waits == [20.0, 40.0, 60.0, 60.0, 60.0]
    assert circuit.statistics().why == "still broken"


def test_a_probe_that_is_called_off_makes_room_for_another() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now += 10.0
    probe = circuit.enter()
    assert probe is not None
    circuit.gave_up(probe)
    assert circuit.enter() is not None


def test_news_of_a_request_from_before_does_not_end_a_probe() -> None:
    clock = Clock()
    circuit = CircuitBreaker(2, 10.0, 60.0, clock)
    old = [circuit.enter() or 0 for _ in range(4)]
    circuit.failed(old[0], "it broke")
    circuit.failed(old[1], "it broke")
    clock.now += 10.0
    assert circuit.enter() is not None
    circuit.failed(old[2], "an old failure")
    circuit.gave_up(old[3])
    assert circuit.enter() is None, "the probe is still under way"
    assert circuit.statistics().opened == 1


@given(st.lists(st.sampled_from(["enter", "fail", "succeed", "give up", "wait"]), max_size=60))
def test_whatever_happens_there_is_at_most_one_probe_and_it_never_stays_shut(steps: list[str]) -> None:
    clock = Clock()
    circuit = CircuitBreaker(2, 10.0, 60.0, clock)
    running: list[int] = []
    for step in steps:
        was = circuit.state
        if step == "wait":
            clock.now += 7.0
        elif step == "enter":
            number = circuit.enter()
            assert (number is None) <= (was is not Circuit.CLOSED)
            if number is not None:
                running.append(number)
        elif running:
            number = running.pop()
            {
                "fail": lambda n: circuit.failed(n, "x"),
                "give up": circuit.gave_up,
                "succeed": lambda _: circuit.succeeded(),
            }[step](number)
        assert circuit.wait_seconds <= 60.0
    for number in running:
        circuit.gave_up(number)
    clock.now += 60.0
    assert circuit.enter() is not None


def test_of_several_circuits_the_worst_is_shown() -> None:
    found = worst_circuits([{"a": Circuit.CLOSED, "b": Circuit.OPEN}, {"a": Circuit.HALF_OPEN, "b": Circuit.CLOSED}])
    assert found == {"a": Circuit.HALF_OPEN, "b": Circuit.OPEN}
