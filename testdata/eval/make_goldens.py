"""Golden COCO bbox metrics: synthetic annotations and detections, judged by pycocotools.

Run from the repository root: `python3 testdata/eval/make_goldens.py`. It rewrites
`*_annotations.json`, `*_detections.json` and `expected.json` beside itself.

pycocotools needs help in three places, so that the expected values are the right ones:
- it takes a match to annotation id 0 for "no match": annotations are renumbered from 1;
- it raises KeyError on a missing `area`: the area of the box is filled in;
- it cannot load an empty list of detections: an empty index stands in for it.
"""

import contextlib
import copy
import io
import json
import random
from importlib.metadata import version
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HERE = Path(__file__).parent
SEED = 20190812
NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
WIDTH, HEIGHT = 640, 480
# Non-contiguous and unsorted, as COCO's own ids are. 44 gets no annotation, 90 no detection.
CATEGORIES = [(18, "dog"), (1, "person"), (3, "car"), (90, "toothbrush"), (44, "bottle"), (7, "train")]
# Sides whose squares lie on, just below and just above the borders of the area ranges.
BORDER_SIDES = [32, 31.99, 32.01, 96, 95.99, 96.01]


def random_box(rng):
    w = min(rng.choice([12, 25, 45, 80, 130, 260]) * rng.uniform(0.7, 1.4), WIDTH - 1)
    h = min(rng.choice([12, 25, 45, 80, 130, 260]) * rng.uniform(0.7, 1.4), HEIGHT - 1)
    if rng.random() < 0.1:
        w = h = rng.choice(BORDER_SIDES)
    return [rng.uniform(0, WIDTH - w), rng.uniform(0, HEIGHT - h), w, h]


def rounded(box):
    return [round(v, 2) for v in box]


def annotate(rng, image_id):
    """The annotations of one image: crowds, masks smaller than their box, exact duplicates."""
    annotations = []
    for _ in range(rng.choice([0, 1, 2, 4, 9, 14])):
        box = rounded(random_box(rng))
        fill = 1.0 if rng.random() < 0.4 else rng.uniform(0.4, 1.0)
        annotations.append(
            {
                "image_id": image_id,
                "category_id": rng.choice([1, 1, 1, 3, 3, 7, 18, 90]),
                "bbox": box,
                "area": box[2] * box[3] * fill,
                "iscrowd": int(rng.random() < 0.08),
            }
        )
    if annotations and rng.random() < 0.2:
        annotations.append(copy.deepcopy(annotations[0]))
    return annotations


def jitter(rng, box, spread):
    x, y, w, h = box
    return [
        x + rng.gauss(0, spread) * w,
        y + rng.gauss(0, spread) * h,
        w * (1 + rng.gauss(0, spread)),
        h * (1 + rng.gauss(0, spread)),
    ]


def row(rng, image_id, category_id, box):
    # Scores of two digits: ties within an image and across images.
    box = [box[0], box[1], abs(box[2]), abs(box[3])]
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": rounded(box),
        "score": round(rng.betavariate(2, 2), 2),
    }


def detect(rng, image_id, annotations):
    """Jittered copies of the annotated boxes, confused categories and clutter."""
    rows = []
    for annotation in annotations:
        if annotation["category_id"] == 90:
            continue
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            category = annotation["category_id"] if rng.random() < 0.9 else rng.choice([1, 3, 7, 44])
            rows.append(row(rng, image_id, category, jitter(rng, annotation["bbox"], rng.choice([0, 0.02, 0.08, 0.2]))))
    for _ in range(rng.choice([0, 0, 2, 6])):
        rows.append(row(rng, image_id, rng.choice([1, 3, 7, 18, 44]), random_box(rng)))
    return rows


def document(image_ids, annotations, first_id=1):
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in image_ids],
        "categories": [{"id": i, "name": name} for i, name in CATEGORIES],
        "annotations": [{"id": n, **a} for n, a in enumerate(annotations, first_id)],
    }


