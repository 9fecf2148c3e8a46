"""`creche status`: servers, pools, runs and champions in one report.

Prefect is imported only where its server responds; without one the report comes from files.
"""

from creche import registry
from creche.operations import service_state
from creche.operations.inbox_checks import inbox_status
from creche.operations.servers import mlflow_responds, prefect_responds
from creche.project import ProjectPaths, recipe_names
from creche.records import ChampionStatus, ServerStatus, ServiceAddresses, Status


def status(paths: ProjectPaths) -> Status:
    """Return the state of the services, of what runs, waits and comes next, and of the champions.

    Raises:
        UnreachableError: the Prefect server stopped responding meanwhile.
    """
    services = service_state.read_state(paths)
    addresses = services.addresses if services else None
    servers = _servers(addresses) if addresses else []
    report = Status(
        home=str(paths.home),
        up=services is not None,
        ready=services is not None and services.ready,
        healthy=False,
        servers=servers,
        champions=champions(paths),
        inboxes=inbox_status(paths),
    )
    is_prefect_up = any(server.name == "prefect" and server.responds for server in servers)
    if services is not None and is_prefect_up:
        from creche.operations import prefect_environment

        # Prefect reads its settings when it is imported.
        prefect_environment.configure(paths)
        from creche.operations import prefect_status

        prefect_status.fill(report, services.pools)
    return report


def _servers(addresses: ServiceAddresses) -> list[ServerStatus]:
    return [
        ServerStatus(name="prefect", url=addresses.ui_url, responds=prefect_responds(addresses)),
        ServerStatus(name="mlflow", url=addresses.mlflow_url, responds=mlflow_responds(addresses)),
    ]


def champions(paths: ProjectPaths) -> list[ChampionStatus]:
    """Return the champion of each recipe that has one or was ever judged."""
    if not registry.store_exists(paths):
        return []
    statuses = []
    for recipe in recipe_names(paths.root):
        version = registry.champion_version(recipe, paths)
        last = registry.last_judged_run(recipe, paths)
        if version or last:
            statuses.append(
                ChampionStatus(
                    recipe=recipe,
                    version=version,
                    last_verdict=last.verdict if last else None,
                    run_id=last.run_id if last else None,
                )
            )
    return statuses
