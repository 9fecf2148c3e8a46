"""Who reigned when, and why: an append-only log in MLflow, which the alias `champion` follows.

An entry is a version of the model `<recipe> history`: MLflow numbers versions inside one transaction each, so the log has
one order without a lock. An entry names the one that it builds on; the first to build on an entry stands, any other that
names the same one is void. Promotion is: append, move the alias, mark the entry as done. Killed anywhere, the next word that
changes or lists champions reads in the log where the alias belongs, and puts it there; until then readers get the old one.
"""

import getpass
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from creche import registry
from creche.errors import RegistryError, UsageError
from creche.model.artifact import Model
from creche.project import ProjectPaths
from creche.registry import Version

REASON_LENGTH = 1000


@dataclass(frozen=True)
class Entry:
    """One change of the champion, or a void attempt at one."""

    number: int
    base: int  # the entry it builds on; 0: the log was empty
    version: str
    kind: str  # promotion, rollback, override; found: reigned before the log began
    reason: str
    by: str  # a run, or a person
    verdict_id: str
    overrules: str  # id of the verdict that it goes against
    time: datetime  # by the store's clock; never before the entry it builds on
    done: bool  # its alias was seen in place
    stands: bool = False


def name_of(recipe: str) -> str:
    return f"{recipe} history"


def entries(recipe: str, paths: ProjectPaths) -> list[Entry]:
    """All entries in their order, void ones too."""
    with registry.store_errors(paths) as client:
        found = registry.all_versions(client, name_of(recipe))
    log, head, latest = [], 0, datetime.min.replace(tzinfo=UTC)
    for place, version in enumerate(sorted(found, key=lambda v: int(v.version)), 1):
        if int(version.version) != place:
            raise RegistryError(
                f"{name_of(recipe)} has lost entry {place}: put the store back from its backup before anything else"
            )
        told = version.tags
        entry = Entry(
            number=int(version.version),
            base=int(told["base"]),
            version=told["version"],
            kind=told["kind"],
            reason=told["reason"],
            by=told["by"],
            verdict_id=told["verdict_id"],
            overrules=told["overrules"],
            time=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
            done="done" in told,
        )
        if entry.base == head:
            latest = max(latest, entry.time)  # a clock may go backwards, the log does not
            entry, head = replace(entry, stands=True, time=latest), entry.number
        log.append(entry)
    return log


def head(log: Iterable[Entry]) -> Entry | None:
    """The entry that says who reigns now."""
    return next((e for e in reversed(list(log)) if e.stands), None)


def champion_at(log: Iterable[Entry], time: datetime) -> Entry | None:
    """The entry that said who reigned at a time."""
    return head(e for e in log if e.time <= time)


def reconcile(recipe: str, paths: ProjectPaths) -> str | None:
    """Put the alias where the log says it belongs; what was put right, or cannot be, in words, or None.

    Raises:
        RegistryError: the log is not whole.
    """
    last, said, curable = _look(recipe, paths)
    if last is None or not curable:
        return said
    _settle(recipe, last, paths)
    return f"{said}: put right" if said else None


def inspect(recipe: str, paths: ProjectPaths) -> tuple[str, bool] | None:
    """What `heal` would say, and whether it could put it right; nothing is changed.

    Raises:
        RegistryError: the log is not whole.
    """
    _, said, curable = _look(recipe, paths)
    return (said, curable) if said else None


def _look(recipe: str, paths: ProjectPaths) -> tuple[Entry | None, str | None, bool]:
    """The head of the log where it is not settled, what there is to say of it, and whether it can be settled."""
    last, version = head(entries(recipe, paths)), registry.alias(recipe, paths)
    if last is None or (version == last.version and last.done):
        return None, None, False
    if registry.tags_of(recipe, last.version, paths) is None:
        return (
            last,
            f"{recipe}: its champion, version {last.version}, was deleted: creche rollback {recipe} --reason …",
            False,
        )
    if version == last.version:
        return last, None, True  # killed after the change, before it was marked
    return (
        last,
        f"{recipe}: a promotion was cut short; by its history version {last.version} reigns, not {version}",
        True,
    )


def set_champion(
    recipe: str,
    version: str,
    paths: ProjectPaths,
    kind: str,
    reason: str,
    by: str,
    verdict_id: str = "",
    overrules: str = "",
    expected: str | None = "",
) -> Entry:
    """Make a version champion; when this returns, or is killed at any point, the log and the alias tell the same.

    Args:
        expected: the version that must reign before, None for nobody; not looked at if empty.

    Raises:
        RegistryError: another champion reigns than was expected, or someone else was first.
    """
    reconcile(recipe, paths)
    log = entries(recipe, paths)
    last, reigning = head(log), registry.alias(recipe, paths)
    if last and last.by == by and last.version == version and last.kind == kind == "promotion":
        return last  # a retry of what had gone through
    if expected != "" and reigning != expected:
        raise RegistryError(
            f"the champion of {recipe} changed while version {version} was judged: it is now {reigning}, not {expected}; "
            "run it again"
        )
    if last is None and reigning is not None:
        _append(
            recipe,
            reigning,
            paths,
            base=0,
            kind="found",
            reason="reigned before the log began",
            by=by,
        )
        last = head(entries(recipe, paths))  # another may have put it there at the same time
    base = last.number if last else 0
    told = {
        "kind": kind,
        "reason": reason,
        "by": by,
        "verdict_id": verdict_id,
        "overrules": overrules,
    }
    own = _append(recipe, version, paths, base=base, **told)
    if not own.stands:
        first = next(e for e in entries(recipe, paths) if e.stands and e.base == base)
        raise RegistryError(
            f"{first.by} made version {first.version} champion of {recipe} first ({first.reason}); version {version} is on "
            "record, and does not reign: run it again"
        )
    _settle(recipe, own, paths)
    return own