def make_mixed(rng):
    image_ids = rng.sample(range(0, 10_000), 40)
    annotations, rows = [], []
    for image_id in image_ids:
        own = annotate(rng, image_id)
        annotations += own
        rows += detect(rng, image_id, own)
    # More than 100 detections of one category on one image: only the best 100 may count.
    crowded = image_ids[5]
    people = [random_box(rng) for _ in range(30)]
    annotations += [
        {"image_id": crowded, "category_id": 1, "bbox": rounded(b), "area": b[2] * b[3], "iscrowd": 0} for b in people
    ]
    rows += [row(rng, crowded, 1, jitter(rng, rng.choice(people), 0.1)) for _ in range(140)]
    # Categories that the annotations do not know are ignored.
    rows += [row(rng, image_ids[0], 1234, random_box(rng)) for _ in range(3)]
    rng.shuffle(annotations)
    rng.shuffle(rows)
    return document(image_ids, annotations), rows


def make_small(rng, first_id=1):
    image_ids = list(range(8))
    annotations = [a for i in image_ids for a in annotate(rng, i)]
    rows = [r for i in image_ids for r in detect(rng, i, [a for a in annotations if a["image_id"] == i])]
    return document(image_ids, annotations, first_id), rows


def make_perfect_from_zero(rng):
    gt, _ = make_small(rng, first_id=0)
    for annotation in gt["annotations"]:
        annotation["iscrowd"] = 0
    # One box per image and category, so that nothing can be matched the wrong way round.
    kept = {(a["image_id"], a["category_id"]): a for a in gt["annotations"]}
    gt = document(range(8), [{k: v for k, v in a.items() if k != "id"} for a in kept.values()], 0)
    rows = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": round(rng.uniform(0.2, 1), 2)}
        for a in gt["annotations"]
    ]
    return gt, rows


def drop_areas(rng, gt):
    gt = copy.deepcopy(gt)
    for annotation in gt["annotations"]:
        if rng.random() < 0.5:
            del annotation["area"]
    return gt


def helped(gt):
    """The same ground truth in the only form that pycocotools judges rightly."""
    gt = copy.deepcopy(gt)
    for number, annotation in enumerate(gt["annotations"], 1):
        annotation["id"] = number
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    return gt


def index(dataset):
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def judge(gt, rows, category_ids=None):
    coco_gt = index(gt)
    empty = {"images": gt["images"], "categories": gt["categories"], "annotations": []}
    coco_dt = coco_gt.loadRes(copy.deepcopy(rows)) if rows else index(empty)
    evaluation = COCOeval(coco_gt, coco_dt, "bbox")
    if category_ids:
        evaluation.params.catIds = category_ids
    evaluation.evaluate()
    evaluation.accumulate()
    table = io.StringIO()
    with contextlib.redirect_stdout(table):
        evaluation.summarize()
    return dict(zip(NAMES, map(float, evaluation.stats))), table.getvalue()


def expected(gt, rows):
    gt = helped(gt)
    with contextlib.redirect_stdout(io.StringIO()):
        stats, table = judge(gt, rows)
        per_class = {
            name: {"category_id": i, **judge(gt, rows, [i])[0]} for i, name in sorted(CATEGORIES)
        }
    return {"stats": stats, "table": table.splitlines(), "per_class": per_class}


def save(name, value):
    """One record per line: compact, and readable in a diff."""
    if isinstance(value, list):
        text = "[\n" + ",\n".join(json.dumps(r) for r in value) + "\n]\n" if value else "[]\n"
    else:
        parts = (f'"{k}": [\n' + ",\n".join(json.dumps(r) for r in v) + "\n]" for k, v in value.items())
        text = "{\n" + ",\n".join(parts) + "\n}\n"
    (HERE / name).write_text(text)


def main():
    mixed_gt, mixed_rows = make_mixed(random.Random(SEED))
    areas_gt, areas_rows = make_small(random.Random(SEED + 1))
    zero_gt, zero_rows = make_perfect_from_zero(random.Random(SEED + 2))
    cases = {
        "mixed": (mixed_gt, mixed_rows),
        "missing_area": (drop_areas(random.Random(SEED + 3), areas_gt), areas_rows),
        "zero_id": (zero_gt, zero_rows),
        "no_detections": (areas_gt, []),
        "no_annotations": (document(range(8), []), areas_rows),
    }
    results = {}
    for name, (gt, rows) in cases.items():
        save(f"{name}_annotations.json", gt)
        save(f"{name}_detections.json", rows)
        results[name] = expected(gt, rows)
        print(f"{name:15} " + " ".join(f"{v:7.4f}" for v in results[name]["stats"].values()))
    about = {"pycocotools": version("pycocotools"), "numpy": version("numpy"), "seed": SEED, "cases": results}
    (HERE / "expected.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
