"""What is unanswered, kept, repeated and refused: the relay without a process."""

from __future__ import annotations

import json

import pytest

from vespera_agents.front.relay import Relay

WHY = "it died; see the log"


def request(identifier: object, method: str = "echo") -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "method": method}).encode()


def relay(*lines: bytes, told: bool = True) -> Relay:
    one = Relay()
    for line in lines:
        one.take(line, 0.0, told=told)
    return one


def numbers(lines: list[bytes]) -> list[int]:
    return [int(line.split()[0]) for line in lines]


def errors(lines: list[bytes]) -> list[tuple[object, str]]:
    answers = [json.loads(line) for line in lines]
    return [(answer["id"], answer["error"]["message"]) for answer in answers]


def test_lines_are_numbered_and_an_answer_is_passed_on_once():
    one = Relay()
    assert one.take(b"a", 0.0, told=True) == b"1 a\n"
    assert one.take(b"b", 0.0, told=True) == b"2 b\n"
    assert one.hear(b"R 2 answer b") == (b"answer b", 2)
    assert one.hear(b"R 2 answer b") == (None, 0)
    assert one.hear(b"R 7 unheard of") == (None, 0)
    assert (one.waiting, one.bytes, one.answered, one.dropped) == (1, 1, 1, 2)


def test_what_is_unanswered_and_kept_is_repeated_in_order():
    one = relay(b"init", b"initialized", b"a", b"b", b"c")
    assert one.hear(b"K 1 init hello") == (b"hello", 1)
    assert one.hear(b"K 2 initialized ") == (None, 0)
    assert one.hear(b"R 4 answer") == (b"answer", 4)
    one.hear(b"D 5")
    one.lose(blamed=True, why=WHY)
    assert one.repeat() == [b"1 init\n", b"2 initialized\n", b"3 a\n"]
    # The next worker keeps them again; the client has its answers.
    assert one.hear(b"K 1 init hello again") == (None, 0)
    assert one.hear(b"K 2 initialized ") == (None, 0)
    one.lose(blamed=True, why=WHY)
    assert numbers(one.repeat()) == [1, 2, 3]


def test_a_slot_holds_one_line_and_can_be_forgotten():
    one = relay(b"subscribe a", b"subscribe a again", b"subscribe b")
    one.hear(b"K 1 sub:a ok")
    one.hear(b"K 2 sub:a ok")
    one.hear(b"K 3 sub:b ok")
    assert numbers(one.repeat()) == [2, 3]
    one.hear(b"U sub:b")
    assert numbers(one.repeat()) == [2]


def test_a_kept_line_without_an_answer_is_no_longer_in_flight_and_can_still_be_answered():
    one = relay(b"listen")
    assert one.hear(b"K 1 listen:1 ") == (None, 0)
    assert one.waiting == 0
    for _ in range(5):
        assert one.lose(blamed=True, why=WHY) == []
        assert numbers(one.repeat()) == [1]
    assert one.hear(b"P 1 0 ack") == (b"ack", 0)
    assert one.hear(b"P 1 0 ack again") == (None, 0)
    assert one.hear(b"R 1 it ends") == (b"it ends", 1)
    assert one.repeat() == []


def test_progress_only_goes_up_whoever_tells_of_it():
    one = relay(request(1))
    assert one.hear(b"P 1 1 one") == (b"one", 0)
    assert one.hear(b"P 1 2.5 more") == (b"more", 0)
    one.lose(blamed=True, why=WHY)
    one.repeat()
    assert [one.hear(b"P 1 %s x" % value)[0] for value in (b"1", b"2.5", b"nan", b"3")] == [None, None, None, b"x"]
    one.hear(b"R 1 done")
    assert one.hear(b"P 1 9 late") == (None, 0)


def test_a_request_at_two_deaths_is_repeated_alone_and_at_the_third_answered_with_an_error():
    one = relay(request("a"), request("b"))
    for _ in range(2):
        assert one.lose(blamed=True, why=WHY) == []
        told = one.repeat()
    assert numbers(told) == [1], "the second suspect waits for the first"
    one.take(request("c"), 0.0, told=True)
    assert one.next_suspect() is None
    assert errors(one.lose(blamed=True, why=WHY)) == [("a", WHY)]
    assert numbers(one.repeat()) == [2, 3]
    assert one.hear(b"R 2 fine") == (b"fine", 2)
    assert one.hear(b"R 3 fine") == (b"fine", 3)
    assert one.waiting == 0


def test_the_next_suspect_is_told_as_soon_as_the_one_before_is_settled():
    one = relay(request("a"), request("b"))
    for _ in range(2):
        one.lose(blamed=True, why=WHY)
        one.repeat()
    one.hear(b"D 1")
    told = one.next_suspect()
    assert told is not None
    assert told.startswith(b"2 ")
    assert one.next_suspect() is None


def test_a_death_that_nobody_is_blamed_for_and_one_that_was_not_told_do_not_count():
    one = relay(request(1))
    for _ in range(5):
        assert one.lose(blamed=False, why=WHY) == []
        one.repeat()
    waiting = relay(request(1), told=False)
    for _ in range(5):
        assert waiting.lose(blamed=True, why=WHY) == []


def test_questions_of_a_dead_worker_are_taken_back_and_settled_ones_are_not():
    one = relay(request(1))
    assert one.hear(b'Q "w1-5" {"method":"ask"}') == (b'{"method":"ask"}', 0)
    assert one.hear(b"Q 6 {}") == (b"{}", 0)
    one.hear(b"A 6")
    (line,) = one.lose(blamed=True, why=WHY)
    assert json.loads(line)["method"] == "notifications/cancelled"
    assert json.loads(line)["params"]["requestId"] == "w1-5"
    assert one.lose(blamed=True, why=WHY) == []


HOSTILE = {
    "a request": (request("x"), "x"),
    "a number as its id": (request(7), 7),
    "a notification": (b'{"jsonrpc":"2.0","method":"n"}', ...),
    "an answer": (b'{"jsonrpc":"2.0","id":1,"result":{}}', ...),
    "a list": (b"[]", ...),
    "a text": (b'"x"', ...),
    "no JSON": (b"{", None),
    "no UTF-8": (b"\xff\xfe", None),
    "deep": (b"[" * 100_000, None),
    "a long number": (b'{"id":' + b"9" * 10_000 + b',"method":"x"}', None),
    "an id that is none": (b'{"jsonrpc":"2.0","id":true,"method":"x"}', ...),
    "half a character": (b'{"jsonrpc":"2.0","id":"\\ud800","method":"x"}', "\ud800"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_line_that_is_given_up_is_answered_if_it_can_be_and_raises_nothing(case):
    line, identifier = HOSTILE[case]
    one = relay(line)
    lines = one.expire(0.0, WHY)
    assert [json.loads(answer)["id"] for answer in lines] == ([] if identifier is ... else [identifier])
    assert one.waiting == 0
    assert one.bytes == 0


def test_only_what_has_waited_long_enough_is_given_up():
    one = Relay()
    one.take(request(1), 10.0, told=False)
    one.take(request(2), 20.0, told=False)
    assert [answer[0] for answer in errors(one.expire(15.0, WHY))] == [1]
    assert numbers(one.repeat()) == [2]


@pytest.mark.parametrize("line", [b"", b"X 1", b"R x y", b"R", b"P 1 high line", b"K x y", b"D "])
def test_what_no_worker_says_is_refused(line):
    with pytest.raises(ValueError):
        relay(request(1)).hear(line)
