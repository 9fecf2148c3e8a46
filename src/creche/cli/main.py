"""The words a user types. Each is a few lines here; what it does lies below, and is imported when
it is asked for."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creche import __version__
from creche.errors import CrecheError, ModelError, UsageError
from creche.pipeline import STEPS
from creche.project import RUN, ProjectPaths, read_json, recipe_name

if TYPE_CHECKING:
    from creche.model.artifact import Model

NOT_PROMOTED = 3
ENDS = {
    "Promoted": 0,
    "Unchanged": 0,
    "Rejected": NOT_PROMOTED,
    "Inconclusive": NOT_PROMOTED,
}  # exit codes of a run's states
DEVICES = ("auto", "cpu", "cuda", "mps")
SHUTDOWN_SECONDS = 15
INTERRUPTED = "creche: interrupted; nothing half-written is taken for whole, start it again"
EXIT_CODES = ("exit codes: 0 done; 1 refused or failed, and said why; 2 wrong usage; 3 done, but "
             "the verdict is not PROMOTE")


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn what is raised on purpose into one sentence and an exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        code: int = options.run(options)
        return code
    except CrecheError as error:
        print(f"creche: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except FileNotFoundError as error:
        print(f"creche: {error.filename}: no such file", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("creche", "flows"):
            raise
        print(f"creche: this needs {error.name}: pip install 'creche[pipeline]'", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("creche", description=__doc__, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"creche {__version__}")
    words = parser.add_subparsers(metavar="WORD", required=True)

    def word(
        name: str, run: Callable[[argparse.Namespace], int], about: str, example: str
    ) -> argparse.ArgumentParser:
        sub = words.add_parser(name, help=about, description=about, epilog=f"example: {example}")
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one JSON object, for scripts")
        return sub

    p = word("retrain", _retrain, "Raise a challenger, judge it, and promote it if it is better.",
             "creche retrain penguins")  # fmt: skip
    p.add_argument("recipe", metavar="RECIPE", help="a name in recipes/, or a path")
    p.add_argument(
        "--data",
        metavar="FILE",
        help="read this file in place of the recipe's source; its md5 must be the same",
    )
    p.add_argument(
        "--force",
        action="store_true",
        help="train although nothing has changed since the last verdict",
    )
    p.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to train (default: auto)"
    )
    p.add_argument(
        "--workers",
        metavar="N",
        type=int,
        help="processes that share each batch (default: the recipe's)",
    )

    p = word("score", _score, "Score files of observations: every row comes back, scored or "
                              "quarantined with its reasons.",
             "creche score examples/observations.csv --recipe penguins "
             "--out predictions")  # fmt: skip
    p.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="CSV, Parquet, JSON lines or Arrow: files, globs, folders or URLs",
    )
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--recipe", metavar="RECIPE", help="score with this recipe's champion")
    which.add_argument(
        "--model", metavar="MODEL", help="penguins@champion, penguins@7, or an .onnx file"
    )
    p.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="a new folder, or one of an earlier scoring",
    )
    p.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="score on the cluster whose scheduler listens there, a task a file",
    )
    p.add_argument(
        "--format",
        choices=("parquet", "csv", "jsonl"),
        default="parquet",
        help="of the predictions (default: parquet)",
    )

    p = word("predict", _predict, "Answer one observation.",
             "creche predict penguins island=Dream bill_length_mm=50.4 bill_depth_mm=15.3 "
             "flipper_length_mm=200 "
             "body_mass_g=5000")  # fmt: skip
    p.add_argument(
        "model", metavar="MODEL", help="a recipe (its champion), penguins@7, or an .onnx file"
    )
    p.add_argument("values", metavar="NAME=VALUE", nargs="+")

    p = word("verify", _verify, "Check a model file by itself: its digest, and its golden rows.",
             "creche verify penguins.onnx --digest 3f1c…")  # fmt: skip
    p.add_argument("file", metavar="FILE", help="an .onnx file")
    p.add_argument("--digest", metavar="SHA256", help="what the file must be")

    p = word("why", _why, "Go back from a prediction to its row, model and data, and replay it.",
             "creche why predictions:12")  # fmt: skip
    p.add_argument(
        "prediction",
        metavar="OUT:ROW",
        help="or OUT:COLUMN=VALUE; OUT is a scoring's folder, or a file in it",
    )
    p.add_argument(
        "--model", metavar="FILE", help="the model's file, where the registry does not have it"
    )

    p = word("affected", _affected, "List the scorings that a model or a data version "
                                    "last_modified.",
             "creche affected --model penguins@3")  # fmt: skip
    p.add_argument("--model", metavar="MODEL", help="a recipe, or penguins@7")
    p.add_argument("--data", metavar="VERSION", help="a data version, or its start")

    p = word(
        "show",
        _show,
        "Show what a model file says of itself, or its learned weights.",
        "creche show weights penguins",
    )
    p.add_argument("words", metavar="[weights] MODEL", nargs="+", help="MODEL as for predict")

    p = word(
        "models",
        _models,
        "List the versions of a recipe's model, with their verdicts.",
        "creche models penguins",
    )
    p.add_argument("recipe", metavar="RECIPE")

    p = word("history", _history, "Tell who reigned from when to when, and why.",
             "creche history penguins --at 2026-11-01T12:00")  # fmt: skip
    p.add_argument("recipe", metavar="RECIPE")
    p.add_argument(
        "--at", metavar="TIME", help="who was champion then; ISO 8601, UTC unless it says otherwise"
    )

    p = word("judge", _judge, "Put any model before the gate by hand, beside another one; nothing "
                              "is recorded.",
             "creche judge penguins@4 --against penguins@champion")  # fmt: skip
    p.add_argument("model", metavar="MODEL", help="as for predict")
    p.add_argument("--against", metavar="MODEL", help="the model that it is compared with")

    p = word("promote", _promote, "Make a version champion by hand; against the gate's verdict it "
                                  "is an override, on record.",
             "creche promote penguins@4 --reason 'the new scale is right, "
             "the holdout is not'")  # fmt: skip
    p.add_argument("model", metavar="MODEL", help="penguins@7")
    p.add_argument("--reason", metavar="WHY", required=True, help="stays on record")

    p = word("rollback", _rollback, "Put an earlier champion back.",
             "creche rollback penguins "
             "--reason 'takes Chinstraps for Adelies on Dream'")  # fmt: skip
    p.add_argument("recipe", metavar="RECIPE")
    p.add_argument(
        "--to", metavar="VERSION", help="a version that has reigned (default: the one before)"
    )
    p.add_argument("--reason", metavar="WHY", required=True, help="stays on record")

    p = word("prune", _prune, "Delete versions that never reigned, that no scoring here names, "
                              "and that are not the latest.",
             "creche prune penguins --keep 20 --yes")  # fmt: skip
    p.add_argument("recipe", metavar="RECIPE")
    p.add_argument(
        "--keep", metavar="N", type=int, default=10, help="of the latest versions (default: 10)"
    )
    p.add_argument("--yes", action="store_true", help="delete; without it they are only named")

    p = word("reproduce", _reproduce, "Raise a model again from its own data version and compare "
                                      "the bytes.",
             "creche reproduce penguins@champion")  # fmt: skip
    p.add_argument("model", metavar="MODEL", help="as for predict")
    p.add_argument("--device", choices=DEVICES, default="auto", help="as in retrain")

    p = word("up", _up, "Start the servers and workers of this machine, deploy "
                        "deploy/prefect.yaml, and keep them all alive.",
             "creche up --detach")  # fmt: skip
    p.add_argument(
        "--gpu",
        action="store_true",
        help="a worker for pool gpu too, though no CUDA device is seen",
    )
    p.add_argument(
        "--pool",
        metavar="POOL",
        action="append",
        help="work for this pool alone; may be given several times",
    )
    p.add_argument(
        "--detach", action="store_true", help="in the background; the log is in CRECHE_HOME/up/log"
    )

    p = word("status", _status, "Tell in one look what is up, what runs, waits and comes next, "
                                "and who reigns.",
             "creche status --json")  # fmt: skip

    p = word("doctor", _doctor, "Look for what is amiss with data, registry, runs, pools and this "
                                "machine, and name the cures.",
             "creche doctor --fix")  # fmt: skip
    p.add_argument("--fix", action="store_true", help="do those cures that can do no harm")

    p = word("submit", _submit, "Send a retraining to a pool, follow its log, and end with its "
                                "verdict.",
             "creche submit penguins --pool gpu")  # fmt: skip
    p.add_argument(
        "recipe", metavar="RECIPE", help="with a deployment retrain/RECIPE in deploy/prefect.yaml"
    )
    p.add_argument("--pool", metavar="POOL", help="where to train, in place of the recipe's pool")
    p.add_argument("--force", action="store_true", help="as in retrain")

    p = word(
        "down", _down, "Let what runs end, then stop the servers and workers.", "creche down --now"
    )
    p.add_argument("--now", action="store_true", help="kill what runs; its state will say so")

    p = word("step", _step, "Run one step on the files in experiments/RECIPE: what the stages in "
                            "dvc.yaml call.",
             "creche step validate penguins")  # fmt: skip
    p.add_argument("name", metavar="NAME", choices=STEPS[:-1], help=", ".join(STEPS[:-1]))
    p.add_argument("recipe", metavar="RECIPE", help="a name in recipes/, or a path")
    p.add_argument("--data", metavar="FILE", help="for pull: as in retrain")
    p.add_argument("--device", choices=DEVICES, default="auto", help="for train: as in retrain")
    p.add_argument(
        "--workers", metavar="N", type=int, help="for train: as in retrain, on this host"
    )
    p.add_argument(
        "--hosts",
        metavar="N",
        type=int,
        default=1,
        help="for train: how many hosts run this same step as one team",
    )
    p.add_argument(
        "--rendezvous",
        metavar="HOST:PORT",
        help="for train: one of the hosts, and a free port there",
    )
    return parser


def _retrain(options: argparse.Namespace) -> int:
    from creche import recipe

    paths = ProjectPaths.find()
    path = recipe.find(options.recipe, paths.root)
    recipe.load(str(path), paths.root)  # a recipe that is wrong needs no Prefect to say so
    os.environ.setdefault(
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL"
    )  # the summary says it, in one sentence
    from creche.reporting import report
    from flows.retrain import retrain

    data = str(Path(options.data).resolve()) if options.data else None
    run_id = paths.new_run_id(path.stem)
    with _patience():
        state: Any = retrain(
            str(path),
            data,
            options.force,
            options.device,
            options.workers,
            run=run_id,
            return_state=True,
        )
    record = paths.run(run_id) / RUN
    if not record.is_file():
        raise CrecheError(
            f"the run ended {state.name} before it could leave a record: {state.message}"
        )
    run = read_json(record)
    if options.json:
        print(json.dumps(run))
    else:
        print("\n".join(report.summary_lines(run)))
        print("\n" + "\n".join(_further(paths, run)))
    return ENDS.get(run["state"], 1)


@contextmanager
def _patience() -> Iterator[None]:
    """On Ctrl-C the embedded server gets the signal too, and Prefect then waits for it in vain: end
    after some seconds.

    The run's own record is whole by then.
    """

    def stop(*_: object) -> None:
        def end() -> None:
            print(INTERRUPTED, file=sys.stderr, flush=True)
            os._exit(130)

        timer = threading.Timer(SHUTDOWN_SECONDS, end)
        timer.daemon = True
        timer.start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    yield
    signal.signal(
        signal.SIGINT, before
    )  # not after an interrupt: a second signal (seen in CI) would end it without a word


def _further(paths: ProjectPaths, run: dict[str, Any]) -> list[str]:
    """The commands to look further, with paths as seen from here."""
    home = os.path.relpath(paths.home)
    folder = f"{home}/runs/{run.get('last', run)['run']}"
    from creche.project import CURVES, EVALUATION_PLOT, VALIDATION_REPORT

    return [
        "look further:",
        f"  creche show {run['recipe']}    creche show weights {run['recipe']}",
        f"  {folder}/: {VALIDATION_REPORT}, {CURVES}, {EVALUATION_PLOT}, {RUN}",
        "  creche up --detach    (the pages of Prefect and MLflow)",
    ]


def _score(options: argparse.Namespace) -> int:
    from creche.data.sources import find_sources
    from creche.scoring.batch import score, summary_lines
    from creche.scoring.lineage import note

    model, version = _open(options.recipe or options.model)
    run = None
    if options.dask:
        from creche.scoring.dask_executor import on_dask

        run = on_dask(options.dask)
    manifest = score(find_sources(options.files), model, version, options.out, options.format, run)
    note(options.out, manifest, ProjectPaths.find())
    if options.json:
        print(json.dumps(manifest))
        return 0
    first, *more = summary_lines(manifest)
    print(f"SCORED  {first}")
    print("\n".join(f"  {line}" for line in more))
    print(f"  {options.out}: predictions, quarantine.parquet, manifest.json")
    return 0


def _predict(options: argparse.Namespace) -> int:
    from creche.scoring.single_row import predict

    given: dict[str, str] = {}
    for pair in options.values:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"'{pair}' is not NAME=VALUE")
        if name in given:
            raise UsageError(f"'{name}' is given twice")
        given[name] = value
    model, version = _open(options.model)
    answer = predict(model, given)
    if options.json:
        print(json.dumps({**answer, "model_version": version, "model_digest": model.digest}))
    else:
        print(answer["label"])
        for name, probability in answer["probabilities"].items():
            print(
                f"  {name:<12} {'unknown' if probability is None else format(probability, '.6f')}"
            )
        print(f"  by {model.metadata['recipe']} version {version} ({model.digest[:12]})")
    return 0


def _show(options: argparse.Namespace) -> int:
    *what, reference = options.words
    if what not in ([], ["weights"]):
        raise UsageError(f"show MODEL, or show weights MODEL, not 'show {' '.join(options.words)}'")
    model, _ = _open(reference)
    if what:
        from creche.model.graph import weights

        shown: Any = {
            name: {"shape": list(w.shape), "values": w.tolist()}
            for name, w in weights(model.content).items()
        }
    else:
        shown = {"digest": model.digest, **model.metadata}
    if options.json:
        print(json.dumps(shown))
    elif what:
        for name, entry in shown.items():
            print(f"{name}  {' × '.join(map(str, entry['shape']))}")
            for row in entry["values"] if len(entry["shape"]) > 1 else [entry["values"]]:
                print("  " + " ".join(f"{v:9.4f}" for v in row))
    else:
        print("\n".join(_told(shown)))
    return 0


def _told(model: dict[str, Any]) -> Iterator[str]:
    """What a model file says of itself, for a person; `--json` gives all of it."""
    yield f"{model['recipe']}: tells {model['label']} ({', '.join(model['transform']['classes'])})"
    yield f"  SHA-256 {model['digest']}\n\ntakes"
    for name, c in model["contract"].items():
        bounds = " ".join(
            f"{word} {c[key]:g}" for word, key in (("from", "min"), ("to", "max")) if key in c
        )
        limits = f"{bounds} {c.get('unit', '')}" if c["kind"] == "number" else ""
        yield f"  {name:<20} {c['kind']:<9} {limits}{', '.join(c.get('values', ()))}"
    stated, seen = model["uncertainty"], model["statistics"]
    yield (
        "\nanswers\n  label, or unknown; a probability for each class; ood_score "
        f"({stated['ood_score']})"
    )
    yield (
        f"  a prediction set that holds the truth in {stated['coverage']:.0%} "
        f"({stated['prediction_set']}, calibrated on {stated['calibration_rows']} rows)"
    )
    rows = next(iter(seen["columns"].values()))["rows"]
    yield f"\nlearned from\n  {rows} rows: " + ", ".join(
        f"{c} {share:.0%}" for c, share in seen["classes"].items()
    )
    yield f"  license {model['data']['license']}. {model['data']['citation']}\n\nprovenance"
    yield from (f"  {name:<15} {value}" for name, value in model["provenance"].items())


def _step(options: argparse.Namespace) -> int:
    from creche.pipeline import run_step
    from creche.recipe import load
    from creche.training.distributed import Rendezvous

    project = ProjectPaths.find()
    recipe = load(options.recipe, project.root)
    extra: dict[str, Any] = {}
    if options.name == "pull" and options.data:
        extra["data"] = Path(options.data)
    if options.name == "train":
        if (options.hosts > 1) != bool(options.rendezvous):
            raise UsageError("--hosts and --rendezvous go together: on each host the same two")
        rendezvous = Rendezvous(options.hosts, options.rendezvous) if options.rendezvous else None
        extra |= {"device": options.device, "workers": options.workers, "rendezvous": rendezvous}
    result = run_step(options.name, recipe, project.experiment(recipe.name), **extra)
    print(json.dumps(result, indent=None if options.json else 2, ensure_ascii=False))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from creche.model.artifact import Model

    model = Model(Path(options.file), options.digest)
    wrong = model.verify()
    found = {
        "digest": model.digest,
        "sound": not wrong,
        "wrong": wrong,
        "provenance": model.metadata["provenance"],
    }
    if options.json:
        print(json.dumps(found))
    else:
        rows = len(model.metadata["golden"]["label"])
        print(f"{'SOUND' if not wrong else 'ALTERED'}  {options.file}, SHA-256 {model.digest}")
        print(
            "\n".join(f"  {w}" for w in wrong)
            if wrong
            else f"  answers all of its {rows} golden rows as on record"
        )
        for name, value in model.metadata["provenance"].items():
            print(f"  {name:<15} {value}")
    return 0 if not wrong else 1


def _why(options: argparse.Namespace) -> int:
    from creche import registry
    from creche.model.artifact import Model
    from creche.scoring.lineage import find_row, replay

    prediction = find_row(options.prediction)
    row, manifest = prediction.row, prediction.manifest
    told, paths = manifest["model"], ProjectPaths.find()
    cached = registry.cached_model_path(told["digest"], paths)
    path = Path(options.model) if options.model else cached
    version = (
        None
        if told["version"] == "file"
        else registry.resolve(told["recipe"], paths, told["version"])
    )
    if version is None and not path.is_file():
        raise ModelError(f"the model {told['digest'][:12]} is not here: name its file with --model")
    model = Model(version.path if version and not options.model else path, told["digest"])
    again = replay(model, prediction)
    found = {
        "row": row,
        "model": told,
        "verdict": version.tags.get("verdict") if version else None,
        "verdict_id": version.tags.get("verdict_id") if version else None,
        "provenance": model.metadata["provenance"],
        "inputs": manifest["inputs"],
        "replayed": again,
    }
    if options.json:
        print(json.dumps(found, default=str))
    else:
        for name, value in row.items():
            print(f"  {name:<22} {value}")
        print(f"  by {told['recipe']} version {told['version']} ({told['digest'][:12]}), data "
              f"{told['data_version'][:12]}, "
              f"verdict {found['verdict'] or 'not on record'} "
              f"{found['verdict_id'] or ''}")  # fmt: skip
        print(f"  from {', '.join(i['file'] for i in manifest['inputs'][:3])}")
        print(
            "  replayed: "
            + (
                "the same label and probabilities, bit for bit"
                if again["same"]
                else f"NOT THE SAME: {again}"
            )
        )
    return 0 if again["same"] else 1


def _affected(options: argparse.Namespace) -> int:
    from creche import registry
    from creche.provenance import sha256_of
    from creche.scoring.lineage import affected

    paths = ProjectPaths.find()
    recipe, _, version = (options.model or "").partition("@")
    if recipe.endswith(".onnx"):
        recipe, version = "", sha256_of(Path(recipe))
    elif version and not version.isdigit():
        resolved = registry.resolve(recipe, paths, version)
        if resolved is None:
            raise UsageError(f"{recipe} has no {version}")
        version = resolved.version
    found = affected(paths, recipe or None, version or None, options.data)
    if options.json:
        print(json.dumps(found))
        return 0
    for entry in found:
        model = entry["model"]
        print(f"{entry['time']}  {entry['scored']:>10} rows  {model['recipe']}@{model['version']} "
              " data "
              f"{model['data_version'][:12]}  {entry['out']}")  # fmt: skip
    print(f"{len(found)} scorings, {sum(e['scored'] for e in found)} rows")
    return 0


def _models(options: argparse.Namespace) -> int:
    from creche import registry

    paths, recipe = _reconciled(options.recipe)
    reigning = registry.champion_version(recipe, paths)
    found = registry.list_versions(paths, recipe)
    rows: list[dict[str, Any]] = [
        {"version": str(v.version), "champion": str(v.version) == reigning, **v.tags} for v in found
    ]
    if options.json:
        print(json.dumps(rows))
        return 0
    for r in rows:
        print(f"  {r['version']:>4}  {'champion' if r['champion'] else '':8}  "
              f"{r.get('verdict', ''):12}  data "
              f"{r.get('data_version', '')[:12]}  digest {r.get('digest', '')[:12]}  "
              f"run {r.get('run', '')}")  # fmt: skip
    print(f"{len(rows)} versions of {recipe}")
    return 0


def _history(options: argparse.Namespace) -> int:
    from dataclasses import asdict
    from datetime import UTC, datetime
    from itertools import pairwise

    from creche.registry import promotion_log

    paths, recipe = _reconciled(options.recipe)
    log = promotion_log.entries(recipe, paths)
    if options.at:
        try:
            time = datetime.fromisoformat(options.at)
        except ValueError:
            raise UsageError(f"--at {options.at}: not a time as 2026-11-01T12:00") from None
        then = promotion_log.champion_at(log, time if time.tzinfo else time.replace(tzinfo=UTC))
        log = [then] if then else []
    if options.json:
        print(json.dumps([{**asdict(e), "time": e.time.isoformat()} for e in log]))
        return 0
    reigns = [e for e in log if not e.superseded]
    ends = {e.number: f"{later.time:%Y-%m-%d %H:%M:%S}" for e, later in pairwise(reigns)}
    for e in log:
        until = (
            ends.get(e.number, "" if options.at else "now")
            if not e.superseded
            else "superseded, another was first"
        )
        over = f", overrules {e.overrules}" if e.overrules else ""
        print(
            f"  {e.time:%Y-%m-%d %H:%M:%S} to {until:19}  version {e.version:>4}  {e.kind} by "
            f"{e.by}{over}: {e.reason}"
        )
    print(f"{len(reigns)} reigns of {recipe} (UTC)" if reigns else f"nobody reigned over {recipe}")
    return 0


def _judge(options: argparse.Namespace) -> int:
    from creche.pipeline.manual_evaluation import evaluate_manually
    from creche.reporting.report import markdown_table

    verdict = evaluate_manually(options.model, options.against, ProjectPaths.find())
    if options.json:
        print(json.dumps(verdict))
    else:
        print(f"{verdict['verdict']}  {verdict['reason']}\n")
        rows = [
            [f["floor"], f["found"], f["limit"], "met" if f["met"] else "BROKEN"]
            for f in verdict["floors"]
        ]
        print(markdown_table(["floor", "found", "limit", ""], rows))
    return 0 if verdict["verdict"] == "PROMOTE" else NOT_PROMOTED


def _promote(options: argparse.Namespace) -> int:
    from creche.registry import promotion_log

    name, _, version = options.model.partition("@")
    if not version.isdigit():
        raise UsageError(f"promote a version by its number, as penguins@4, not '{options.model}'")
    paths, recipe = _reconciled(name)
    return _crowned(options, recipe, promotion_log.promote(recipe, version, options.reason, paths))


def _rollback(options: argparse.Namespace) -> int:
    from creche.registry import promotion_log

    paths, recipe = _reconciled(options.recipe)
    return _crowned(
        options, recipe, promotion_log.rollback(recipe, options.to, options.reason, paths)
    )


def _crowned(options: argparse.Namespace, recipe: str, entry: Any) -> int:
    over = f", against verdict {entry.overrules}" if entry.overrules else ""
    said = {
        "recipe": recipe,
        "version": entry.version,
        "kind": entry.kind,
        "by": entry.by,
        "overrules": entry.overrules,
    }
    print(
        json.dumps(said)
        if options.json
        else f"{recipe}@{entry.version} reigns: {entry.kind} by {entry.by}{over}"
    )
    return 0


def _prune(options: argparse.Namespace) -> int:
    from creche import registry
    from creche.pipeline.retention import prunable_versions

    if options.keep < 0:
        raise UsageError("--keep: 0 or more")
    paths, recipe = _reconciled(options.recipe)
    found = prunable_versions(recipe, options.keep, paths)
    if not options.json:
        print(
            "\n".join(
                f"  {v.version:>4}  {v.tags.get('verdict', '')}  digest {v.digest[:12]}"
                for v in found
            )
        )
    for version in found if options.yes else []:
        registry.delete_version(version, paths)
    done = "deleted" if options.yes else "would go; --yes deletes them"
    told = {"recipe": recipe, "versions": [v.version for v in found], "deleted": bool(options.yes)}
    print(json.dumps(told) if options.json else f"{len(found)} versions of {recipe} {done}")
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from creche.pipeline.reproduce import reproduce

    found = reproduce(options.model, ProjectPaths.find(), options.device)
    agree = found.agreement
    if options.json:
        print(json.dumps(asdict(found)))
    elif found.same:
        print(f"IDENTICAL  {found.model}, SHA-256 {found.digest}")
    else:
        print(
            f"DIFFERENT  {found.model} was {found.digest[:12]}, is {found.new_digest[:12]} now"
        )
        if first := found.first_difference:
            print(
                f"  the first byte that differs is {first.byte} of {first.file}, which "
                f"{first.step} writes"
            )
        if found.changed:
            print(f"  not as it was then: {', '.join(found.changed)}")
        print(f"  same label on {agree.same_label} of {agree.rows} holdout rows, probabilities "
              "within "
              f"{agree.largest_difference:.2g}")  # fmt: skip
    return 0 if found.same or (found.changed and agree.same_label == agree.rows) else 1


def _up(options: argparse.Namespace) -> int:
    from creche.operations import supervisor

    paths = ProjectPaths.find()
    if not (supervisor.record(paths) or {}).get("ready"):
        if options.detach:
            supervisor.detach(
                paths,
                [
                    "up",
                    *(["--gpu"] if options.gpu else []),
                    *(f"--pool={name}" for name in options.pool or ()),
                ],
            )
        else:
            return _keep(paths, options.gpu, options.pool)
    record = supervisor.record(paths) or {}
    asked = options.pool or (["gpu"] if options.gpu else [])
    if missing := [name for name in asked if name not in record["pools"]]:
        print(
            f"creche: up without a worker for {', '.join(missing)}: creche down first",
            file=sys.stderr,
        )
    if options.json:
        print(json.dumps(record))
    else:
        print(f"UP  {paths.home}\n  Prefect  {record['ui']}\n  MLflow   {record['mlflow']}")
        print("  next     " + ("\n           ".join(_next(paths)) or "nothing is scheduled"))
    return 0


def _keep(paths: ProjectPaths, gpu: bool, only: list[str] | None) -> int:
    from creche.operations import supervisor

    where = supervisor.addresses(paths)
    os.environ |= {"CRECHE_ROOT": str(paths.root), "CRECHE_HOME": str(paths.home)}
    # What looks after the servers must not wait for one of them.
    os.environ |= {
        "PREFECT_API_URL": where["prefect"],
        "CRECHE_MLFLOW_URL": where["mlflow"],
        "PREFECT_CLIENT_MAX_RETRIES": "0",
    }
    from creche.operations.services import up

    up(paths, where, gpu, only)
    return 0


def _next(paths: ProjectPaths) -> list[str]:
    from creche.operations.status import status

    return [f"{run['time']} UTC  {run['name']}" for run in status(paths)["next"]]


def _status(options: argparse.Namespace) -> int:
    from creche.operations.pools import server_errors
    from creche.operations.status import lines, status

    with server_errors():
        found = status(ProjectPaths.find())
    print(json.dumps(found) if options.json else "\n".join(lines(found)))
    return 0 if found["well"] else 1


def _doctor(options: argparse.Namespace) -> int:
    os.environ["PREFECT_CLIENT_MAX_RETRIES"] = (
        "0"  # a server that does not answer is what it looks for
    )
    from creche.operations.doctor import evaluate_isolated, lines, told

    found = evaluate_isolated(ProjectPaths.find())
    fixed = {}
    for finding, fix in [
        (f, f.fix) for each in found.values() for f in each or () if f.fix and options.fix
    ]:
        try:
            fix()
            fixed[finding] = True
        except Exception as error:
            print(
                f"creche: {finding.found}: cannot be fixed: {' '.join(str(error).split())}",
                file=sys.stderr,
            )
    said = told(found, fixed)
    print(json.dumps(said) if options.json else "\n".join(lines(said)))
    return 0 if said["well"] else 1


def _submit(options: argparse.Namespace) -> int:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    from creche.operations.pools import server_errors
    from creche.operations.submit import submit

    _house(ProjectPaths.find())
    with server_errors():
        run = submit(
            recipe_name(options.recipe),
            options.pool,
            options.force,
            lambda line: print(line, file=sys.stderr, flush=True),
        )
    state: Any = run.state
    if options.json:
        print(
            json.dumps(
                {"id": str(run.id), "name": run.name, "state": state.name, "message": state.message}
            )
        )
    else:
        print(f"{state.name.upper()}  {state.message or ''}\n  run       {run.name}")
    return ENDS.get(state.name, 1)


def _down(options: argparse.Namespace) -> int:
    from creche.operations import supervisor

    paths = ProjectPaths.find()
    if supervisor.record(paths) is None:
        print("{}" if options.json else f"DOWN  nothing is up in {paths.home}")
        return 0
    supervisor.end(paths, options.now, lambda line: print(line, file=sys.stderr, flush=True))
    print("{}" if options.json else f"DOWN  {paths.home}")
    return 0


def _house(paths: ProjectPaths) -> dict[str, Any]:
    from creche.operations import supervisor

    record = supervisor.record(paths)
    if record is None and "PREFECT_API_URL" not in os.environ:
        raise UsageError(
            f"nothing is up in {paths.home}: creche up --detach, or set PREFECT_API_URL"
        )
    return record or {}


def _reconciled(recipe: str) -> tuple[ProjectPaths, str]:
    """The project, and a recipe's name; a promotion that was cut short is put right first, and
    said."""
    from creche.registry import promotion_log

    paths, name = ProjectPaths.find(), recipe_name(recipe)
    if said := promotion_log.reconcile(name, paths):
        print(f"creche: {said}", file=sys.stderr)
    return paths, name


def _open(reference: str) -> "tuple[Model, str]":
    from creche import registry

    return registry.open_model(reference, ProjectPaths.find())


if __name__ == "__main__":
    sys.exit(main())
