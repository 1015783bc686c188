"""Writes presets.json and torchvision.json: what published FCOS implementations make of random head
outputs.

    python3 testdata/postprocess/make_goldens.py

presets.json comes from the functions below, which restate step by step what each implementation
does (one function per implementation, nothing shared but sigmoid and decoding), and
torchvision.json from torchvision's own `FCOS.postprocess_detections` and `AnchorGenerator`. Head
outputs aren't stored: `head_of` and the Rust test draw the same ones. N locations, C classes.

Every preset case is computed in f32 and in f64 and must give the same detections, so that none
hangs on a last bit.
"""

import json
import pathlib
from types import SimpleNamespace

import numpy as np
import torch
import torchvision
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.image_list import ImageList

STRIDES = [4, 8, 16, 32, 64]  # small boxes, on which "+1" tells
INPUT = (128, 96)  # padded width, height
IMAGE = (125, 91)  # without padding
ORIGINAL = (249, 183)
F = np.float32


def draws(seed, count):
    """`count` numbers in [0, 1) with 24 bits each, exact in f32."""
    state, out = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(state >> 40)
    return np.array(out, dtype=np.float32) / F(2**24)


def grids():
    return [(-(-INPUT[0] // s), -(-INPUT[1] // s)) for s in STRIDES]


def head_of(seed, classes, unit, lowest=-6):
    """Class logits [N, C], distances [N, 4], centre-ness logits [N], in this order of drawing."""
    n = sum(w * h for w, h in grids())
    cls = draws(seed, n * classes).reshape(n, classes) * F(8) + F(lowest)
    ltrb = draws(seed + 1000, n * 4).reshape(n, 4)
    ltrb = ltrb + F(2) if unit == "stride" else ltrb * F(30) + F(3)
    return cls, ltrb, draws(seed + 2000, n) * F(6) - F(3)


def levels_of(head, unit, dtype):
    """Per level: sigmoid of the logits, distances in pixels, ctr, and locations [n, 2]."""
    cls, ltrb, ctr = (part.astype(dtype) for part in head)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    start, levels = 0, []
    for (w, h), s in zip(grids(), STRIDES):
        part = slice(start, start + w * h)
        start += w * h
        y, x = np.meshgrid(np.arange(h) * s + s // 2, np.arange(w) * s + s // 2, indexing="ij")
        points = np.stack([x.ravel(), y.ravel()], axis=1).astype(dtype)
        pixels = ltrb[part] * dtype(s if unit == "stride" else 1)
        levels.append((sigmoid(cls[part]), pixels, sigmoid(ctr[part]), points))
    return levels


def decode(points, ltrb):
    return np.concatenate([points - ltrb[:, :2], points + ltrb[:, 2:]], axis=1)


def official(levels, top_n):
    """tianzhi0549/FCOS: inference.py, ml_nms.cu; ATSS has the same."""
    boxes, scores, labels = [], [], []
    for cls, ltrb, ctr, points in levels:
        candidate = cls > cls.dtype.type(0.05)
        product = (cls * ctr[:, None])[candidate]
        location, label = np.nonzero(candidate)
        if len(product) > top_n:
            top = np.argpartition(-product, top_n - 1)[:top_n]
            product, location, label = product[top], location[top], label[top]
        b = decode(points[location], ltrb[location])
        b[:, 0::2] = b[:, 0::2].clip(0, IMAGE[0] - 1)
        b[:, 1::2] = b[:, 1::2].clip(0, IMAGE[1] - 1)
        small = (b[:, 2] - b[:, 0] + 1 < 0) | (b[:, 3] - b[:, 1] + 1 < 0)
        boxes.append(b[~small]), scores.append(np.sqrt(product)[~small]), labels.append(label[~small])
    boxes, scores, labels = map(np.concatenate, (boxes, scores, labels))
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        overlap = False
        for j in kept:
            if labels[i] == labels[j]:
                w = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0]) + 1
                h = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1]) + 1
                inter = max(w, 0) * max(h, 0)
                a, b = boxes[i], boxes[j]
                area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
                area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
                overlap |= inter / (area_a + area_b - inter) > 0.6
        if not overlap:
            kept.append(i)
    kept = np.array(kept)
    if len(kept) > 100:
        kth = np.sort(scores[kept])[len(kept) - 100]
        kept = kept[scores[kept] >= kth]
    return boxes[kept], scores[kept], labels[kept]


