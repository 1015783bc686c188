"""Writes kept.bin: which boxes torchvision's NMS keeps in 3000 random cases.

    python3 testdata/nms/make_goldens.py

The boxes aren't stored: `boxes_of` and the Rust test draw the same ones from a linear congruential
generator. kept.bin is one line of text (versions, number of cases, number of cases in which the
rounding of `batched_nms`'s coordinate offsets gives another answer than `nms` class by class, which
is what is stored), then per case, little-endian: u16 number of boxes, u8 kind, u8 number of
classes, f32 IoU threshold, and one bit per box, lowest first, that says whether it is kept.

torchvision compares an f32 IoU with an f64 threshold on the CPU. Thresholds here are the f64 value
of an f32, so that "IoU > threshold" means the same in both.
"""

import pathlib
import struct

import numpy as np
import torch
import torchvision
from torchvision.ops import batched_nms, nms

CASES = 3000
CLASSES = [1, 2, 10, 80]
THRESHOLDS = [np.float32(t) for t in (0.0, 0.3, 0.5, 0.6, 0.75, 1.0)]
F = np.float32


def draws(seed, count):
    """`count` numbers in [0, 1) with 24 bits each, exact in f32."""
    state, out = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(state >> 40)
    return np.array(out, dtype=np.float32) / F(2**24)


def boxes_of(kind, count, classes, seed):
    """Six draws per box; every operation rounds to f32."""
    u = draws(seed, count * 6).reshape(count, 6)
    if kind == 0:  # scattered
        x, y = u[:, 0] * F(800), u[:, 1] * F(600)
        w, h = u[:, 2] * F(200) + F(1), u[:, 3] * F(150) + F(1)
    elif kind in (1, 2):  # eight clusters of similar boxes
        cluster = np.floor(u[:, 4] * F(64)) % F(8)
        x, y = cluster * F(90) + u[:, 0] * F(12), cluster * F(60) + u[:, 1] * F(12)
        w, h = u[:, 2] * F(20) + F(50), u[:, 3] * F(20) + F(30)
    elif kind == 3:  # few different boxes, many times each
        x, y = np.floor(u[:, 0] * F(3)) * F(8), np.floor(u[:, 1] * F(3)) * F(8)
        w, h = np.floor(u[:, 2] * F(2)) * F(16) + F(16), np.floor(u[:, 3] * F(2)) * F(8) + F(24)
    else:  # small whole numbers, some boxes without area
        x, y = np.floor(u[:, 0] * F(12)), np.floor(u[:, 1] * F(12))
        w, h = np.floor(u[:, 2] * F(6)), np.floor(u[:, 3] * F(6))
    scores = u[:, 4] if kind in (0, 1, 3) else np.floor(u[:, 4] * F(8)) / F(8)
    labels = np.floor(u[:, 5] * F(classes)).astype(np.int64)
    return np.stack([x, y, x + w, y + h], axis=1), scores, labels


def kept_by_class(boxes, scores, labels, threshold):
    mask = np.zeros(len(boxes), dtype=bool)
    for label in np.unique(labels):
        index = np.where(labels == label)[0]
        kept = nms(torch.from_numpy(boxes[index]), torch.from_numpy(scores[index]), threshold)
        mask[index[kept.numpy()]] = True
    return mask


def main():
    records, rounded_otherwise = [], 0
    for case in range(CASES):
        kind, classes = case % 5, CLASSES[case // 5 % 4]
        threshold = THRESHOLDS[case // 20 % 6]
        count = int(1001 * float(draws(case + 10**6, 1)[0]) ** 2) if case % 50 else 0
        boxes, scores, labels = boxes_of(kind, count, classes, case)
        mask = kept_by_class(boxes, scores, labels, float(threshold))
        offset = batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), float(threshold))
        rounded_otherwise += sorted(offset.tolist()) != np.where(mask)[0].tolist()
        bits = np.packbits(mask, bitorder="little").tobytes()
        records.append(struct.pack("<HBBf", count, kind, classes, threshold) + bits)
    head = (
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"numpy {np.__version__}; {CASES} cases; offsets differ in {rounded_otherwise}\n"
    )
    path = pathlib.Path(__file__).with_name("kept.bin")
    path.write_bytes(head.encode() + b"".join(records))
    print(head, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
