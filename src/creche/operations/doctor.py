"""`creche doctor`: run every check, and name the remedy of each issue."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from prefect.settings import get_current_settings

from creche.operations import (
    inbox_checks,
    machine_checks,
    registry_checks,
    server_checks,
    service_state,
)
from creche.operations.flow_runs import final_state
from creche.operations.issues import Issue, OnFixError, fix_issues
from creche.operations.run_reconciler import RunReconciler
from creche.operations.slot_reconciler import CONFIRM_SECONDS
from creche.project import ProjectPaths
from creche.records import DoctorReport, IssueReport

SKIPPED = "not checked: no server is up"
MESSAGE_LENGTH = 300  # characters of the error of a check
SLOT_SECONDS = CONFIRM_SECONDS - 0.5  # a little less than the time between the two passes

Check = Callable[[], Iterable[Issue]]


@dataclass(frozen=True)
class CheckOutcome:
    """The result of one check.

    Attributes:
        issues: None where the check was skipped, for it needs a server and none is up.
    """

    name: str
    issues: list[Issue] | None


def examine(paths: ProjectPaths) -> list[CheckOutcome]:
    """Run every check."""
    api_url = get_current_settings().api.url
    reconciler = RunReconciler(paths)
    server_outcome = _check_server(paths, api_url)
    server_url = None if server_outcome.issues else api_url

    started = time.monotonic()
    if server_url:
        # What is about to begin or to end is an issue in the first pass, and not in the second.
        list(reconciler.issues())
        list(reconciler.slots.issues(min_seconds=0))
    outcomes = [server_outcome]
    for name, check in _local_checks(paths, server_url).items():
        outcomes.append(_run_check(name, check))
    if server_url:
        _sleep_until(started + reconciler.confirm_seconds())

    remote_checks: dict[str, Check] = {
        "runs": reconciler.issues,
        "slots": partial(reconciler.slots.issues, SLOT_SECONDS),
        "pools": partial(server_checks.work_pools, paths),
        "retention": partial(server_checks.retention, paths),
    }
    for name, check in remote_checks.items():
        outcomes.append(_run_check(name, check) if server_url else CheckOutcome(name, None))
    return outcomes


def _sleep_until(monotonic_time: float) -> None:
    time.sleep(max(0.0, monotonic_time - time.monotonic()))


def _check_server(paths: ProjectPaths, api_url: str | None) -> CheckOutcome:
    if not api_url and service_state.read_state(paths) is None:
        return CheckOutcome("server", None)
    return _run_check("server", partial(server_checks.server, paths, api_url))


def _local_checks(paths: ProjectPaths, server_url: str | None) -> dict[str, Check]:
    """Return the checks that run without a server; some check more where there is one."""
    flow_run_end = final_state if server_url else _unknown
    return {
        "locks": partial(machine_checks.locks, paths),
        "leftovers": partial(machine_checks.leftovers, paths),
        "data": partial(machine_checks.data, paths),
        "champions": partial(registry_checks.champions, paths),
        "artifacts": partial(registry_checks.artifacts, paths),
        "mlflow": partial(registry_checks.unfinished_run_issues, paths, flow_run_end),
        "inbox": partial(inbox_checks.inbox_issues, paths),
        "disk": partial(machine_checks.disk, paths),
        "clock": partial(server_checks.clocks, paths, server_url),
        "versions": partial(server_checks.versions, paths, server_url),
        "settings": partial(server_checks.settings, paths),
    }


def _unknown(_flow_run: str) -> str | None:
    return None


def _run_check(name: str, check: Check) -> CheckOutcome:
    try:
        return CheckOutcome(name, list(check()))
    # A check that fails must not keep the others from running.
    except Exception as error:
        description = " ".join(str(error).split())[:MESSAGE_LENGTH]
        issue = Issue(name, f"cannot be checked: {description}", "creche status")
        return CheckOutcome(name, [issue])


def fix(outcomes: Iterable[CheckOutcome], on_error: OnFixError) -> set[Issue]:
    """Apply the automatic remedies.

    Args:
        outcomes: of `examine`.
        on_error: is called with an issue and the error of its remedy.

    Returns:
        The issues that are fixed.
    """
    fixed: set[Issue] = set()
    for outcome in outcomes:
        fix_issues(outcome.issues or (), fixed.add, on_error)
    return fixed


def report(outcomes: Iterable[CheckOutcome], fixed: set[Issue]) -> DoctorReport:
    """Return the record of what the checks came to."""
    checks = {}
    issues = []
    for outcome in outcomes:
        if outcome.issues is None:
            checks[outcome.name] = SKIPPED
            continue
        checks[outcome.name] = "issues" if outcome.issues else "ok"
        for issue in outcome.issues:
            entry = IssueReport(
                check=issue.check,
                message=issue.message,
                remedy=issue.remedy,
                auto_fixable=issue.fix is not None,
                fixed=issue in fixed,
            )
            issues.append(entry)
    is_healthy = all(issue.fixed for issue in issues)
    return DoctorReport(healthy=is_healthy, checks=checks, issues=issues)