def plain_nms(boxes, scores, labels, threshold):
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order, kept = list(np.argsort(-scores, kind="stable")), []
    while order:
        i = order.pop(0)
        kept.append(i)
        j = np.array(order, dtype=int)
        left_top = np.maximum(boxes[i, :2], boxes[j, :2])
        right_bottom = np.minimum(boxes[i, 2:], boxes[j, 2:])
        inter = (right_bottom - left_top).clip(min=0).prod(axis=1)
        iou = inter / (area[i] + area[j] - inter)
        order = list(j[~((iou > threshold) & (labels[j] == labels[i]))])
    return np.array(kept)


def adelaidet(levels, top_n):
    """AdelaiDet's fcos_outputs.py, then detectron2's detector_postprocess to ORIGINAL."""
    boxes, scores, labels = [], [], []
    for cls, ltrb, ctr, points in levels:
        candidate = cls > cls.dtype.type(0.05)
        product = (cls * ctr[:, None])[candidate]
        location, label = np.nonzero(candidate)
        if len(product) > top_n:
            top = np.argpartition(-product, top_n - 1)[:top_n]
            product, location, label = product[top], location[top], label[top]
        boxes.append(decode(points[location], ltrb[location]))
        scores.append(np.sqrt(product)), labels.append(label)
    boxes, scores, labels = map(np.concatenate, (boxes, scores, labels))
    kept = plain_nms(boxes, scores, labels, 0.6)
    if len(kept) > 100:
        kept = kept[scores[kept] >= np.sort(scores[kept])[len(kept) - 100]]
    boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    boxes[:, 0::2] = (boxes[:, 0::2] * (ORIGINAL[0] / IMAGE[0])).clip(0, ORIGINAL[0])
    boxes[:, 1::2] = (boxes[:, 1::2] * (ORIGINAL[1] / IMAGE[1])).clip(0, ORIGINAL[1])
    area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[area], scores[area], labels[area]


def torchvision_rules(levels, top_n):
    """torchvision's FCOS.postprocess_detections (here on ⌊s/2⌋ locations)."""
    boxes, scores, labels = [], [], []
    for cls, ltrb, ctr, points in levels:
        score = np.sqrt(cls * ctr[:, None]).ravel()
        index = np.nonzero(score > score.dtype.type(0.2))[0]
        index = index[np.argsort(-score[index], kind="stable")[:top_n]]
        location, label = np.divmod(index, cls.shape[1])
        b = decode(points[location], ltrb[location])
        b[:, 0::2] = b[:, 0::2].clip(0, IMAGE[0])
        b[:, 1::2] = b[:, 1::2].clip(0, IMAGE[1])
        boxes.append(b), scores.append(score[index]), labels.append(label)
    boxes, scores, labels = map(np.concatenate, (boxes, scores, labels))
    kept = plain_nms(boxes, scores, labels, 0.6)[:100]
    return boxes[kept], scores[kept], labels[kept]


def mmdet(levels, top_n, threshold):
    """mmdetection's base_dense_head.py: cls orders the top-k, boxes go to ORIGINAL before NMS."""
    boxes, scores, labels = [], [], []
    for cls, ltrb, ctr, points in levels:
        candidate = cls > cls.dtype.type(0.05)
        location, label = np.nonzero(candidate)
        top = np.argsort(-cls[candidate], kind="stable")[:top_n]
        location, label = location[top], label[top]
        b = decode(points[location], ltrb[location])
        b[:, 0::2] = b[:, 0::2].clip(0, IMAGE[0])
        b[:, 1::2] = b[:, 1::2].clip(0, IMAGE[1])
        boxes.append(b), scores.append(cls[location, label] * ctr[location]), labels.append(label)
    boxes, scores, labels = map(np.concatenate, (boxes, scores, labels))
    boxes[:, 0::2] = boxes[:, 0::2] / (IMAGE[0] / ORIGINAL[0])
    boxes[:, 1::2] = boxes[:, 1::2] / (IMAGE[1] / ORIGINAL[1])
    valid = (boxes[:, 2] - boxes[:, 0] > 0) & (boxes[:, 3] - boxes[:, 1] > 0)
    boxes, scores, labels = boxes[valid], scores[valid], labels[valid]
    kept = plain_nms(boxes, scores, labels, threshold)[:100]
    return boxes[kept], scores[kept], labels[kept]


