"""Registered versions whose files differ, their promotion, and the invariants of the promotion
log.
"""

from typing import Any

import onnx

from creche import registry
from creche.project import MODEL, ProjectPaths, RunPaths
from creche.provenance import sha256_of
from creche.recipe import Recipe
from creche.registry import promotion_log
from creche.registry.promotion_log import PromotionEntry
from support.processes import wait_until

TrainedRun = tuple[Recipe, RunPaths, dict[str, Any]]


def register_version(
    trained_run: TrainedRun, paths: ProjectPaths, note: str, verdict: str = "PROMOTE"
) -> str:
    """Register a version whose file differs from every other by its note; return its number."""
    model = onnx.load(trained_run[1] / MODEL)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**metadata, "note": note})
    path = paths.home / f"{note}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    run = registry.TrackedRun.start("penguins", note, {}, {}, paths)
    tags = {"verdict": verdict, "verdict_id": f"v-{note}", "data_version": "d"}
    return registry.register(path, sha256_of(path), "s", [1], tags, run)


def set_champion(
    paths: ProjectPaths, version: str, by: str = "run", **options: Any
) -> PromotionEntry:
    return promotion_log.set_champion(
        "penguins", version, paths, "promotion", f"{by} says so", by, **options
    )


def reconciled_log(paths: ProjectPaths, before: list[PromotionEntry]) -> list[PromotionEntry]:
    """Return the log as the next command sees it: it agrees with the alias, and has lost
    nothing.
    """

    def agree() -> bool:
        # A server may still carry out what a killed client had sent.
        promotion_log.reconcile("penguins", paths)
        last = promotion_log.head(promotion_log.entries("penguins", paths))
        current = registry.champion_version("penguins", paths)
        return current == (last.version if last else None)

    wait_until(agree, 5, "the alias follows the log")
    log = promotion_log.entries("penguins", paths)
    assert [entry.number for entry in log] == list(range(1, len(log) + 1))
    assert len(log) >= len(before)
    for then, now in zip(before, log, strict=False):
        assert (then.version, then.reason, then.superseded) == (
            now.version,
            now.reason,
            now.superseded,
        )
    return log
