"""The anomaly detector: an isolation forest on nine sensors of the Statlog (Shuttle) data, trained twice.

The first half of the rows is for training; what is measured, and what `tests/data/shuttle.csv` holds, comes from the
second half. Version 1.0.0 was trained early, on an eighth of the rows; version 2.0.0 on all of the first half, with
twice the trees.
"""

import gzip
from importlib.resources import files

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import IsolationForest

INPUT = "sensors"
SENSORS = 9
# Share of anomalies to expect: it sets where the score crosses 0, so that `label` means something.
CONTAMINATION = 0.07
SEED = 7
# The highest opsets every supported ONNX Runtime knows.
OPSET = {"": 15, "ai.onnx.ml": 3}

VERSIONS = {
    "1.0.0": {"share": 8, "trees": 50},
    "2.0.0": {"share": 2, "trees": 100},
}


def rows():
    """All rows: nine sensors, and 1 where the row is an anomaly."""
    with gzip.open(files("river") / "datasets" / "shuttle.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", skiprows=1, dtype=np.int64)
    return table[:, :SENSORS], table[:, SENSORS]


def held_out(table):
    return table[len(table) // 2 :]


def model(version):
    """The detector of that version as ONNX: `label` is 1 or -1 (anomaly), `scores` is below 0 for an anomaly."""
    how = VERSIONS[version]
    sensors, _ = rows()
    forest = IsolationForest(
        n_estimators=how["trees"], max_samples=256, contamination=CONTAMINATION, random_state=SEED
    ).fit(sensors[: len(sensors) // how["share"]].astype(np.float32))
    exported = to_onnx(
        forest,
        name="shuttle-anomaly",
        initial_types=[(INPUT, FloatTensorType([None, SENSORS]))],
        target_opset=OPSET,
    )
    # The exporter walks a set, so their order would change from run to run.
    opsets = sorted(exported.opset_import, key=lambda opset: opset.domain)
    del exported.opset_import[:]
    exported.opset_import.extend(opsets)
    return exported


def sample(count):
    """Evenly spaced rows that no version was trained on, in their order, with their labels."""
    sensors, labels = (held_out(column) for column in rows())
    chosen = np.arange(count) * len(labels) // count
    return sensors[chosen], labels[chosen]


def area_under_curve(scores, labels):
    """Share of pairs of one anomaly and one normal row in which the anomaly has the lower score; ties count half."""
    anomalies, normal = scores[labels == 1], np.sort(scores[labels == 0])
    above = len(normal) - np.searchsorted(normal, anomalies, side="right")
    ties = np.searchsorted(normal, anomalies, side="right") - np.searchsorted(normal, anomalies, side="left")
    return float((above + ties / 2).sum() / (len(anomalies) * len(normal)))
