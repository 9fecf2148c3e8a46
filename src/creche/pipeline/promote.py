"""Record the judged model as a version, and make it champion where the verdict says so."""

from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche import registry
from creche.errors import ModelError
from creche.gate import INCONCLUSIVE, PROMOTE, holdout_digest, verdict_id
from creche.model.artifact import Model
from creche.project import MODEL, PROMOTION, SPLIT, VERDICT, RunPaths, read_json, write_json
from creche.provenance import git_commit
from creche.recipe import Recipe
from creche.registry import promotion_log

INPUTS = (MODEL, SPLIT, VERDICT)
OUTPUTS = (PROMOTION,)


def run(recipe: Recipe, paths: RunPaths, record: registry.TrackedRun) -> dict[str, Any]:
    """Register the model file as a version, whatever the verdict; set_champion it on PROMOTE, or as the recipe says.

    Raises:
        ModelError: the file, the verdict or the holdout is not the one that was judged.
        RegistryError: another champion reigns than the one it was judged against, or someone else was first.
    """
    verdict, table = read_json(paths / VERDICT), pq.read_table(paths / SPLIT)
    model = Model(paths / MODEL)
    holdout, met = (
        table.filter(f) for f in (pc.field("side") == "holdout", pc.field("side") != "holdout")
    )
    if model.digest != verdict["digest"]:
        raise ModelError(
            f"{paths / MODEL} changed after it was judged: run the steps again from export on"
        )
    if verdict_id(verdict) != verdict["id"]:
        raise ModelError(f"{paths / VERDICT} is not as the gate wrote it: run judge again")
    if (
        holdout_digest(holdout["row"].to_pylist(), holdout["group_hash"].to_pylist())
        != verdict["holdout"]
    ):
        raise ModelError(
            f"{paths / VERDICT} is about another holdout than that of {paths / SPLIT}: run judge again"
        )
    record.keep_verdict(verdict)
    trained_on = {
        "split": recipe.split_digest,
        "groups": sorted(set(met["group_hash"].to_pylist())),
    }
    against = verdict["against"] and verdict["against"]["version"]
    told = {
        "against": against or "none",
        "verdict": verdict["verdict"],
        "verdict_id": verdict["id"],
        "run": paths.folder.name,
    }
    tags = {**told, "git_commit": git_commit(paths.root), **model.metadata["provenance"]}
    version = registry.register(
        paths / MODEL, model.digest, trained_on, {k: str(v) for k, v in tags.items()}, record
    )
    unsure = verdict["verdict"] == INCONCLUSIVE and verdict["comparison"] is not None
    promoted = verdict["verdict"] == PROMOTE or (unsure and recipe.gate.inconclusive == "promote")
    if promoted:
        by, reason = paths.folder.name, verdict["reason"][: promotion_log.REASON_LENGTH]
        promotion_log.set_champion(
            recipe.name, version, paths, "promotion", reason, by, verdict["id"], expected=against
        )
    result = {
        "version": version,
        "digest": model.digest,
        "champion": promoted,
        "verdict_id": verdict["id"],
    }
    write_json(paths / PROMOTION, result)
    return result
