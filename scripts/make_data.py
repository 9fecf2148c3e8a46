"""Write data/penguins.csv from the raw table of the PyPI package palmerpenguins 0.1.6 (CC0).

usage: python scripts/make_data.py [FILE]

344 birds, two to a nest. Names become canonical and carry their units, species and sex lose their
decoration ("Adelie Penguin (Pygoscelis adeliae)" is Adelie), and the nest is the first part of the
individual's id (N61A2: nest N61). No row is dropped, filled or re-ordered: missing values stay
missing, for the contract to refuse.
"""

import sys
from importlib.resources import files
from pathlib import Path

import pandas as pd

DEFAULT_PATH = Path(__file__).parents[1] / "data" / "penguins.csv"
NAMES = {
    "studyName": "study",
    "Individual ID": "individual",
    "Date Egg": "date_egg",
    "Species": "species",
    "Island": "island",
    "Culmen Length (mm)": "bill_length_mm",
    "Culmen Depth (mm)": "bill_depth_mm",
    "Flipper Length (mm)": "flipper_length_mm",
    "Body Mass (g)": "body_mass_g",
    "Sex": "sex",
}


def main() -> None:
    out = DEFAULT_PATH
    if len(sys.argv) > 1:
        out = Path(sys.argv[1])
    raw = pd.read_csv(str(files("palmerpenguins") / "data" / "penguins-raw.csv"), dtype=str)
    birds = raw[list(NAMES)].rename(columns=NAMES)
    birds["species"] = birds["species"].str.split().str[0]
    birds["sex"] = birds["sex"].str.lower()
    birds.insert(2, "nest", birds["individual"].str.extract(r"^(N\d+)A[12]$", expand=False))
    birds.to_csv(out, index=False, lineterminator="\n")
    nests = birds.groupby(["study", "species", "nest"])
    print(f"{out}: {len(birds)} birds, {len(nests)} nests")


if __name__ == "__main__":
    main()
