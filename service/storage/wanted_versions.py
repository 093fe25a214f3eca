"""Of what lies at a place, what `foveal.toml` may want: nothing else is fetched."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from service.runtime.fleet import Fleet, Latest
from service.storage.listing import RemoteVersion
from service.storage.storage import Key


def wanted_versions(
    versions: Sequence[RemoteVersion], fleet: Fleet, also: Collection[Key]
) -> Iterator[tuple[list[RemoteVersion], int]]:
    """Yield for each model versions to try, and how many of them must turn out good.

    Where a policy is `latest-n`, those that are refused do not count, so that older ones follow. What an alias, a
    share, a shadow, a default or `also` names is wanted whatever the policy is.

    Args:
        versions: what lies there, by name and ascending version.
        fleet: what `foveal.toml` says.
        also: versions that are wanted besides.
    """
    for name, group in groupby(versions, key=lambda one: one.name):
        plan, there = fleet.plan(name), list(group)
        named = {version for version in plan.targets().values() if version is not None}
        named |= {
            one.version for one in fleet.defaults.values() if one.name == name and one.version
        }
        named |= {version for model, version in also if model == name}
        policy = plan.versions
        if isinstance(policy, Latest):
            yield list(reversed(there)), policy.count
            there = [one for one in there if one.version in named]
        elif policy != "all":
            there = [one for one in there if one.version in {*policy, *named}]
        yield there, len(there)
