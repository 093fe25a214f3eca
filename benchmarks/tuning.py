"""Finds the best settings of each peer: a short sweep per network, whose result is kept for this machine."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from benchmarks.contenders import CACHE, ROOT, Peer, Setting, recipe_environment
from benchmarks.environments import ensure_environment
from benchmarks.machine import describe_machine
from benchmarks.server import Server, StartError, free_port, run_server
from benchmarks.subject import Subject
from service.servable_file import read_card

KEPT = CACHE / "tuning.json"
CLIENTS = 32
TRIAL_SECONDS = 3.0
WARM_SECONDS = 1.0
SETTLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """A peer's version, the setting with which it runs, and the images per second of each setting that was tried."""

    version: str
    setting: Setting
    tried: dict[str, float] = field(default_factory=dict)


def best_setting(
    peer: Peer, subject: Subject, *, sweep: bool, again: bool, progress: Callable[[str], None]
) -> Tuned:
    """Return the setting that was fastest with 32 clients for this network on this machine; sweep if it is not known.

    Args:
        peer: the peer to tune.
        subject: the network and the image.
        sweep: try the settings if no result is kept; otherwise the first setting is used.
        again: try the settings even if a result is kept.
        progress: called with a line of text for each result.

    Raises:
        InstallError: the peer can not be installed.
        StartError: it does not start with any setting.
    """
    version = ensure_environment(peer)
    network = tuned_network(subject.case.model, in_int8=subject.in_int8)
    key = f"{describe_machine().slug}, {peer.name} {version}, {network}"
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if key in kept and not again:
        return Tuned(version, Setting(**kept[key]["setting"]), kept[key]["tried"])
    settings = list(dict.fromkeys(peer.sweep(subject.cores)))
    if not sweep:
        return Tuned(version, settings[0])
    rates = _sweep(peer, subject, settings, progress)
    best = max(rates, key=lambda setting: rates[setting])
    tried = {str(setting): round(rate, 1) for setting, rate in rates.items()}
    kept[key] = {"setting": asdict(best), "tried": tried}
    KEPT.write_text(json.dumps(kept, indent=1))
    return Tuned(version, best, tried)


def tuned_network(model: str, *, in_int8: bool) -> str:
    """Return the name under which the settings for a network are kept."""
    return f"{model} int8" if in_int8 else model


def is_kept(peer: str, network: str) -> bool:
    """Return whether some version of this peer was tuned for the network on this machine."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return any(
        key.startswith(f"{describe_machine().slug}, {peer} ") and key.endswith(f", {network}")
        for key in kept
    )


@contextmanager
def run_peer(peer: Peer, setting: Setting, subject: Subject) -> Iterator[Server]:
    """Run a peer with a setting. It is ready when it answers the request of the measurement.

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
    peer: Peer, subject: Subject, settings: list[Setting], progress: Callable[[str], None]
) -> dict[Setting, float]:
    rates: dict[Setting, float] = {}
    failure = ""
    for setting in settings:
        try:
            rates[setting] = _try(peer, setting, subject)
            progress(f"    {peer.name} with {setting}: {rates[setting]:.1f} images/s")
        except StartError as error:
            failure = str(error)
            progress(f"    {peer.name} with {setting} does not start: {error}")
    if not rates:
        raise StartError(failure)
    return rates


def _try(peer: Peer, setting: Setting, subject: Subject) -> float:
    with run_peer(peer, setting, subject) as server:
        server.tree.learn_idle()
        rate = 0.0
        for seconds in (WARM_SECONDS, TRIAL_SECONDS):
            outcome = subject.load(server.url(peer.path), clients=CLIENTS, seconds=seconds)
            server.tree.settle(SETTLE_SECONDS)
            rate = outcome.answered / outcome.seconds
        return rate
