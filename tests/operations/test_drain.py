"""The end of the services on a real Prefect server: which pools are paused and resumed."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from support.prefect_api import Server, query

from creche.operations import service_state
from creche.project import ProjectPaths
from creche.records import ServicesState

if TYPE_CHECKING:
    from creche.operations.drain import Drain

POOLS = {"drained": 1, "held": 1}


@pytest.fixture
def paths(project: Path, prefect_server: Server) -> Iterator[ProjectPaths]:
    """A project whose pools are on the server; an operator has paused pool `held`."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from creche.operations.deployments import create_pools, set_paused

    with temporary_settings({PREFECT_API_URL: prefect_server["PREFECT_API_URL"]}):
        create_pools(POOLS)
        set_paused("held", True)
        yield ProjectPaths.find(project)
        with get_client(sync_client=True) as client:
            for name in POOLS:
                client.delete_work_pool(name)


def new_drain(paths: ProjectPaths, state: ServicesState) -> "Drain":
    from creche.operations.drain import Drain, ShutdownRequest
    from creche.operations.run_reconciler import RunReconciler
    from creche.operations.supervisor import Supervisor

    service_state.services_folder(paths).mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(paths, lambda source, line: None, state)
    return Drain(supervisor, RunReconciler(paths), list(POOLS), ShutdownRequest(), [])


def paused_pools(server: Server) -> set[str]:
    pools = query(server, "work_pools")
    return {pool["name"] for pool in pools if pool["name"] in POOLS and pool["is_paused"]}


def test_drain_resumes_only_the_pools_that_it_paused(
    paths: ProjectPaths, prefect_server: Server
) -> None:
    drain = new_drain(paths, ServicesState())
    drain.finish_runs()
    assert paused_pools(prefect_server) == {"drained", "held"}
    drain.stop_processes()
    assert paused_pools(prefect_server) == {"held"}


def test_pool_that_an_operator_paused_stays_paused_when_pools_are_applied_again(
    paths: ProjectPaths, prefect_server: Server
) -> None:
    from creche.operations.deployments import create_pools

    create_pools(POOLS)
    assert paused_pools(prefect_server) == {"held"}


def test_pool_that_a_killed_drain_paused_is_resumed_by_the_next_services(
    paths: ProjectPaths, prefect_server: Server
) -> None:
    new_drain(paths, ServicesState()).finish_runs()
    # The process is killed here: only its state file is left.
    left = service_state.last_state(paths)
    assert left is not None
    assert left.paused_pools == ["drained"]
    new_drain(paths, ServicesState(paused_pools=left.paused_pools)).resume_pools()
    assert paused_pools(prefect_server) == {"held"}


@pytest.fixture
def running_flow(paths: ProjectPaths) -> Iterator[UUID]:
    """The id of a run of pool `drained` that is Running, without a process on this machine."""
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("drained")
        deployment_id = client.create_deployment(flow_id, "drained", work_pool_name="drained")
        run = client.create_flow_run_from_deployment(deployment_id)
        client.set_flow_run_state(run.id, Running(), force=True)
        yield run.id
        client.delete_flow_run(run.id)
        client.delete_deployment(deployment_id)


@pytest.mark.parametrize("other_machine", [False, True])
def test_immediate_end_cancels_no_run_of_another_machine(
    paths: ProjectPaths, running_flow: UUID, *, other_machine: bool
) -> None:
    from prefect.client.orchestration import get_client

    from creche.operations.flow_runs import read_flow_run
    from creche.operations.servers import worker_name

    with get_client(sync_client=True) as client:
        names = [worker_name("drained")]
        if other_machine:
            names.append("other-drained")
        for name in names:
            client.request(
                "POST",
                "/work_pools/{work_pool_name}/workers/heartbeat",
                path_params={"work_pool_name": "drained"},
                json={"name": name},
            )
    drain = new_drain(paths, ServicesState())
    drain.request.mode = "now"
    drain.finish_runs()
    state = read_flow_run(running_flow).state
    assert state is not None
    assert state.name == ("Running" if other_machine else "Cancelled")
