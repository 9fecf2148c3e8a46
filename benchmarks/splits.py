"""Accuracy of the penguins recipe over 20 nest-grouped splits, beside scikit-learn on the same rows.

usage: python benchmarks/splits.py [RECIPE] [SPLITS]

Every split is the recipe's own, with another split.seed; the network trains as the recipe says, its validation part
included. scikit-learn gets training and validation rows together, standardised, island one-hot. Prints mean ± standard
deviation of the accuracy on the holdout.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from creche.model import networks
from creche.pipeline.preprocess import preprocess
from creche.pipeline.pull import pull
from creche.pipeline.validate import validate
from creche.project import ProjectPaths
from creche.recipe import load
from creche.training.dataset import LabeledTensors
from creche.training.trainer import train_network

ROOT = Path(__file__).parents[1]


def main(name: str = "penguins", splits: int = 20) -> None:
    recipe = load(name, ROOT)
    paths = ProjectPaths.find(ROOT)
    accepted = validate(pull(recipe.data, paths), recipe.data.path or "", recipe).accepted
    found: dict[str, list[float]] = {}
    sizes = []
    for seed in range(splits):
        split = recipe.model_copy(update={"split": recipe.split.model_copy(update={"seed": seed})})
        table, transform = preprocess(accepted, split)
        x = transform.transform({n: table[n].to_numpy() for n in recipe.features})
        y = transform.encode_labels(table[recipe.label].to_numpy())
        side = table["split"].to_numpy()
        held, seen = side == "holdout", side != "holdout"
        watched = side == ("validation" if recipe.split.validation else "holdout")
        parts = [torch.from_numpy(a[rows]) for rows in (side == "train", watched) for a in (x, y)]
        weights, _ = train_network(
            recipe, transform, LabeledTensors(*parts[:2]), LabeledTensors(*parts[2:])
        )
        net = networks.build(recipe.network, transform)
        net.load_state_dict(weights)
        net.eval()
        with torch.inference_mode():
            predictions = {f"creche {name}": net(torch.from_numpy(x[held])).argmax(1).numpy()}
        for model in (
            LogisticRegression(max_iter=2000),
            MLPClassifier(max_iter=3000, random_state=0),
            RandomForestClassifier(random_state=0),
        ):
            predictions[f"sklearn {type(model).__name__}"] = model.fit(x[seen], y[seen]).predict(
                x[held]
            )
        for who, answer in predictions.items():
            found.setdefault(who, []).append(float((answer == y[held]).mean()))
        sizes.append(int(held.sum()))
    print(
        f"{splits} splits by {', '.join(recipe.group) or 'row'}; {min(sizes)} to {max(sizes)} holdout rows"
    )
    for who, accuracies in found.items():
        print(
            f"{who:32} {np.mean(accuracies):.4f} ± {np.std(accuracies, ddof=1):.4f}  (worst {min(accuracies):.4f})"
        )


main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
