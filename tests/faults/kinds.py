"""The catalogue: every kind of fault that the suite makes, each with a name, a weight and a way to strike."""

import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from faults.provider import FaultyProvider, Mode
from faults.tools import processes
from faults.tools.clock import Clock
from faults.tools.proxy import Routes
from faults.tools.proxy_server import Weather
from faults.tools.rig import LEASE_S, PARTS_OF, Rig

from sluice_common.failpoints import POINTS
from sluice_local.services import URL_SETTINGS

SHORT_S = (0.5, 3.0)
"""How long an outage lasts that everybody should simply wait through."""
BATCH_S = (2.0, 6.0)
"""Long enough that a batch comes by also on a busy machine."""
LONG_S = (LEASE_S * 1.4, LEASE_S * 1.8)
"""Longer than a lease: who sleeps so long wakes up as a zombie."""
ARMED_S = 6.0
"""How long fail points wait for somebody to come by."""
ARMED_POINTS = 4
"""At once: few are reached within seconds, and the first hit disarms them all."""
CLOCK_JUMPS_S = {"90 s": (90, -90), "1 h": (3600, -3600), "2 d": (172_800,)}
WORKER_JUMPS_S = {"61 s": (61, -61), "1 h": (3600, -3600), "2 d": (172_800,)}
LONG_OUTAGES = 1 / 3
"""How many of the partitions and refusals last longer than a lease: who is cut off then goes on without it."""
LOST_POINTS = 5
DROP = "drop the collection"
MOST_DROPS = 5
"""Every published document is embedded again after each, so a run that is to end must not do it often."""
REPLIES_TO = {
    "postgres": "COMMIT",
    "redis": "",
    "qdrant": "PUT /collections",
    "embeddings": "POST /v1/embeddings",
}
"""Which request's answer is lost, where losing it hurts most: after it has been done."""
PROVIDER_MODES = [mode for mode in Mode if mode not in {Mode.OK, Mode.TOO_LONG}]
"""All but the right answer, and the one that depends on a text."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    name: str
    family: str
    strike: Callable[[], bool]
    """Does it, and heals it where it must be healed; never raises because the victim is just away.

    Returns:
        Whether it hit anything.
    """
    weight: int = 2


@dataclass(frozen=True)
class _Act:
    """A kind before its strikes are counted; *act* returns something false when it found nothing to hit."""

    name: str
    act: Callable[[], int]
    weight: int = 2


def kinds(rig: Rig, rng: random.Random) -> list[Kind]:
    """Every kind that this machine can make; what it cannot is in `rig.left_out`."""
    families = {
        "kill": _deaths,
        "freeze": _zombies,
        "stop": _stops,
        "postgres": _of_postgres,
        "redis": _of_redis,
        "store": _of_the_store,
        "network": _of_the_network,
        "provider": _of_the_provider,
        "disk": _of_the_disk,
        "clock": _of_clocks,
        "fail point": _of_fail_points,
    }
    return [_counted(rig, name, act) for name, family in families.items() for act in family(rig, rng)]


def _counted(rig: Rig, family: str, act: _Act) -> Kind:
    def strike() -> bool:
        states = rig.tally.states()
        is_hit = bool(act.act())
        rig.tally.note(act.name, states, is_hit=is_hit)
        return is_hit

    return Kind(act.name, family, strike, act.weight)


def _deaths(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    for service, names in rig.processes.items():
        yield _Act(f"kill {service}", lambda names=names: processes.kill(rig.stack, rng.choice(names)))
    for part in URL_SETTINGS:
        if rig.stack.has(part):
            yield _Act(f"kill {part}", lambda part=part: processes.kill(rig.stack, part))
    extractors = rig.processes["extractor"]
    yield _Act("kill a child", lambda: _soon(extractors, rng, lambda name: processes.kill_child(rig.stack, name, rng)))
    yield _Act("kill a fork server", lambda: processes.kill_fork_server(rig.stack, rng.choice(extractors)))


def _zombies(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    for service, names in rig.processes.items():
        yield _Act(
            f"freeze {service}",
            lambda names=names: processes.freeze(rig.stack, rng.choice(names), rng.uniform(*LONG_S)),
        )
    for part in URL_SETTINGS:
        if rig.stack.has(part):
            yield _Act(f"freeze {part}", lambda part=part: processes.freeze(rig.stack, part, rng.uniform(2, 5)))


def _stops(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    for service, names in rig.processes.items():
        yield _Act(f"stop {service}", lambda names=names: processes.kill(rig.stack, rng.choice(names), signal.SIGTERM))


def _of_postgres(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    faults = rig.postgres
    yield _Act("kill the postmaster", faults.kill_postmaster)
    yield _Act("stop postgres immediately", faults.stop_immediately)
    yield _Act("kill a backend", faults.kill_backend)
    yield _Act("terminate all sessions", faults.terminate_sessions)
    yield _Act("freeze a backend", lambda: faults.freeze_backend(rng.uniform(2, 5)))
    yield _Act("exhaust connections", lambda: faults.exhaust_connections(rng.uniform(1, 3)))


def _of_redis(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    faults = rig.redis
    yield _Act("wipe redis", faults.wipe)
    yield _Act("restart redis empty", faults.restart_empty)
    yield _Act("restart redis with older data", lambda: faults.fall_back(rng.uniform(*SHORT_S)))
    yield _Act("cut redis clients", faults.cut_clients)
    yield _Act("redis full", lambda: faults.be_full(rng.uniform(*SHORT_S)))
    yield _Act("redis read-only", lambda: faults.be_read_only(rng.uniform(*SHORT_S)))


def _of_the_store(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    routes = rig.proxies.named(end=":qdrant")
    yield _Act("lose points", lambda: rig.store.lose_points(rng.randint(1, LOST_POINTS)))
    yield _Act(DROP, lambda: rig.tally.hits[DROP] < MOST_DROPS and rig.store.drop_collections(), weight=1)
    if rig.stack.has("qdrant"):
        yield _Act("restart qdrant with older points", lambda: rig.store.fall_back(rng.uniform(*SHORT_S)))
    yield _Act("qdrant says 503", lambda: routes.suffer(Weather(unavailable=True), rng.uniform(*SHORT_S)))


def _of_the_network(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    """For each part, on all its routes, those of one service or those of one process."""
    for part in URL_SETTINGS:
        yield _Act(f"cut {part}", lambda part=part: _somewhere(rig, rng, part).cut())
        for name, make in _OUTAGES.items():
            yield _Act(
                f"{name} {part}",
                lambda part=part, make=make: _outage(_somewhere(rig, rng, part), make(rng), _outage_s(rng)),
            )
        yield _Act(
            f"slow {part}",
            lambda part=part: _somewhere(rig, rng, part).suffer(
                Weather(delay_s=rng.uniform(0.01, 0.3)), rng.uniform(*SHORT_S)
            ),
        )
        lost = Weather(lose_replies_to=REPLIES_TO[part])
        yield _Act(
            f"lose replies of {part}",
            lambda part=part, lost=lost: _somewhere(rig, rng, part).suffer(lost, rng.uniform(*BATCH_S)),
        )
    for service in ("extractor", "embedder", "reconciler"):
        yield _Act(
            f"{service} without postgres for longer than a lease",
            lambda service=service: _outage(
                rig.proxies[f"{rng.choice(rig.processes[service])}:postgres"],
                rng.choice(list(_OUTAGES.values()))(rng),
                rng.uniform(*LONG_S),
            ),
        )


_OUTAGES: dict[str, Callable[[random.Random], Weather]] = {
    "refuse": lambda _: Weather(refuse=True),
    "partition": lambda _: Weather(hold_requests=True, hold_replies=True),
    "half partition": lambda rng: rng.choice([Weather(hold_requests=True), Weather(hold_replies=True)]),
}


def _outage(routes: Routes, weather: Weather, seconds: float) -> int:
    """Who refuses resets what is open too: that is what is hit for certain."""
    return routes.suffer(weather, seconds, cut=weather.refuse)


def _outage_s(rng: random.Random) -> float:
    return rng.uniform(*(LONG_S if rng.random() < LONG_OUTAGES else SHORT_S))


def _of_the_provider(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    routes = rig.proxies.named(end=":embeddings")
    yield _Act("embeddings say 503", lambda: routes.suffer(Weather(unavailable=True), rng.uniform(*SHORT_S)))
    yield _Act("embeddings gone", lambda: routes.suffer(Weather(refuse=True), rng.uniform(*SHORT_S), cut=True))
    provider = rig.provider
    if provider is not None:
        for mode in PROVIDER_MODES:
            yield _Act(
                f"provider: {mode}",
                lambda mode=mode: _misbehave(provider, mode, rng.choice([0.3, 1.0]), rng.uniform(*BATCH_S)),
                weight=1,
            )


def _misbehave(provider: FaultyProvider, mode: Mode, probability: float, seconds: float) -> bool:
    before = provider.counts().answers.get(mode, 0)
    provider.fail(mode, probability=probability)
    try:
        time.sleep(seconds)
    finally:
        provider.behave()
    return mode is Mode.REFUSE or provider.counts().answers.get(mode, 0) > before


def _of_the_disk(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    disk = rig.disk
    if disk is not None:
        yield _Act(
            "disk full",
            lambda: disk.be_full(rng.uniform(*SHORT_S), leave_bytes=rng.choice([0, 0, 3000, 50_000])),
            weight=6,  # the only one of its family
        )


def _of_clocks(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    database = rig.clock
    if database is not None:
        for name, jumps in CLOCK_JUMPS_S.items():
            yield _Act(
                f"clock of postgres by {name}",
                lambda jumps=jumps: _jump(database, rng.choice(jumps), rng.uniform(*LONG_S)),
            )
    services = [clock for name, clock in rig.clocks.items() if name != "postgres"]
    for name, jumps in WORKER_JUMPS_S.items() if services else ():
        yield _Act(
            f"clock of a service by {name}",
            lambda jumps=jumps: _jump(rng.choice(services), rng.choice(jumps), rng.uniform(*LONG_S)),
        )


def _jump(clock: Clock, offset_s: int, seconds: float) -> bool:
    clock.jump(offset_s, seconds=seconds)
    return True


def _of_fail_points(rig: Rig, rng: random.Random) -> Iterable[_Act]:
    actions = {"kill": "kill*1", "pause": f"pause:{LONG_S[0]}*1", "raise": "raise:transient*1"}
    points = sorted(POINTS)
    for name, action in actions.items():
        yield _Act(
            f"{name} at a fail point",
            lambda action=action: rig.failpoints.strike(action, *rng.sample(points, ARMED_POINTS), seconds=ARMED_S),
            weight=6,
        )


def _soon(names: list[str], rng: random.Random, act: Callable[[str], bool]) -> bool:
    """Try all, in random order, until one has something to hit, for as long as the next batch may take."""
    deadline = time.monotonic() + BATCH_S[1]
    while not (is_hit := any(act(name) for name in rng.sample(names, len(names)))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_hit


def _somewhere(rig: Rig, rng: random.Random, part: str) -> Routes:
    service = rng.choice([service for service, parts in PARTS_OF.items() if part in parts])
    chosen = [
        rig.proxies.named(end=f":{part}"),
        rig.proxies.named(begin=service, end=f":{part}"),
        rig.proxies[f"{rng.choice(rig.processes[service])}:{part}"],
    ]
    return rng.choice(chosen)
