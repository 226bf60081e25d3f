"""The times that must agree are derived from one."""

from datetime import timedelta

import pytest

from sluice_common.times import Times


@pytest.mark.parametrize("lease_s", [1, 4, 60, 3600])
def test_the_times_agree_whatever_the_lease(lease_s):
    times = Times(lease=timedelta(seconds=lease_s), deadline=timedelta(hours=24))

    assert 2 * times.heartbeat < times.give_up < times.lease
    assert times.grace < times.resend < times.lease < times.longest < times.far
    assert times.stop_grace < times.lease
