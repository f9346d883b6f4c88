"""The restart window against a model that keeps every moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisors import RestartWindow

# A coarse grid, so that ties and restarts exactly on the edge of the window occur all the time.
GRID = st.integers(0, 12).map(lambda n: n * 0.5)


@given(intensity=st.integers(0, 5), period=st.integers(1, 8).map(lambda n: n * 0.5), gaps=st.lists(GRID, max_size=40))
def test_the_window_decides_like_a_model_that_keeps_everything(intensity, period, gaps):
    window = RestartWindow(intensity, period)
    moments: list[float] = []
    now = 100.0
    for gap in gaps:
        now += gap
        moments.append(now)
        in_period = sum(moment >= now - period for moment in moments)
        assert window.add(now) is (in_period <= intensity)
        assert window.used(now) == min(in_period, intensity + 1)


def test_a_restart_exactly_one_period_ago_still_counts():
    """OTP: add_restart keeps R >= Now - Period."""
    window = RestartWindow(1, 5.0)
    assert window.add(10.0)
    assert not window.add(15.0)
    fresh = RestartWindow(1, 5.0)
    assert fresh.add(10.0)
    assert fresh.add(15.001)


def test_restarts_spaced_past_the_window_never_trip_it():
    """OTP: multiple_restarts."""
    window = RestartWindow(1, 1.0)
    assert all(window.add(n * 1.01) for n in range(100))


def test_intensity_zero_allows_none_and_shows_no_alarm_before_the_first():
    window = RestartWindow(0, 5.0)
    assert window.used_ratio(0.0) == 0.0
    assert not window.add(0.0)
    assert window.used_ratio(0.0) == 1.0


def test_the_used_ratio_falls_as_time_passes():
    window = RestartWindow(4, 10.0)
    window.add(0.0)
    window.add(8.0)
    assert [window.used_ratio(now) for now in (8.0, 10.0, 10.5, 19.0)] == [0.5, 0.5, 0.25, 0.0]