# name: (function, in ORIGINAL's pixels, unit of the distances)
PRESETS = {
    "official_orig": (official, False, "pixels"),
    "official_imprv": (official, False, "stride"),
    "atss": (official, False, "stride"),
    "adelaidet": (adelaidet, True, "stride"),
    "torchvision": (torchvision_rules, False, "stride"),
    "mmdet_plain": (lambda levels, n: mmdet(levels, n, 0.5), True, "pixels"),
    "mmdet_tricks": (lambda levels, n: mmdet(levels, n, 0.6), True, "stride"),
}

# C, candidates per level, lowest class logit (the last leaves fewer than 100 detections)
VARIANTS = [(4, 1000, -6), (20, 1000, -6), (3, 40, -6), (2, 1000, -10.6)]


def rows(boxes, scores, labels):
    """By descending score: [x1, y1, x2, y2, score, label]."""
    order = np.argsort(-scores, kind="stable")
    short = lambda v: float(np.format_float_positional(np.float32(v), unique=True))
    return [[*map(short, boxes[i]), short(scores[i]), int(labels[i])] for i in order]


def preset_cases():
    cases = []
    for seed, (name, (function, rescaled, unit)) in enumerate(PRESETS.items()):
        for variant, (classes, top_n, lowest) in enumerate(VARIANTS):
            seed_ = seed * 10 + variant
            head = head_of(seed_, classes, unit, lowest)
            results = [function(levels_of(head, unit, t), top_n) for t in (np.float32, np.float64)]
            single, double = (rows(*r) for r in results)
            assert [r[5] for r in single] == [r[5] for r in double], (name, variant)
            assert np.allclose(single, double, atol=1e-4, rtol=0), (name, variant)
            cases.append(
                dict(preset=name, seed=seed_, classes=classes, lowest=lowest, pre_nms_top_k=top_n,
                     unit=unit, original=rescaled, detections=single)
            )
    return cases


def torchvision_cases():
    cases = []
    for variant, (classes, top_n, limit) in enumerate([(4, 1000, 100), (20, 1000, 100), (91, 300, 40)]):
        seed = 500 + variant
        cls, ltrb, ctr = map(torch.from_numpy, head_of(seed, classes, "stride"))
        sizes = [w * h for w, h in grids()]
        images = ImageList(torch.zeros(1, 3, INPUT[1], INPUT[0]), [(IMAGE[1], IMAGE[0])])
        maps = [torch.zeros(1, 1, h, w) for w, h in grids()]
        anchors = AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * 5)(images, maps)
        model = SimpleNamespace(
            score_thresh=0.2, nms_thresh=0.6, topk_candidates=top_n, detections_per_img=limit,
            box_coder=BoxLinearCoder(normalize_by_size=True),
        )
        head = {
            "cls_logits": [t[None] for t in cls.split(sizes)],
            "bbox_regression": [t[None] for t in ltrb.split(sizes)],
            "bbox_ctrness": [t[None, :, None] for t in ctr.split(sizes)],
        }
        found = FCOS.postprocess_detections(
            model, head, [list(anchors[0].split(sizes))], [(IMAGE[1], IMAGE[0])]
        )[0]
        detections = rows(*(found[k].numpy() for k in ("boxes", "scores", "labels")))
        cases.append(
            dict(preset="torchvision", seed=seed, classes=classes, lowest=-6, pre_nms_top_k=top_n,
                 unit="stride", max_detections=limit, original=False, detections=detections)
        )
    return cases


def write(name, cases):
    versions = dict(torch=torch.__version__, torchvision=torchvision.__version__, numpy=np.__version__)
    data = dict(versions=versions, strides=STRIDES, input=INPUT, image=IMAGE, original=ORIGINAL, cases=cases)
    path = pathlib.Path(__file__).with_name(name)
    path.write_text(json.dumps(data, separators=(",", ":")).replace('{"preset"', '\n{"preset"') + "\n")
    counts = [len(case["detections"]) for case in cases]
    print(name, path.stat().st_size, "bytes, detections per case:", counts)


if __name__ == "__main__":
    write("presets.json", preset_cases())
    write("torchvision.json", torchvision_cases())
