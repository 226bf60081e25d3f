"""Addresses of a Redis that sentinels watch."""

import pytest
from pydantic import ValidationError

from sluice_common.redis_client import Watched
from sluice_common.settings import BrokerSettings


def test_an_address_names_the_sentinels_the_master_and_the_database():
    watched = Watched.of("redis+sentinel://:pa%40ss@one:26380,two,[::1]:26381/sluice/3")

    assert watched.sentinels == (("one", 26380), ("two", 26379), ("::1", 26381))
    assert (watched.name, watched.database, watched.username, watched.password) == ("sluice", 3, None, "pa@ss")
    assert not watched.is_encrypted


def test_an_address_may_have_a_user_ask_for_encryption_and_leave_the_database_out():
    watched = Watched.of("rediss+sentinel://app:secret@one/sluice")

    assert (watched.username, watched.password, watched.database) == ("app", "secret", 0)
    assert watched.is_encrypted


@pytest.mark.parametrize(
    "url", ["redis+sentinel://one:26379", "redis+sentinel://one/sluice/first", "redis+sentinel:///a"]
)
def test_an_address_that_names_no_master_is_refused_when_the_service_starts(url):
    with pytest.raises(ValidationError, match="redis\\+sentinel://"):
        BrokerSettings(url=url)
