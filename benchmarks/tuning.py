"""Each peer at its best: a short sweep of its settings for a network, kept for this machine."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from benchmarks.contenders import CACHE, ROOT, Peer, Setting, recipe_environment
from benchmarks.environments import ensure_environment
from benchmarks.machine import describe_machine
from benchmarks.server import Server, StartError, free_port, run_server
from benchmarks.subject import Subject
from service.card import read_card

KEPT = CACHE / "tuning.json"
CLIENTS = 32
TRIAL_SECONDS = 3.0
WARM_SECONDS = 1.0
SETTLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """A peer's version, the setting it runs with, and what each one tried reached in images a second."""

    version: str
    setting: Setting
    tried: dict[str, float] = field(default_factory=dict)


def best_setting(
    peer: Peer, subject: Subject, *, sweep: bool, again: bool, say: Callable[[str], None]
) -> Tuned:
    """Return the setting that was fastest under 32 clients for this network on this machine, sweeping if need be.

    Args:
        peer: whose settings.
        subject: the network and the image.
        sweep: whether to try the settings where nothing is kept; else the first one is taken.
        again: whether to try them even where something is kept.
        say: told what each one reached.

    Raises:
        InstallError: the peer can not be installed.
        StartError: it starts with no setting.
    """
    version = ensure_environment(peer)
    key = f"{describe_machine().slug}, {peer.name} {version}, {subject.case.model}"
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if key in kept and not again:
        return Tuned(version, Setting(**kept[key]["setting"]), kept[key]["tried"])
    settings = list(dict.fromkeys(peer.sweep(subject.cores)))
    if not sweep:
        return Tuned(version, settings[0])
    rates = _sweep(peer, subject, settings, say)
    best = max(rates, key=lambda setting: rates[setting])
    tried = {str(setting): round(rate, 1) for setting, rate in rates.items()}
    kept[key] = {"setting": asdict(best), "tried": tried}
    KEPT.write_text(json.dumps(kept, indent=1))
    return Tuned(version, best, tried)


@contextmanager
def run_peer(peer: Peer, setting: Setting, subject: Subject) -> Iterator[Server]:
    """Run a peer with a setting; ready when it answers the very request that it will be measured with.

    Raises:
        StartError: it does not start.
    """
    port = free_port()
    card = read_card(subject.model)
    with run_server(
        peer.command(str(peer.python), port),
        recipe_environment(subject.model, card, setting, port=port, cores=subject.cores),
        port=port,
        probe=(peer.path, subject.body.content, subject.body.content_type),
        log=subject.log(peer.package),
        folder=ROOT,
    ) as server:
        yield server


def _sweep(
    peer: Peer, subject: Subject, settings: list[Setting], say: Callable[[str], None]
) -> dict[Setting, float]:
    rates: dict[Setting, float] = {}
    failure = ""
    for setting in settings:
        try:
            rates[setting] = _try(peer, setting, subject)
            say(f"    {peer.name} with {setting}: {rates[setting]:.1f} images/s")
        except StartError as error:
            failure = str(error)
            say(f"    {peer.name} with {setting} does not start: {error}")
    if not rates:
        raise StartError(failure)
    return rates


def _try(peer: Peer, setting: Setting, subject: Subject) -> float:
    with run_peer(peer, setting, subject) as server:
        server.tree.learn_idle()
        rate = 0.0
        for seconds in (WARM_SECONDS, TRIAL_SECONDS):
            outcome = subject.fire(server.url(peer.path), clients=CLIENTS, seconds=seconds)
            server.tree.settle(SETTLE_SECONDS)
            rate = outcome.answered / outcome.seconds
        return rate
