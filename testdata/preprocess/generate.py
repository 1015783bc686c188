"""Golden values for fcos-data's decoding, resizing, normalising and padding.

Needs torch, torchvision, numpy, Pillow and opencv-python-headless; writes next to itself.
`cases.json` lists the cases and the versions that made them; `*.u8` are bytes (rows of RGB pixels),
`*.f32` little-endian floats (channel, row, column).
"""

import json
import random
from pathlib import Path

import cv2
import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageOps
from torchvision.models.detection.transform import GeneralizedRCNNTransform

HERE = Path(__file__).parent
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
OFFICIAL_MEAN = [102.9801, 115.9465, 122.7717]  # BGR
DETECTRON2_MEAN = [103.530, 116.280, 123.675]  # BGR


# --- Output sizes -----------------------------------------------------------------------------


def size_official(w, h, short, long):
    """maskrcnn-benchmark's Resize: Python's round for the cap, int() for the other side."""
    size = short
    low, high = float(min(w, h)), float(max(w, h))
    if high / low * size > long:
        size = int(round(long * low / high))
    if (w <= h and w == size) or (h <= w and h == size):
        return w, h
    return (size, int(size * h / w)) if w < h else (int(size * w / h), size)


def size_detectron2(w, h, short, long):
    """detectron2's ResizeShortestEdge."""
    scale = short * 1.0 / min(h, w)
    new_h, new_w = (short, scale * w) if h < w else (scale * h, short)
    if max(new_h, new_w) > long:
        scale = long * 1.0 / max(new_h, new_w)
        new_h, new_w = new_h * scale, new_w * scale
    return int(new_w + 0.5), int(new_h + 0.5)


def size_torchvision(w, h, short, long):
    """What F.interpolate makes of torchvision's scale factor; no pixel is computed."""
    scale = min(short / min(h, w), long / max(h, w))
    out = torch.nn.functional.interpolate(
        torch.empty(1, 1, h, w, device="meta"),
        scale_factor=scale,
        mode="bilinear",
        recompute_scale_factor=True,
        align_corners=False,
    )
    return out.shape[3], out.shape[2]


def size_mmdet(w, h, short, long):
    """mmcv's rescale_size for a scale tuple."""
    scale = min(long / max(h, w), short / min(h, w))
    return int(w * float(scale) + 0.5), int(h * float(scale) + 0.5)


RULES = {
    "official": size_official,
    "detectron2": size_detectron2,
    "torchvision": size_torchvision,
    "mmdet_round": size_mmdet,
}


def size_table():
    draw = random.Random(20190402)
    rows = []
    inputs = [(640, 480), (480, 640), (640, 426), (500, 375), (612, 612), (800, 800), (2000, 100)]
    inputs += [(draw.randint(40, 1500), draw.randint(40, 1500)) for _ in range(250)]
    limits = [(800, 1333), (640, 1333), (256, 608), (512, 736)]
    for w, h in inputs:
        for short, long in limits + [(draw.randint(32, 900), draw.randint(900, 1600))]:
            sizes = [list(rule(w, h, short, long)) for rule in RULES.values()]
            rows.append([w, h, short, long, sizes])
    return rows


# --- Pixels -----------------------------------------------------------------------------------


