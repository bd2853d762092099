"""Real pictures: those of `tests/data/pictures`, and those the ranges for quantisation are measured on.

The two sets share nothing, so that what is measured on the first says how the quantised model does on pictures it was
not adjusted to.
"""

import json
from importlib.resources import files

import numpy as np
from PIL import Image

import face

# Names in scikit-image's data; faces with what CenterFace takes for their middle, in pixels.
SOURCES = {
    "astronaut.jpg": "astronaut.png",
    "camera.jpg": "camera.png",
    "chelsea.jpg": "chelsea.png",
    "coffee.jpg": "coffee.png",
    "rocket.jpg": "rocket.jpg",
}
# A cell above this is a face. On these pictures the faces peak at 0.81 and more, everything else stays under 0.1.
THRESHOLD = 0.5
# How far a found face may be from the expected one, in pixels: two cells of the heatmap.
TOLERANCE = 2 * face.STRIDE
JPEG_QUALITY = 88

# Crops of pictures without faces, and faces of the LFW subset (25 x 25 pixels each) enlarged and laid side by side.
CALIBRATION_SIDE = 320
CALIBRATION_PICTURES = [
    "brick.png", "coins.png", "color.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png",
    "moon.png", "motorcycle_left.png", "motorcycle_right.png",
]  # fmt: skip
# (faces per side, pixels of each, first face)
CALIBRATION_SHEETS = [(4, 80, 0), (4, 80, 16), (4, 80, 32), (8, 40, 36), (5, 64, 0), (6, 53, 60)]


def source(name):
    return files("skimage") / "data" / name


def picture(name, size=None):
    """A picture of scikit-image in RGB, by default with both sides cut down to multiples of 32."""
    image = Image.open(source(name)).convert("RGB")
    size = size or tuple(side // 32 * 32 for side in image.size)
    return image.resize(size, Image.Resampling.BICUBIC)


def tensor(image):
    """One picture as the model takes it: NCHW, RGB, 0 to 255."""
    return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)[None])


def calibration():
    """What the ranges of the activations are measured on."""
    side = CALIBRATION_SIDE
    faces = np.load(source("lfw_subset.npy"))[:100]
    for count, pixels, first in CALIBRATION_SHEETS:
        sheet = np.zeros((side, side, 3), np.uint8)
        for index, sample in enumerate(faces[first : first + count * count]):
            row, column = (pixels * place for place in divmod(index, count))
            one = Image.fromarray((sample * 255).astype(np.uint8)).resize((pixels, pixels), Image.Resampling.BICUBIC)
            sheet[row : row + pixels, column : column + pixels] = np.asarray(one)[:, :, None]
        yield tensor(sheet)
    for name in CALIBRATION_PICTURES:
        yield tensor(picture(name, (side, side)))


def write(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, original in SOURCES.items():
        picture(original).save(directory / name, quality=JPEG_QUALITY, subsampling=0, optimize=True)


def expectations(directory, sessions):
    """Where version 1.0.0 sees a face on the written pictures, and how sure each version is."""
    seen = {}
    for name in SOURCES:
        image = Image.open(directory / name)
        heatmaps = {
            version: session.run([face.HEATMAP], {face.INPUT: tensor(image)})[0][0, 0]
            for version, session in sessions.items()
        }
        first = next(iter(heatmaps.values()))
        row, column = (int(place) for place in np.unravel_index(first.argmax(), first.shape))
        middle = {"x": column * face.STRIDE + face.STRIDE // 2, "y": row * face.STRIDE + face.STRIDE // 2}
        seen[name] = {
            "face": {**middle, "tolerance": TOLERANCE} if first.max() >= THRESHOLD else None,
            "peaks": {version: round(float(heatmap.max()), 3) for version, heatmap in heatmaps.items()},
        }
    return {
        "input": face.INPUT,
        "heatmap": face.HEATMAP,
        "stride": face.STRIDE,
        "threshold": THRESHOLD,
        "pictures": seen,
    }


def write_expectations(directory, sessions):
    (directory / "expected.json").write_text(json.dumps(expectations(directory, sessions), indent=2) + "\n")
