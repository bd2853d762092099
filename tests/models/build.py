#!/usr/bin/env python3
"""Builds the four model packages of the demo and the tests, and the real data they run on.

build.py packages  writes TARGET/<name>-<version>/ from what is committed; needs requirements.txt
build.py check     loads those packages, compares them with their manifests and runs their golden sets
build.py all       makes anew everything that is committed here and in ../data; needs requirements-all.txt

TARGET is target/models at the top of the checkout, or what --target names. See README.md beside this file.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import face
import packages

RANGES = packages.HERE / "face-ranges.json"
DATA = packages.HERE.parent / "data"
TARGET = packages.HERE.parents[1] / "target" / "models"

# The face of the astronaut at half size: enough to see every output move, in 110 KB.
GOLDEN_SIZE = (256, 256)
GOLDEN_CROP = (64, 8, 160, 104)
# Normal rows and anomalies in every golden set of the anomaly detector.
GOLDEN_ROWS = 8
SAMPLE_ROWS = 2000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["packages", "check", "all"])
    parser.add_argument("--target", type=Path, default=TARGET)
    arguments = parser.parse_args()
    actions = {"packages": build_packages, "check": check_packages, "all": build_all}
    try:
        actions[arguments.what](arguments.target)
    except packages.Mismatch as error:
        sys.exit(f"build.py: {error}")


def build_packages(target):
    built = face_models(face.load_ranges(RANGES))
    for name in packages.names():
        sha256 = packages.lay_out(target, name, built.get(name))
        print(f"{sha256}  {target.name}/{name}/model.onnx")


def face_models(ranges):
    model = face.float_model()
    return {"face-detector-1.0.0": model, "face-detector-2.0.0": face.quantised_model(model, ranges)}


def check_packages(target):
    for name in packages.names():
        for output, error, share in packages.check(target / name):
            print(f"{name}: output {output} is off by {error:.3g} at most, {share:.1%} of what is allowed")


def build_all(target):
    import pictures
    import shuttle

    before = state()
    face.save_ranges(RANGES, face.measure_ranges(face.float_model(), pictures.calibration()))
    models = face_models(face.load_ranges(RANGES))
    models |= {f"shuttle-anomaly-{version}": shuttle.model(version) for version in shuttle.VERSIONS}
    shutil.rmtree(target, ignore_errors=True)
    for name, model in models.items():
        place = target / name if name.startswith("face") else packages.SOURCE / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
        (target / name).mkdir(parents=True, exist_ok=True)
        if place != target / name:
            shutil.copy(place / "model.onnx", target / name)
    packages.write_checksums(target)
    sessions = {name: packages.session(target / name / "model.onnx") for name in models}
    build_face_data(pictures, sessions)
    build_shuttle_data(shuttle, sessions)
    build_packages(target)
    check_packages(target)
    after = state()
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    print("changed: " + (", ".join(changed) or "nothing; everything was reproduced to the byte"))


def build_face_data(pictures, sessions):
    crop = pictures.tensor(pictures.picture("astronaut.png", GOLDEN_SIZE).crop(GOLDEN_CROP))
    versions = {name.rpartition("-")[2]: session for name, session in sessions.items() if name.startswith("face")}
    for version, session in versions.items():
        golden = packages.SOURCE / f"face-detector-{version}" / "golden" / "face.safetensors"
        packages.write_golden(golden, session, {face.INPUT: crop})
    directory = DATA / "pictures"
    pictures.write(directory)
    pictures.write_expectations(directory, versions)


def build_shuttle_data(shuttle, sessions):
    import numpy as np

    sensors, labels = shuttle.sample(SAMPLE_ROWS)
    header = ",".join([f"f{number}" for number in range(1, shuttle.SENSORS + 1)] + ["anomaly"])
    table = np.column_stack([sensors, labels])
    np.savetxt(DATA / "shuttle.csv", table, fmt="%d", delimiter=",", header=header, comments="")
    everything = [shuttle.held_out(column) for column in shuttle.rows()]
    versions = {}
    for version in shuttle.VERSIONS:
        name = f"shuttle-anomaly-{version}"
        rows = golden_rows(sensors, labels).astype(np.float32)
        packages.write_golden(
            packages.SOURCE / name / "golden" / "rows.safetensors", sessions[name], {shuttle.INPUT: rows}
        )
        versions[version] = {
            "heldOut": measure(shuttle, sessions[name], *everything),
            "sample": measure(shuttle, sessions[name], sensors, labels),
        }
    (DATA / "shuttle.json").write_text(json.dumps(versions, indent=2) + "\n")
    print(json.dumps(versions, indent=2))


def golden_rows(sensors, labels):
    """The first normal rows and the first anomalies, half of each."""
    import numpy as np

    half = GOLDEN_ROWS // 2
    return sensors[np.concatenate([np.flatnonzero(labels == kind)[:half] for kind in (0, 1)])]


def measure(shuttle, session, sensors, labels):
    """How well one version tells anomalies: by rank, and by the sign of its score."""
    import numpy as np

    (scores,) = session.run(["scores"], {shuttle.INPUT: sensors.astype(np.float32)})
    scores = scores[:, 0]
    return {
        "rows": len(labels),
        "anomalies": int((labels == 1).sum()),
        "areaUnderCurve": round(shuttle.area_under_curve(scores, labels), 4),
        "found": int(((scores < 0) & (labels == 1)).sum()),
        "falseAlarms": int(((scores < 0) & (labels == 0)).sum()),
    }


def state():
    """Digests of everything `all` makes."""
    made = [RANGES, packages.CHECKSUMS]
    made += [path for top in (packages.SOURCE, DATA) for path in sorted(top.rglob("*"))]
    top = packages.HERE.parents[1]
    return {str(path.relative_to(top)): packages.digest(path.read_bytes()) for path in made if path.is_file()}


if __name__ == "__main__":
    main()
