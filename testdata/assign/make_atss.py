"""Golden ATSS assignments: Algorithm 1 of the paper read literally, over an anchors x boxes matrix.

Writes atss_scenes.json and atss_matched.json beside this file, 1,000 scenes each, in numpy alone.
Where the paper is silent: unbiased standard deviation (0 for a single candidate), anchor centre
inside the box by more than 0.01, of equally distant centres the lower index, of equal IoUs the
first box. Coordinates and IoUs are float32, squared distances and statistics float64.

A scene is {"input": [width, height], "strides": [...], "k": ..., "boxes": [[x1, y1, x2, y2], ...]};
boxes are numbers to be rounded to float32. What is matched is a flat list of triples
(gap, length, index): after `gap` background locations follow `length` that learn box `index`.

Run: python3 make_atss.py
"""

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SCENES = 1000
ANCHOR_SCALE = 8


def anchor_centers(size, stride):
    """[cells, 2]: row by row, half a stride from the corner."""
    columns, rows = -(-size[0] // stride), -(-size[1] // stride)
    return np.array(
        [(x * stride + stride // 2, y * stride + stride // 2) for y in range(rows) for x in range(columns)],
        np.float32,
    ).reshape(-1, 2)


def iou(anchors, gt):
    """[N, G] in float32."""
    a, b = anchors[:, None, :], gt[None, :, :]
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    zero = np.float32(0)
    inter = np.maximum(width, zero) * np.maximum(height, zero)
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return inter / (area_a + area_b - inter)


def candidates(size, strides, k, boxes, anchor_scale=ANCHOR_SCALE):
    """[N, G]: the IoU of every anchor with every box that it may learn, -inf with the others."""
    centers = [anchor_centers(size, s) for s in strides]
    half = [np.full((len(c), 1), anchor_scale * s / 2, np.float32) for c, s in zip(centers, strides)]
    starts = np.cumsum([0] + [len(c) for c in centers])
    centers, half = np.concatenate(centers), np.concatenate(half)
    if len(boxes) == 0:
        return np.full((len(centers), 0), -np.inf, np.float32)
    anchors = np.concatenate([centers - half, centers + half], 1)
    gt = np.array(boxes, np.float32)
    overlaps = iou(anchors, gt)
    gt_centers = (gt[:, :2] + gt[:, 2:]) / np.float32(2)
    distance = ((centers[:, None].astype(np.float64) - gt_centers[None].astype(np.float64)) ** 2).sum(2)

    positive = np.full((len(anchors), len(gt)), -np.inf, np.float32)
    for g in range(len(gt)):
        nearby = []
        for first, end in zip(starts[:-1], starts[1:]):
            order = np.argsort(distance[first:end, g], kind="stable")
            nearby.extend(first + order[:k])
        of_nearby = overlaps[nearby, g].astype(np.float64)
        deviation = of_nearby.std(ddof=1) if len(nearby) > 1 else 0.0
        threshold = of_nearby.mean() + deviation
        for c in nearby:
            x, y = centers[c]
            inside = min(x - gt[g, 0], y - gt[g, 1], gt[g, 2] - x, gt[g, 3] - y) > np.float32(0.01)
            if overlaps[c, g].astype(np.float64) >= threshold and inside:
                positive[c, g] = overlaps[c, g]
    return positive


def atss(size, strides, k, boxes):
    """Index of the box per anchor, -1 for none."""
    positive = candidates(size, strides, k, boxes)
    if len(boxes) == 0:
        return np.full(len(positive), -1)
    return np.where(np.isneginf(positive).all(1), -1, positive.argmax(1))


def random_boxes(rng, count, size):
    """Log-uniform sides from 1 px to twice the image, some of the boxes beyond its edges."""
    sides = np.exp(rng.uniform(0, np.log(2 * np.array(size)), (count, 2)))
    centers = rng.uniform(0, size, (count, 2))
    boxes = np.round(np.concatenate([centers - sides / 2, centers + sides / 2], 1), 1)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return boxes


def boxes_on_grid(rng, count, size):
    """Corners on multiples of 4: centres halfway between anchors, where distances tie."""
    first = rng.integers(-2, np.array(size) // 4, (count, 2)) * 4
    sides = rng.integers(1, 40, (count, 2)) * 4
    return np.concatenate([first, first + sides], 1)


def repeated(rng, count, size):
    """The same few boxes again and again, some moved by a pixel or two."""
    boxes = random_boxes(rng, max(1, count // 3), size)[rng.integers(0, max(1, count // 3), count)]
    return boxes + rng.integers(0, 3, (count, 1))


def scene(i):
    rng = np.random.default_rng(2000 + i)
    size = [int(v) for v in rng.integers(1, 40 if i % 10 == 0 else 420, 2)]
    strides = [[8, 16, 32, 64, 128], [8, 16, 32], [16], [4, 8]][0 if i % 4 else i // 4 % 4]
    count = int(rng.integers(1, 9)) if i % 25 else 0
    if i % 20 == 7:
        size, count = [1344, 800], 30
    make = [random_boxes, boxes_on_grid, random_boxes, repeated][i % 4]
    boxes = make(rng, count, size).tolist()
    return {"input": size, "strides": strides, "k": [9, 9, 9, 1, 4, 9, 9, 15][i // 3 % 8], "boxes": boxes}


def runs(matched):
    """Flat triples (gap, length, index)."""
    out, end = [], 0
    for location in np.flatnonzero(matched >= 0).tolist():
        index = int(matched[location])
        if out and end == location and out[-1] == index:
            out[-2] += 1
        else:
            out.extend([location - end, 1, index])
        end = location + 1
    return out


def write(name, key, rows):
    head = json.dumps({"made_by": "make_atss.py", "versions": {"numpy": np.__version__}})[:-1]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    lines = lines.replace(".0,", ",").replace(".0]", "]")
    (HERE / name).write_text(f'{head},"{key}":[\n{lines}\n]}}\n')


def main():
    scenes = [scene(i) for i in range(SCENES)]
    matched = [runs(atss(s["input"], s["strides"], s["k"], s["boxes"])) for s in scenes]
    write("atss_scenes.json", "scenes", scenes)
    write("atss_matched.json", "matched", matched)


if __name__ == "__main__":
    main()
