"""Golden assignments: torchvision's own matcher, and a literal tensor reading of the official rule.

Writes torchvision.json and official.json beside this file. Each scene holds

  input      [width, height] of the padded network input
  boxes      [x1, y1, x2, y2] in pixels (numbers to be rounded to float32)
  matched    runs [first location, length, index of the box] of the positives, all levels in order
  samples    [location, l, t, r, b, centre-ness] for a few positives (official.json, pixels)

Run: python3 make_goldens.py
"""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models.detection import FCOS

STRIDES = [8, 16, 32, 64, 128]
HERE = Path(__file__).parent


def runs(matched):
    """[first, length, value] of every maximal run of equal values >= 0."""
    out = []
    for i, value in enumerate(matched):
        if value < 0:
            continue
        if out and out[-1][2] == value and out[-1][0] + out[-1][1] == i:
            out[-1][1] += 1
        else:
            out.append([i, 1, value])
    return out


def random_boxes(rng, count, width, height, decimals):
    """Log-uniform sides from 4 px to the image, some beyond its edges."""
    sides = np.exp(rng.uniform(np.log(4), np.log([width, height]), (count, 2)))
    centers = rng.uniform(0, [width, height], (count, 2))
    boxes = np.round(np.concatenate([centers - sides / 2, centers + sides / 2], 1), decimals)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return boxes


def near_ties(rng, count, width, height):
    """Boxes on a coarse grid about few centres, whose areas are equal or differ by a few px^2."""
    centers = rng.integers(2, [width // 16 - 2, height // 16 - 2], (4, 2))[rng.integers(0, 4, count)] * 16
    half = rng.integers(2, 12, (count, 2)) * 4 + rng.integers(0, 3, (count, 2)) / 64
    return np.concatenate([centers - half, centers + half], 1)


def scenes():
    """(input size, boxes): 20 of them, the first without a box."""
    sizes = [(256, 320), (320, 224), (416, 288), (1088, 800), (64, 32), (352, 480), (160, 608)]
    out = [((128, 96), np.zeros((0, 4)))]
    for i in range(19):
        rng = np.random.default_rng(1000 + i)
        size = sizes[i % len(sizes)]
        count = int(rng.integers(1, 40))
        if i % 3 == 2 and min(size) > 100:
            boxes = near_ties(rng, count, *size)
        else:
            boxes = random_boxes(rng, count, *size, decimals=2 if i % 2 else 0)
        out.append((size, boxes))
    return out


class Backbone(nn.Module):
    """Feature maps of the right size, with nothing in them."""

    out_channels = 1

    def forward(self, images):
        height, width = images.shape[-2:]
        maps = [images.new_zeros(len(images), 1, -(-height // s), -(-width // s)) for s in STRIDES]
        return OrderedDict(enumerate(maps))


class Head(nn.Module):
    """Catches the matches that FCOS.compute_loss hands over."""

    def forward(self, features):
        return {}

    def compute_loss(self, targets, head_outputs, anchors, matched_idxs):
        self.matched = matched_idxs
        return {}


def torchvision_matches(size, boxes):
    """Through FCOS.forward in training mode; its resize is skipped."""
    head = Head()
    model = FCOS(Backbone(), num_classes=2, head=head, _skip_resize=True).train()
    target = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.zeros(len(boxes), dtype=torch.int64),
    }
    model([torch.zeros(3, size[1], size[0])], [target])
    return head.matched[0].tolist()


def official_locations(size):
    """x, y, stride, size range of all locations: half the stride, plus multiples of it."""
    ranges = [(-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8)]
    rows = []
    for s, (low, high) in zip(STRIDES, ranges):
        for y in range(0, size[1], s):
            for x in range(0, size[0], s):
                rows.append((x + s // 2, y + s // 2, s, low, high))
    return torch.tensor(rows, dtype=torch.float32).unbind(1)


def official_matches(size, boxes, radius):
    """The official rule over a locations x boxes matrix; areas with one added to each side."""
    x, y, stride, low, high = official_locations(size)
    if len(boxes) == 0:
        return [-1] * len(x), []
    gt = torch.tensor(boxes, dtype=torch.float32)
    x1, y1, x2, y2 = gt.unbind(1)
    ltrb = torch.stack([x[:, None] - x1, y[:, None] - y1, x2 - x[:, None], y2 - y[:, None]], 2)
    if radius is None:
        inside = ltrb.amin(2) > 0
    else:
        cx, cy, reach = (x1 + x2) / 2, (y1 + y2) / 2, (stride * radius)[:, None]
        left, top = torch.maximum(cx - reach, x1), torch.maximum(cy - reach, y1)
        right, bottom = torch.minimum(cx + reach, x2), torch.minimum(cy + reach, y2)
        square = [x[:, None] - left, y[:, None] - top, right - x[:, None], bottom - y[:, None]]
        inside = torch.stack(square, 2).amin(2) > 0
    largest = ltrb.amax(2)
    cared = (largest >= low[:, None]) & (largest <= high[:, None])
    area = ((x2 - x1 + 1) * (y2 - y1 + 1)).repeat(len(x), 1)
    area[~inside | ~cared] = 1e8
    smallest, index = area.min(1)
    matched = torch.where(smallest == 1e8, -1, index)
    return matched.tolist(), official_samples(ltrb, matched)


def official_samples(ltrb, matched):
    positive = torch.nonzero(matched >= 0).flatten()
    chosen = positive[:: max(1, len(positive) // 12)]
    d = ltrb[chosen, matched[chosen]]
    lr, tb = d[:, [0, 2]], d[:, [1, 3]]
    ctr = torch.sqrt(lr.amin(1) / lr.amax(1) * (tb.amin(1) / tb.amax(1)))
    return [[n, *row, c] for n, row, c in zip(chosen.tolist(), d.tolist(), ctr.tolist())]


def write(name, scenes):
    versions = {m.__name__: m.__version__ for m in (torch, torchvision, np)}
    lines = ",\n".join(json.dumps(scene, separators=(",", ":")) for scene in scenes)
    head = f'{{"made_by":"make_goldens.py","versions":{json.dumps(versions)},"scenes":[\n'
    (HERE / name).write_text(head + lines + "\n]}\n")


def main():
    tv, official = [], []
    for i, (size, boxes) in enumerate(scenes()):
        common = {"input": list(size), "boxes": boxes.tolist()}
        tv.append({**common, "matched": runs(torchvision_matches(size, boxes))})
        radius = 1.5 if i % 2 else None
        matched, samples = official_matches(size, boxes, radius)
        official.append({**common, "radius": radius, "matched": runs(matched), "samples": samples})
    write("torchvision.json", tv)
    write("official.json", official)


if __name__ == "__main__":
    main()
