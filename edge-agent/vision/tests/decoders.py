"""Decoders of detectors once more, in numpy and after their authors' own code, and what they find in some outputs.

    target/venv/bin/python edge-agent/vision/tests/decoders.py

writes `data/decoders.json`, which `decoding.rs` compares the decoders in Rust with: random outputs for YOLOv8 and YOLOX,
those of the real model on a part of a real picture for CenterFace.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

TOP = Path(__file__).parents[3]
# Digits that are kept, so that the file stays small; both sides read the same numbers.
DIGITS = 3


def suppress(boxes, scores, most):
    """Indices of the boxes that stay, the surest first."""
    order = scores.argsort()[::-1]
    kept = []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(first)
        left, top = np.maximum(boxes[first, :2], boxes[rest, :2]).T
        right, bottom = np.minimum(boxes[first, 2:], boxes[rest, 2:]).T
        common = np.maximum(0, right - left) * np.maximum(0, bottom - top)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        order = rest[common / (areas[first] + areas[rest] - common) <= most]
    return kept


def of_each_class(boxes, scores, classes, most):
    kept = []
    for number in np.unique(classes):
        own = np.where(classes == number)[0]
        kept += list(own[suppress(boxes[own], scores[own], most)])
    kept = sorted(kept, key=lambda index: -scores[index])
    return [[int(classes[index]), float(scores[index]), *boxes[index].tolist()] for index in kept]


def corners(boxes):
    return np.concatenate([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], 1)


def yolov8(output, score, iou):
    rows = output[0].T
    scores, classes = rows[:, 4:].max(1), rows[:, 4:].argmax(1)
    sure = scores >= score
    return of_each_class(corners(rows[sure]), scores[sure], classes[sure], iou)


def yolox(output, size, score, iou):
    rows = output[0].copy()
    cells, strides = [], []
    for stride in (8, 16, 32):
        x, y = np.meshgrid(np.arange(size[0] // stride), np.arange(size[1] // stride))
        cells.append(np.stack((x, y), 2).reshape(-1, 2))
        strides.append(np.full((cells[-1].shape[0], 1), stride))
    cells, strides = np.concatenate(cells), np.concatenate(strides)
    rows[:, :2] = (rows[:, :2] + cells) * strides
    rows[:, 2:4] = np.exp(rows[:, 2:4]) * strides
    scores = rows[:, 4:5] * rows[:, 5:]
    best, classes = scores.max(1), scores.argmax(1)
    sure = best >= score
    return of_each_class(corners(rows[sure]), best[sure], classes[sure], iou)


def centerface(heatmap, scale, offset, landmarks, score, iou):
    boxes, scores, points = [], [], []
    for row, column in zip(*np.where(heatmap[0, 0] >= score)):
        height, width = np.exp(scale[0, :, row, column]) * 4
        y, x = (np.array([row, column]) + offset[0, :, row, column] + 0.5) * 4
        left, top = x - width / 2, y - height / 2
        boxes.append([left, top, left + width, top + height])
        scores.append(heatmap[0, 0, row, column])
        relative = landmarks[0, :, row, column].reshape(5, 2)
        points.append([[float(left + across * width), float(top + down * height)] for down, across in relative])
    boxes, scores = np.array(boxes), np.array(scores)
    kept = suppress(boxes, scores, iou)
    return [[0, float(scores[index]), *boxes[index].tolist(), points[index]] for index in kept]


def short(array):
    return np.round(array.astype(np.float64), DIGITS).astype(np.float32)


def listed(array):
    return [round(float(number), DIGITS) for number in array.ravel()]


def random_yolov8(rng, classes=3, anchors=60, things=8):
    """Boxes in clusters, so that suppression has something to do."""
    output = np.zeros((1, 4 + classes, anchors))
    thing = rng.integers(0, things, anchors)
    output[0, :2] = (rng.uniform(20, 140, (things, 2))[thing] + rng.normal(0, 4, (anchors, 2))).T
    output[0, 2:4] = rng.uniform(20, 60, (things, 2))[thing].T + rng.normal(0, 3, (2, anchors))
    output[0, 4:] = rng.uniform(0, 0.3, (classes, anchors))
    output[0, 4 + rng.integers(0, classes, things)[thing], np.arange(anchors)] = rng.uniform(0.1, 0.95, anchors)
    return short(output)


def random_yolox(rng, size, classes=2):
    anchors = sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
    output = np.zeros((1, anchors, 5 + classes))
    output[0, :, :2] = rng.normal(0.5, 0.4, (anchors, 2))
    output[0, :, 2:4] = rng.normal(0.6, 0.5, (anchors, 2))
    output[0, :, 4] = rng.uniform(0.2, 1, anchors)
    output[0, :, 5:] = rng.uniform(0, 1, (anchors, classes))
    return short(output)


def real_centerface(box):
    picture = Image.open(TOP / "tests/data/pictures/astronaut.jpg").convert("RGB").crop(box)
    pixels = np.ascontiguousarray(np.asarray(picture, np.float32).transpose(2, 0, 1)[None])
    session = onnxruntime.InferenceSession(TOP / "target/models/face-detector-1.0.0/model.onnx")
    return [short(output) for output in session.run(["537", "538", "539", "540"], {"input.1": pixels})]


def main():
    rng = np.random.default_rng(20260101)
    boxes = random_yolov8(rng)
    size = (64, 32)
    cells = random_yolox(rng, size)
    faces = real_centerface((176, 64, 272, 160))
    golden = {
        "yolov8": {
            "shape": boxes.shape, "score": 0.25, "iou": 0.45, "numbers": listed(boxes),
            "expected": yolov8(boxes, 0.25, 0.45),
        },
        "yolox": {
            "size": size, "shape": cells.shape, "score": 0.3, "iou": 0.45, "numbers": listed(cells),
            "expected": yolox(cells, size, 0.3, 0.45),
        },
        "centerface": {
            "score": 0.2, "iou": 0.3,
            "outputs": [{"shape": face.shape, "numbers": listed(face)} for face in faces],
            "expected": centerface(*faces, 0.2, 0.3),
        },
    }  # fmt: skip
    (Path(__file__).parent / "data/decoders.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
