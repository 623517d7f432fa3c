"""`podium upgrade`: from one version to the next with replicas of both running, and when there is no way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from podium.cli.manners import Manners, as_command

if TYPE_CHECKING:
    from podium.store.protocol import Cluster

upgrade = typer.Typer(
    help="Versions side by side: status, and finish, after which there is no way back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
ON_A_FILE = "a database file has one owner, which writes what it can read: there is nothing to finish"


def status(manners: Manners) -> int:
    """Say in which format rows are written, which one each replica can read, and whether there is a way back."""
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import cluster_of, finish
    from podium.cli.tables import table
    from podium.store.protocol import FORMAT

    settings = manners.settings()
    if not settings.on_postgres:
        return _nothing_to_finish(manners)
    cluster = finish(cluster_of(settings, manners.debug))
    newest = newest_for_all(cluster)
    if manners.json:
        print_json(_document(cluster, newest))
        return 0
    rows = [(one.name, one.version, str(one.format), "" if cluster.live(one) else "gone") for one in cluster.replicas]
    if rows:
        say(table(("REPLICA", "VERSION", "READS", ""), rows, gives_way=0, right=frozenset({2})))
    say(wrapped(f"rows are written in format {cluster.format}; this Podium reads up to {FORMAT}"))
    if newest == FORMAT > cluster.format:
        say(wrapped(f"all that run can read format {newest}: `podium upgrade finish` has it written from then on"))
        say(wrapped("until then the way back is open: stop the new replicas, start the earlier version again"))
    elif cluster.format < FORMAT:
        say(wrapped(f"format {FORMAT} waits for the replicas of an earlier version: stop them one by one"))
    else:
        say(wrapped("no upgrade is under way; a version that can't read this format doesn't start on this database"))
    return 0


def finish_upgrade(manners: Manners) -> int:
    """Have rows written in the newest format from now on. An earlier version can't come back then.

    Refused, naming them, while replicas run that can't read it.
    """
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import finish, sharing
    from podium.store.protocol import FORMAT

    settings = manners.settings()
    if not settings.on_postgres:
        return _nothing_to_finish(manners)

    async def whole() -> tuple[int, int]:
        async with sharing(settings, manners.debug) as store:
            before = (await store.cluster()).format
            return before, await store.finish_upgrade(FORMAT)

    before, now = finish(whole())
    if manners.json:
        print_json({"format": now, "before": before})
    elif now == before:
        say(wrapped(f"nothing is to finish: rows are written in format {now} already"))
    else:
        say(wrapped(f"rows are written in format {now} from now on; versions that can't read it don't start any more"))
    return 0


upgrade.command("status")(as_command(status))
upgrade.command("finish")(as_command(finish_upgrade))


def newest_for_all(cluster: Cluster) -> int:
    """Return the newest format that this Podium and all live replicas can read."""
    from podium.store.protocol import FORMAT

    return min([FORMAT, *(one.format for one in cluster.replicas if cluster.live(one))])


def _document(cluster: Cluster, newest: int) -> dict[str, Any]:
    from podium.store.protocol import FORMAT

    return {
        "format": cluster.format,
        "reads": FORMAT,
        "can_finish": newest == FORMAT > cluster.format,
        "replicas": [
            {"name": one.name, "version": one.version, "format": one.format, "live": cluster.live(one)}
            for one in cluster.replicas
        ],
    }


def _nothing_to_finish(manners: Manners) -> int:
    from podium.cli.printing import print_json, say, wrapped
    from podium.store.protocol import FORMAT

    if manners.json:
        print_json({"format": FORMAT, "reads": FORMAT, "can_finish": False, "replicas": []})
    else:
        say(wrapped(ON_A_FILE))
    return 0
