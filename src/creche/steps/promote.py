"""Record the judged model as a version, and make it champion where the verdict says so."""

from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche import registry
from creche.errors import ModelError, RegistryError
from creche.model_file import Model
from creche.places import MODEL, PROMOTION, SPLIT, VERDICT, Places, read_json, write_json
from creche.recipe import Recipe

READS = (MODEL, SPLIT, VERDICT)
WRITES = (PROMOTION,)


def run(recipe: Recipe, places: Places, record: registry.Run) -> dict[str, Any]:
    """Register the model file as a version, whatever the verdict; move the alias on PROMOTE alone.

    Raises:
        ModelError: the file is not the one that was judged.
        RegistryError: another champion reigns than the one it was judged against.
    """
    verdict = read_json(places / VERDICT)
    model = Model(places / MODEL)
    if model.digest != verdict["digest"]:
        raise ModelError(f"{places / MODEL} changed after it was judged: run the steps again from export on")
    met = pq.read_table(places / SPLIT).filter(pc.field("side") != "holdout")
    trained_on = {"split": recipe.split_digest, "groups": sorted(set(met["group_hash"].to_pylist()))}
    tags = {"verdict": verdict["verdict"], "verdict_id": verdict["id"], **model.metadata["provenance"]}
    version = registry.register(places / MODEL, model.digest, trained_on, {k: str(v) for k, v in tags.items()}, record)
    promoted = verdict["verdict"] == "PROMOTE"
    if promoted:
        reigning = registry.resolve(recipe.name, places)
        judged_against = verdict["against"] and verdict["against"]["version"]
        if (reigning and reigning.version) != judged_against:
            raise RegistryError(
                f"the champion of {recipe.name} changed while version {version} was judged: it is now "
                f"{reigning and reigning.version}, not {judged_against}; run it again"
            )
        registry.crown(recipe.name, version, places)
    result = {"version": version, "digest": model.digest, "champion": promoted, "verdict_id": verdict["id"]}
    write_json(places / PROMOTION, result)
    return result
