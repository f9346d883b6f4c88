"""The choice of a member, without any actor."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.partition import PartitionSupervisor
from supervisors.specs import ChildSpec
from vespera_agents.actors.pools.routing import (
    SCANNED_MAX,
    ByPartition,
    ConsistentHash,
    LeastBusy,
    RoundRobin,
    RouteKey,
    stable_hash,
)


def itself(key: RouteKey) -> RouteKey:
    return key


def nothing_to_do(_place: int) -> int:
    return 0


KEYS = st.one_of(st.text(), st.binary(), st.integers())
NUMBERS = st.lists(st.integers(1, 10_000), min_size=1, max_size=20, unique=True).map(sorted)


def test_round_robin_gives_each_its_turn() -> None:
    choose = RoundRobin().among([4, 5, 9])
    assert [choose("x", nothing_to_do) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@given(loads=st.lists(st.integers(0, 50), min_size=1, max_size=SCANNED_MAX), turns=st.integers(0, 10))
def test_the_least_busy_of_a_small_pool_is_the_least_busy_of_all(loads: list[int], turns: int) -> None:
    choose = LeastBusy().among(range(len(loads)))
    for _ in range(turns):
        choose("x", nothing_to_do)
    assert loads[choose("x", loads.__getitem__)] == min(loads)


def test_members_of_a_small_pool_that_are_equally_busy_take_turns() -> None:
    choose = LeastBusy().among(range(4))
    assert [choose("x", lambda _place: 3) for _ in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_two_looks_keep_the_queues_of_a_large_pool_short() -> None:
    """1000 messages for each of 100 members: chance alone leaves queues about 80 longer than the average."""
    loads = [0] * 100
    choose = LeastBusy().among(range(100))
    looks = 0

    def look(place: int) -> int:
        nonlocal looks
        looks += 1
        return loads[place]

    for _ in range(100_000):
        loads[choose("x", look)] += 1
    assert max(loads) <= 1005
    assert looks == 200_000


def test_chance_can_be_repeated_by_its_seed() -> None:
    def run(seed: int) -> list[int]:
        choose = LeastBusy(seed).among(range(50))
        return [choose("x", nothing_to_do) for _ in range(20)]

    assert run(1) == run(1) != run(2)


@given(key=KEYS, numbers=NUMBERS)
def test_one_key_always_leads_to_one_member(key: RouteKey, numbers: list[int]) -> None:
    routing = ConsistentHash(itself)
    first, second = routing.among(numbers), routing.among(list(numbers))
    place = first(key, nothing_to_do)
    assert 0 <= place < len(numbers)
    assert place == first(key, nothing_to_do) == second(key, nothing_to_do)


@given(key=KEYS, numbers=NUMBERS, newcomer=st.integers(10_001, 20_000))
def test_a_newcomer_takes_keys_and_moves_none_between_the_others(
    key: RouteKey, numbers: list[int], newcomer: int
) -> None:
    more = [*numbers, newcomer]
    before = numbers[ConsistentHash(itself).among(numbers)(key, nothing_to_do)]
    after = more[ConsistentHash(itself).among(more)(key, nothing_to_do)]
    assert after in {before, newcomer}


@given(key=KEYS, numbers=NUMBERS.filter(lambda found: len(found) > 1), data=st.data())
def test_whoever_goes_leaves_only_its_own_keys(key: RouteKey, numbers: list[int], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(numbers))
    fewer = [number for number in numbers if number != gone]
    before = numbers[ConsistentHash(itself).among(numbers)(key, nothing_to_do)]
    after = fewer[ConsistentHash(itself).among(fewer)(key, nothing_to_do)]
    assert before in {after, gone}


@pytest.mark.parametrize("size", [2, 5, 10, 40])
def test_a_newcomer_moves_about_its_share_of_the_keys(size: int) -> None:
    before = ConsistentHash(itself).among(range(1, size + 1))
    after = ConsistentHash(itself).among(range(1, size + 2))
    keys = [f"customer {number}" for number in range(10_000)]
    moved = sum(before(key, nothing_to_do) != after(key, nothing_to_do) for key in keys)
    assert 0.6 < moved / len(keys) * (size + 1) < 1.4


def test_members_get_similar_shares_of_the_keys() -> None:
    choose = ConsistentHash(itself).among(range(1, 11))
    shares = Counter(choose(f"customer {number}", nothing_to_do) for number in range(20_000))
    assert len(shares) == 10
    assert min(shares.values()) > 1400
    assert max(shares.values()) < 2600


def test_keys_that_differ_little_are_spread_like_any_others() -> None:
    choose = ConsistentHash(itself).among(range(1, 5))
    shares = Counter(choose(number, nothing_to_do) for number in range(4000))
    assert min(shares.values()) > 600


def test_the_choice_is_the_same_in_another_process() -> None:
    """Python's own hash of a text is another one in each process."""
    program = (
        "from vespera_agents.actors.pools.routing import *\n"
        "one, two = ConsistentHash(str).among(range(9)), ByPartition(str).among(range(9))\n"
        "print(*[choose(f'k{n}', None) for choose in (one, two) for n in range(40)])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(path for path in ["", *sys.path] if path) or ".", "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    choose = ConsistentHash(str).among(range(9))
    assert len(runs) == 1
    assert runs.pop().split()[:40] == [str(choose(f"k{number}", nothing_to_do)) for number in range(40)]


@given(key=KEYS, partitions=st.integers(1, 50))
def test_a_partitioned_pool_and_a_partition_supervisor_agree(key: RouteKey, partitions: int) -> None:
    async def child() -> None: ...

    supervisor = PartitionSupervisor(
        lambda number: ChildSpec(str(number), child), partitions=partitions, name="partitions"
    )
    choose = ByPartition(itself).among(range(1, partitions + 1))
    assert choose(key, nothing_to_do) == supervisor.partition_of(key)


@pytest.mark.parametrize("routing", [ConsistentHash(itself), ByPartition(itself)])
@pytest.mark.parametrize("key", [None, 1.5, ("a", 1)])
def test_a_key_without_a_stable_hash_is_refused(routing: ConsistentHash | ByPartition, key: RouteKey) -> None:
    with pytest.raises(TypeError, match="returns a str, bytes or int"):
        routing.among([1, 2])(key, nothing_to_do)


@given(key=KEYS)
def test_the_hash_has_64_bits(key: RouteKey) -> None:
    assert 0 <= stable_hash(key) < 1 << 64


@pytest.mark.parametrize("points", [0, 1025])
def test_a_ring_has_points_and_not_too_many(points: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 1024 points"):
        ConsistentHash(itself, points=points)
