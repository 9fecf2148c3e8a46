"""Promotions and rollbacks by a person: `creche promote` and `creche rollback`."""

import getpass

from creche.errors import RegistryError, UsageError
from creche.model.artifact import Model
from creche.project import ProjectPaths
from creche.registry import promotion_log, versions
from creche.registry.promotion_log import REASON_LENGTH, PromotionEntry
from creche.registry.versions import ModelVersion


def promote(recipe: str, version: str, reason: str, paths: ProjectPaths) -> PromotionEntry:
    """Make a version champion manually.

    A verdict of PROMOTE counts only against the champion that it was compared with; over any other
    champion this is an override, whose entry names the verdict.

    Raises:
        RegistryError: there is no such version.
        UsageError: it is champion already, or there is no reason.
    """
    tags = _verified(recipe, version, paths).tags
    current = versions.champion_version(recipe, paths)
    if current == version:
        raise UsageError(f"version {version} of {recipe} is already champion")
    verdict = tags.get("verdict", "none")
    verdict_id = tags.get("verdict_id", "")
    compared_with = tags.get("compared_with", "none")
    if verdict == "PROMOTE" and compared_with == (current or "none"):
        kind = "promotion"
        overrules = ""
    else:
        kind = "override"
        overrules = f"{verdict_id} ({verdict} against {compared_with})"
    return promotion_log.set_champion(
        recipe,
        version,
        paths,
        kind=kind,
        reason=_checked_reason(reason),
        by=user_name(),
        verdict_id=verdict_id,
        overrules=overrules,
    )


def rollback(recipe: str, to: str | None, reason: str, paths: ProjectPaths) -> PromotionEntry:
    """Make an earlier champion champion again.

    Args:
        to: its version; None: the one before the current champion.

    Raises:
        RegistryError: there is no earlier one, `to` was never champion, or its file cannot be
            fetched.
        UsageError: `to` is champion already, or there is no reason.
    """
    effective = promotion_log.effective(promotion_log.entries(recipe, paths))
    target = to
    if target is None:
        target = _previous_champion(recipe, effective, paths)
    if target not in {entry.version for entry in effective}:
        target_tags = versions.version_tags(recipe, target, paths) or {}
        verdict = target_tags.get("verdict", "no verdict: there is no such version")
        raise RegistryError(
            f"version {target} of {recipe} was never champion ({verdict}), so it cannot be rolled "
            f"back to; to overrule its verdict, run `creche promote {recipe}@{target} --reason …`"
        )
    if versions.champion_version(recipe, paths) == target:
        raise UsageError(f"version {target} of {recipe} is already champion")
    tags = _verified(recipe, target, paths).tags
    if tags.get("verdict") == "REJECT":
        raise RegistryError(
            f"version {target} of {recipe} was champion by an override, against its verdict "
            f"(REJECT), so it cannot be rolled back to; to promote it all the same, run "
            f"`creche promote {recipe}@{target} --reason …`"
        )
    return promotion_log.set_champion(
        recipe,
        target,
        paths,
        kind="rollback",
        reason=_checked_reason(reason),
        by=user_name(),
        verdict_id=tags.get("verdict_id", ""),
    )


def _previous_champion(recipe: str, effective: list[PromotionEntry], paths: ProjectPaths) -> str:
    """Return the version that was champion before the current one first was.

    Each rollback thus leads to an earlier version, and never to one that was rolled back.
    """
    current = effective[-1].version if effective else ""
    for entry in reversed(_before_first(current, effective)):
        tags = versions.version_tags(recipe, entry.version, paths)
        if tags and tags.get("verdict") != "REJECT":
            return entry.version
    raise RegistryError(
        f"{recipe} has no earlier champion that the gate accepted, so there is none to roll back "
        f"to; run `creche history {recipe}` to see all champions"
    )


def _before_first(version: str, effective: list[PromotionEntry]) -> list[PromotionEntry]:
    for index, entry in enumerate(effective):
        if entry.version == version:
            return effective[:index]
    return []


def _verified(recipe: str, version: str, paths: ProjectPaths) -> ModelVersion:
    """Return the version, its file fetched, its digest checked and its golden rows replayed."""
    resolved = versions.registered_version(recipe, version, paths)
    if resolved is None:
        raise RegistryError(
            f"{recipe} has no version {version}: run `creche models {recipe}` to list those it has"
        )
    mismatches = Model(resolved.path, resolved.digest).verify()
    if mismatches:
        raise RegistryError(
            f"version {version} of {recipe} does not reproduce its golden rows: {mismatches[0]}; "
            "choose another version"
        )
    return resolved


def _checked_reason(text: str) -> str:
    reason = " ".join(text.split())
    if not reason or len(reason) > REASON_LENGTH:
        raise UsageError(
            f"--reason: state it in 1 to {REASON_LENGTH} characters; it stays on record"
        )
    return reason


def user_name() -> str:
    """Return the name of the user of this process, as far as the system knows it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