def picture(w, h, seed):
    """Gradients, an edge and noise: resizing mistakes of every kind show."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w]
    planes = [255 * x / w, 255 * y / h, 255 * ((x // 5 + y // 7) % 2)]
    noisy = np.stack(planes, -1) + rng.normal(0, 25, (h, w, 3))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def normalise(rgb, mean, std, bgr):
    """uint8 [H, W, 3] -> float32 [3, H, W], (x - mean) / std."""
    pixels = rgb[:, :, ::-1] if bgr else rgb
    mean, std = np.float32(mean), np.float32(std)
    return ((pixels.astype(np.float32) - mean) / std).transpose(2, 0, 1)


def pillow(rgb, size):
    return np.asarray(Image.fromarray(rgb).resize(size, Image.BILINEAR))


def opencv(rgb, size):
    return cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)


def official(rgb, short, long):
    size = size_official(rgb.shape[1], rgb.shape[0], short, long)
    return normalise(pillow(rgb, size), OFFICIAL_MEAN, [1, 1, 1], bgr=True)


def adelaidet(rgb, short, long):
    size = size_detectron2(rgb.shape[1], rgb.shape[0], short, long)
    return normalise(pillow(rgb, size), DETECTRON2_MEAN, [1, 1, 1], bgr=True)


def mmdet_tricks(rgb, short, long):
    size = size_mmdet(rgb.shape[1], rgb.shape[0], short, long)
    return normalise(opencv(rgb, size), DETECTRON2_MEAN, [1, 1, 1], bgr=True)


def to_tensor(rgb):
    return torchvision.transforms.functional.to_tensor(rgb)


def torchvision_resize(rgb, short, long):
    transform = GeneralizedRCNNTransform(short, long, IMAGENET_MEAN, IMAGENET_STD)
    image, _ = transform.resize(transform.normalize(to_tensor(rgb)), None)
    return image.numpy()


PRESETS = {
    "official": official,
    "adelaidet": adelaidet,
    "mmdet_tricks": mmdet_tricks,
    "torchvision": torchvision_resize,
}


def write(name, array):
    dtype = array.dtype.newbyteorder("<")
    (HERE / name).write_bytes(np.ascontiguousarray(array, dtype).tobytes())
    return name


def pixel_cases(images):
    cases = []
    # Larger, smaller, cut by the longest side, unchanged on one image.
    for image, short, long in [("wide", 57, 120), ("wide", 13, 99), ("tall", 90, 100), ("wide", 34, 99)]:
        for preset, apply in PRESETS.items():
            out = apply(images[image], short, long)
            name = f"{image}_{short}_{long}_{preset}"
            cases.append({
                "name": name, "image": image, "preset": preset, "short": short, "long": long,
                "width": out.shape[2], "height": out.shape[1], "file": write(f"{name}.f32", out),
            })
    return cases


def batch_case(images):
    transform = GeneralizedRCNNTransform(40, 72, IMAGENET_MEAN, IMAGENET_STD)
    batch, _ = transform([to_tensor(images["wide"]), to_tensor(images["tall"])])
    return {
        "images": ["wide", "tall"], "short": 40, "long": 72,
        "shape": list(batch.tensors.shape), "sizes": [list(s) for s in batch.image_sizes],
        "file": write("batch_torchvision.f32", batch.tensors.numpy()),
    }


# --- EXIF -------------------------------------------------------------------------------------


def exif_cases():
    """One picture of six blocks in all eight orientations, and Pillow's upright blocks."""
    colours = [[230, 30, 20], [30, 200, 40], [20, 50, 220], [240, 230, 30], [20, 200, 210], [250, 250, 250]]
    blocks = np.array(colours, np.uint8).reshape(2, 3, 3)
    stored = Image.fromarray(blocks.repeat(16, 0).repeat(16, 1))
    cases = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"exif_{orientation}.jpg"
        stored.save(HERE / name, quality=95, subsampling=0, exif=exif)
        upright = np.asarray(ImageOps.exif_transpose(Image.open(HERE / name)))
        cases.append({
            "file": name, "width": upright.shape[1], "height": upright.shape[0],
            "centres": upright[8::16, 8::16].tolist(),
        })
    return cases


def main():
    images = {"wide": picture(53, 34, 1), "tall": picture(30, 71, 2)}
    inputs = {n: {"width": a.shape[1], "height": a.shape[0], "file": write(f"{n}.u8", a)} for n, a in images.items()}
    goldens = {
        "versions": {
            "torch": torch.__version__, "torchvision": torchvision.__version__,
            "numpy": np.__version__, "pillow": PIL.__version__, "opencv": cv2.__version__,
        },
        "rules": list(RULES),
        "images": inputs,
        "cases": pixel_cases(images),
        "batch": batch_case(images),
        "exif": exif_cases(),
        "sizes": size_table(),
    }
    rows = ",\n".join("  " + json.dumps(row) for row in goldens.pop("sizes"))
    head = json.dumps(goldens, indent=1)[:-2]
    (HERE / "cases.json").write_text(f'{head},\n "sizes": [\n{rows}\n ]\n}}\n')


if __name__ == "__main__":
    main()
