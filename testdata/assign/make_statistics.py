"""Golden statistics of assignment rules, read literally: every box against every location or anchor,
in numpy alone.

Writes statistics_annotations.json, COCO annotations of 60 images with random boxes, and
statistics_expected.json, the figures of FCOS, ATSS and RetinaNet's matching on them: in the official
code's pixels, as the FCOS paper counts (Tables 1 and 2; boxes end on their last pixel, sizes are
truncated), and in continuous ones. Figures are in per cent. What depends on which of several anchors
overlap a box equally is left out, or called `bpr_about` where it is right within one per cent: the last
bit of an IoU decides that, and the two programs round differently.

Run: python3 make_statistics.py
"""

import json
from pathlib import Path

import make_atss
import numpy as np

HERE = Path(__file__).parent
F = np.float32
STRIDES = [8, 16, 32, 64, 128]
SIZES = [(640, 480), (500, 375), (427, 640), (640, 427), (333, 500), (640, 160), (90, 612), (1000, 800)]


def annotations():
    rng = np.random.default_rng(5)
    images, rows = [], []
    for i in range(60):
        width, height = SIZES[i % len(SIZES)]
        images.append({"id": 10 + i, "file_name": f"{i}.jpg", "width": width, "height": height})
        for _ in range(int(rng.integers(0, 12))):
            least = 0.5 if rng.random() < 0.1 else 12
            sides = np.exp(rng.uniform(np.log(least), np.log([width, height])))
            corner = rng.uniform(0, np.array([width, height]) - sides)
            bbox = [round(float(v), 2) for v in (*corner, *sides)]
            row = {"id": len(rows) + 1, "image_id": 10 + i, "category_id": int(rng.integers(1, 4)), "bbox": bbox}
            rows.append({**row, "iscrowd": int(rng.random() < 0.05)})
    categories = [{"id": c, "name": n} for c, n in [(1, "a"), (2, "b"), (3, "c")]]
    return {"images": images, "annotations": rows, "categories": categories}


def continuously_resized(width, height, short=800, long=1333):
    """detectron2's steps."""
    scale = short / min(width, height)
    sides = [short if side == min(width, height) else scale * side for side in (width, height)]
    scale = min(1.0, long / max(sides))
    return tuple(int(side * scale + 0.5) for side in sides)


def resized(width, height, short=800, long=1333):
    least, most = float(min(width, height)), float(max(width, height))
    if most / least * short > long:
        short = int(round(long * least / most))
    if least == short:
        return width, height
    if width < height:
        return short, int(short * height / width)
    return int(short * width / height), short


