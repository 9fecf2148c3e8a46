"""Record the judged model as a version, and make it champion where the verdict says so."""

from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche import registry
from creche.errors import ModelError
from creche.model_file import Model
from creche.places import MODEL, PROMOTION, SPLIT, VERDICT, Places, read_json, write_json
from creche.recipe import Recipe

READS = (MODEL, SPLIT, VERDICT)
WRITES = (PROMOTION,)


def run(recipe: Recipe, places: Places, record: registry.Run) -> dict[str, Any]:
    """Register the model file as a version, whatever the verdict; move the alias on PROMOTE alone.

    Raises:
        ModelError: the file is not the one that was judged.
    """
    verdict = read_json(places / VERDICT)
    model = Model(places / MODEL)
    if model.digest != verdict["digest"]:
        raise ModelError(f"{places / MODEL} changed after it was judged: run the steps again from export on")
    met = pq.read_table(places / SPLIT).filter(pc.field("side") != "holdout")
    groups = sorted(set(met["group_hash"].to_pylist()))
    tags = {"verdict": verdict["verdict"], "verdict_id": verdict["id"], **model.metadata["provenance"]}
    version = registry.register(places / MODEL, model.digest, groups, {k: str(v) for k, v in tags.items()}, record)
    promoted = verdict["verdict"] == "PROMOTE"
    if promoted:
        registry.crown(recipe.name, version, places)
    result = {"version": version, "digest": model.digest, "champion": promoted, "verdict_id": verdict["id"]}
    write_json(places / PROMOTION, result)
    return result