def _append(recipe: str, version: str, paths: ProjectPaths, base: int, **told: str) -> Entry:
    tags = {"verdict_id": "", "overrules": "", **told, "version": version, "base": str(base)}
    number = registry.add_version(name_of(recipe), f"models:/{recipe}/{version}", tags, paths)
    return next(e for e in entries(recipe, paths) if e.number == number)


def _settle(recipe: str, entry: Entry, paths: ProjectPaths) -> None:
    """Move the alias to the log's head, wherever it has gone meanwhile, and mark the entry."""
    while (target := head(entries(recipe, paths))) and registry.alias(
        recipe, paths
    ) != target.version:
        registry.set_alias(recipe, target.version, paths)
    registry.mark(name_of(recipe), entry.number, "done", "1", paths)


def promote(recipe: str, version: str, reason: str, paths: ProjectPaths) -> Entry:
    """Make a version champion by hand: an override, which names the verdict that it overrules or stretches.

    A verdict of PROMOTE was against the champion of its time, so it carries a version to the throne only over that one.

    Raises:
        RegistryError, UsageError: no such version, it already reigns, or no reason.
    """
    found = _sound(recipe, version, paths)
    if registry.alias(recipe, paths) == version:
        raise UsageError(f"version {version} of {recipe} reigns already")
    verdict, identity = found.tags.get("verdict", "none"), found.tags.get("verdict_id", "")
    against = found.tags.get("against", "none")
    meant = verdict == "PROMOTE" and against == (registry.alias(recipe, paths) or "none")
    kind, overrules = (
        ("promotion", "") if meant else ("override", f"{identity} ({verdict} against {against})")
    )
    return set_champion(
        recipe, version, paths, kind, _reason(reason), person(), identity, overrules
    )


def rollback(recipe: str, to: str | None, reason: str, paths: ProjectPaths) -> Entry:
    """Put an earlier champion back: the one before the present one, or `to`.

    Raises:
        RegistryError: there is no earlier one, `to` never reigned, or its file cannot be had.
    """
    reigned = [e for e in entries(recipe, paths) if e.stands]
    if to is None:
        to = _before(recipe, reigned, paths)
    if to not in {e.version for e in reigned}:
        verdict = (registry.tags_of(recipe, to, paths) or {}).get(
            "verdict", "no verdict: there is no such version"
        )
        raise RegistryError(
            f"version {to} of {recipe} was never champion ({verdict}), so it is nothing to roll back to; to overrule its "
            f"verdict: creche promote {recipe}@{to} --reason …"
        )
    if registry.alias(recipe, paths) == to:
        raise UsageError(f"version {to} of {recipe} reigns already")
    found = _sound(recipe, to, paths)
    if found.tags.get("verdict") == "REJECT":
        raise RegistryError(
            f"version {to} of {recipe} reigned by an override, against its verdict (REJECT), so it is nothing to roll back to: "
            f"creche promote {recipe}@{to} --reason …"
        )
    return set_champion(
        recipe, to, paths, "rollback", _reason(reason), person(), found.tags.get("verdict_id", "")
    )


def _before(recipe: str, reigned: list[Entry], paths: ProjectPaths) -> str:
    """Who reigned before the present champion first came to the throne; rollbacks lead back, never forth."""
    now = reigned[-1].version if reigned else ""
    first = next((i for i, e in enumerate(reigned) if e.version == now), 0)
    for entry in reversed(reigned[:first]):
        tags = registry.tags_of(recipe, entry.version, paths)
        if entry.version != now and tags and tags.get("verdict") != "REJECT":
            return entry.version
    raise RegistryError(
        f"{recipe} has no earlier champion that the gate let through: none to go back to; creche history {recipe}"
    )


def _sound(recipe: str, version: str, paths: ProjectPaths) -> Version:
    """The version, its file here, digest checked and golden rows replayed."""
    found = registry.resolve(recipe, paths, version)
    if found is None:
        raise RegistryError(f"{recipe} has no version {version}: creche models {recipe}")
    if wrong := Model(found.path, found.digest).verify():
        raise RegistryError(
            f"version {version} of {recipe} does not answer its golden rows: {wrong[0]}"
        )
    return found


def _reason(given: str) -> str:
    reason = " ".join(given.split())
    if not reason or len(reason) > REASON_LENGTH:
        raise UsageError(
            f"--reason: say why, in 1 to {REASON_LENGTH} characters; it stays on record"
        )
    return reason


def person() -> str:
    """Who sits at this machine, as far as it knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