def network_input(image, rows, legacy):
    """Boxes [G, 4], labels [G] and the padded size."""
    resize = resized if legacy else continuously_resized
    width, height = resize(image["width"], image["height"])
    xywh = np.array([r["bbox"] for r in rows], F).reshape(-1, 4)
    ends = xywh[:, :2] + np.maximum(xywh[:, 2:] - F(legacy), F(0))
    ratio = np.array([width / image["width"], height / image["height"]] * 2).astype(F)
    boxes = np.concatenate([xywh[:, :2], ends], 1) * ratio
    labels = np.array([r["category_id"] for r in rows])
    return boxes, labels, (-(-width // 32) * 32, -(-height // 32) * 32)


def grid(size, stride):
    xs, ys = (np.arange(0, side, stride) for side in size)
    return np.stack([np.tile(xs, len(ys)), np.repeat(ys, len(xs))], 1).astype(F)


def figures(inputs, ranks):
    """`ranks` of boxes and input size: [N, G], inf for a box that the location may not learn."""
    count = dict.fromkeys(["boxes", "recalled", "positives", "ambiguous", "across"], 0)
    missed = []
    for boxes, labels, size in inputs:
        first = count["boxes"]
        count["boxes"] += len(boxes)
        if len(boxes) == 0:
            continue
        rank = ranks(boxes, size)
        may, winner = ~np.isposinf(rank), rank.argmin(1)
        choices = may.sum(1)
        learnt = set(winner[choices > 0].tolist())
        count["positives"] += int((choices > 0).sum())
        count["ambiguous"] += int((choices > 1).sum())
        count["across"] += sum(len(set(labels[row])) > 1 for row in may[choices > 1])
        count["recalled"] += len(learnt)
        missed += [first + g for g in range(len(boxes)) if g not in learnt]
    return {
        "boxes": count["boxes"],
        "positives": count["positives"],
        "bpr": 100 * count["recalled"] / count["boxes"],
        "ambiguous": 100 * count["ambiguous"] / count["positives"],
        "ambiguous_across_classes": 100 * count["across"] / count["positives"],
        "never_learnt": missed,
    }


def fcos(inputs, levels, legacy, radius=None):
    def ranks(boxes, size):
        out = []
        for stride, low, high in levels:
            p = grid(size, stride)[:, None] + F(stride // 2)
            ltrb = np.concatenate([p - boxes[:, :2], boxes[:, 2:] - p], 2)
            may = (ltrb.min(2) > 0) & (ltrb.max(2) >= low) & (ltrb.max(2) <= high)
            if radius is not None:
                center = (boxes[:, :2] + boxes[:, 2:]) / F(2)
                may &= np.abs(p - center).max(2) < F(radius * stride)
            area = (boxes[:, 2:] - boxes[:, :2] + F(legacy)).prod(1)
            out.append(np.where(may, area, F(np.inf)))
        return np.concatenate(out)

    return figures(inputs, ranks)


def atss(inputs, legacy, k=9, anchor_scale=8):
    """Legacy boxes are as large as their pixels, the last one included."""

    def ranks(boxes, size):
        boxes = boxes + np.array([0, 0, legacy, legacy], F)
        return -make_atss.candidates(size, STRIDES, k, boxes, anchor_scale)

    return figures(inputs, ranks)


def cell_anchors(stride, legacy):
    """The nine anchors of the first cell; Detectron's with its rounding, if legacy."""
    center, out = 0.5 * (stride - legacy), []
    rounded = np.round if legacy else float
    for ratio in (0.5, 1, 2):
        width = rounded(np.sqrt(stride * stride / ratio))
        height = rounded(width * ratio)
        for octave in range(3):
            scale = 4 * 2 ** (octave / 3)
            w, h = 0.5 * (width * scale - legacy), 0.5 * (height * scale - legacy)
            out.append([center - w, center - h, center + w, center + h])
    return np.array(out, F)


def ious(box, anchors, legacy):
    sides = np.minimum(box[2:], anchors[:, 2:]) - np.maximum(box[:2], anchors[:, :2]) + F(legacy)
    shared = np.maximum(sides, 0).prod(1)
    area = (anchors[:, 2:] - anchors[:, :2] + F(legacy)).prod(1)
    return shared / ((box[2:] - box[:2] + F(legacy)).prod() + area - shared)


def retinanet(inputs, low_quality, legacy):
    boxes_seen = recalled = positives = 0
    for boxes, _, size in inputs:
        boxes_seen += len(boxes)
        if len(boxes) == 0:
            continue
        shifts = [(np.tile(grid(size, s), 2)[:, None], cell_anchors(s, legacy)) for s in STRIDES]
        anchors = np.concatenate([(shift + cell).reshape(-1, 4) for shift, cell in shifts])
        overlaps = np.stack([ious(box, anchors, legacy) for box in boxes])
        index, best = overlaps.argmax(0), overlaps.max(0)
        positive = best >= 0.5
        if low_quality is not None:
            is_a_best = (overlaps == overlaps.max(1, keepdims=True)).any(0)
            positive |= is_a_best & (best >= low_quality)
        recalled += len(set(index[positive].tolist()))
        positives += int(positive.sum())
    counted = {"boxes": boxes_seen, "bpr_about" if low_quality == 0 else "bpr": 100 * recalled / boxes_seen}
    return {**counted, "positives": positives} if low_quality is None else counted


def main():
    data = annotations()
    used = [r for r in data["annotations"] if not r["iscrowd"]]
    rows_of = {i["id"]: [r for r in used if r["image_id"] == i["id"]] for i in data["images"]}
    bounds = [-1, 64, 128, 256, 512, np.inf]
    pyramid = list(zip(STRIDES, bounds[:-1], bounds[1:]))
    cases = []
    for legacy in (True, False):
        inputs = [network_input(i, rows_of[i["id"]], legacy) for i in data["images"]]
        of_convention = [
            ("", fcos(inputs, pyramid, legacy)),
            ("--no-fpn", fcos(inputs, [(16, -1, np.inf)], legacy)),
            ("--center-sampling 1.5", fcos(inputs, pyramid, legacy, 1.5)),
            ("--rule atss", atss(inputs, legacy)),
            ("--rule atss --k 5 --anchor-scale 6", atss(inputs, legacy, 5, 6)),
            ("--rule retinanet --low-quality none", retinanet(inputs, None, legacy)),
            ("--rule retinanet", retinanet(inputs, 0.4, legacy)),
            ("--rule retinanet --low-quality all", retinanet(inputs, 0, legacy)),
        ]
        cases += [("--legacy-pixels " * legacy + a, expected) for a, expected in of_convention]
    for _, expected in cases:
        if "never_learnt" in expected:
            expected["never_learnt"] = [used[i]["id"] for i in expected["never_learnt"]]
    head = {"made_by": "make_statistics.py", "versions": {"numpy": np.__version__}}
    expected = {**head, "cases": [{"arguments": a.split(), "expected": e} for a, e in cases]}
    text = json.dumps(expected).replace('{"arguments"', '\n{"arguments"')
    (HERE / "statistics_expected.json").write_text(text + "\n")
    rows = {key: "[\n" + ",\n".join(json.dumps(r) for r in value) + "\n]" for key, value in data.items()}
    text = ",\n".join(f'"{key}": {value}' for key, value in rows.items())
    (HERE / "statistics_annotations.json").write_text("{" + text + "}\n")


if __name__ == "__main__":
    main()
