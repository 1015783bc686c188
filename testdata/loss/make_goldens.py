"""Writes focal.json, iou.json, centerness.json and fcos.json: losses and their gradients by torch.

    python3 testdata/loss/make_goldens.py

Needs torch and torchvision; the versions used stand in each file. Inputs are exact in f32, so that
f32 and f64 compute on the same numbers. Results are given in both.
"""

import json
from pathlib import Path

import torch
import torchvision
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import (
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

FOLDER = Path(__file__).parent
SEED = 20190413


def write(name, body):
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "seed": SEED}
    text = json.dumps({"versions": versions, **body}, separators=(",", ":"))
    (FOLDER / name).write_text(text + "\n")


def both(loss, *inputs):
    """Value and gradients of `loss(*inputs)` in f64 and f32: (value, [gradient per input])."""
    result = {}
    for key, dtype in (("f64", torch.float64), ("f32", torch.float32)):
        leaves = [x.to(dtype).requires_grad_() for x in inputs]
        value = loss(*leaves)
        gradients = torch.autograd.grad(value.sum(), leaves)
        result[key] = {
            "value": value.detach().reshape(-1).tolist(),
            "gradients": [g.reshape(-1).tolist() for g in gradients],
        }
    return result


def normal(*shape, std=1.0):
    return torch.randn(*shape) * std


def sparse_labels(shape, num_classes, positive=0.3):
    labels = torch.randint(0, num_classes, shape)
    return torch.where(torch.rand(shape) < positive, labels, -1)


def one_hot_labels(labels, num_classes, dtype):
    return one_hot(labels + 1, num_classes + 1)[..., 1:].to(dtype)


# ---------------------------------------------------------------------------------------- focal


def focal_case(name, logits, labels, alpha, gamma):
    def loss(x):
        hot = one_hot_labels(labels, x.shape[-1], x.dtype)
        return sigmoid_focal_loss(x, hot, alpha=alpha, gamma=gamma, reduction="sum")

    return {
        "name": name,
        "shape": list(logits.shape),
        "alpha": alpha,
        "gamma": gamma,
        "logits": logits.reshape(-1).tolist(),
        "labels": labels.reshape(-1).tolist(),
        **both(loss, logits),
    }


def focal():
    cases = []
    for alpha, gamma in [(0.25, 2.0), (0.25, 0.0), (0.5, 1.0), (0.75, 1.5), (0.4, 0.5), (1.0, 3.0)]:
        labels = sparse_labels((2, 9), 5)
        cases.append(focal_case(f"a{alpha}_g{gamma}", normal(2, 9, 5, std=3.0), labels, alpha, gamma))
    prior = torch.full((2, 30, 8), -4.59512) + normal(2, 30, 8, std=0.01)
    cases.append(focal_case("prior", prior, sparse_labels((2, 30), 8, 0.1), 0.25, 2.0))
    background = torch.full((1, 12), -1)
    cases.append(focal_case("no_positive", normal(1, 12, 3), background, 0.25, 2.0))
    cases.append(focal_case("one_location", normal(1, 1, 1), torch.tensor([[0]]), 0.25, 2.0))
    write("focal.json", {"cases": cases})


# ------------------------------------------------------------------------------------------ IoU


def corners(ltrb):
    """Boxes of distances, seen from the origin."""
    left, top, right, bottom = ltrb.unbind(-1)
    return torch.stack([-left, -top, right, bottom], -1)


def overlap_of_corners(a, b):
    width_height = (torch.min(a[..., 2:], b[..., 2:]) - torch.max(a[..., :2], b[..., :2])).clamp(min=0)
    return width_height.prod(-1)


def area_of_corners(box):
    return (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])


def hull_of_corners(a, b):
    low, high = torch.min(a[..., :2], b[..., :2]), torch.max(a[..., 2:], b[..., 2:])
    return (high - low).prod(-1)


def epsilon(kind):
    """torchvision; the two losses it lacks are written out on the same quotient."""

    def loss(predicted, target):
        a, b = corners(predicted), corners(target)
        ready = {
            "giou": generalized_box_iou_loss,
            "diou": distance_box_iou_loss,
            "ciou": complete_box_iou_loss,
        }
        if kind in ready:
            return ready[kind](a, b)
        overlap = overlap_of_corners(a, b)
        iou = overlap / (area_of_corners(a) + area_of_corners(b) - overlap + 1e-7)
        return 1 - iou if kind == "linear_iou" else -iou.clamp(min=1e-6).log()

    return loss


def clamp_union(kind):
    """mmdetection: `IoULoss`, `GIoULoss` with their default eps of 1e-6."""

    def loss(predicted, target):
        a, b = corners(predicted), corners(target)
        overlap = overlap_of_corners(a, b)
        union = (area_of_corners(a) + area_of_corners(b) - overlap).clamp(min=1e-6)
        iou = overlap / union
        if kind == "iou":
            return -iou.clamp(min=1e-6).log()
        if kind == "linear_iou":
            return 1 - iou
        hull = hull_of_corners(a, b).clamp(min=1e-6)
        return 1 - (iou - (hull - union) / hull)

    return loss


def plus_one(kind):
    """The original FCOS, in the space of distances."""

    def loss(predicted, target):
        p_left, p_top, p_right, p_bottom = predicted.unbind(-1)
        t_left, t_top, t_right, t_bottom = target.unbind(-1)
        width = torch.min(p_left, t_left) + torch.min(p_right, t_right)
        height = torch.min(p_top, t_top) + torch.min(p_bottom, t_bottom)
        hull_width = torch.max(p_left, t_left) + torch.max(p_right, t_right)
        hull_height = torch.max(p_top, t_top) + torch.max(p_bottom, t_bottom)
        overlap = width * height
        union = (p_left + p_right) * (p_top + p_bottom) + (t_left + t_right) * (t_top + t_bottom) - overlap
        iou = (overlap + 1) / (union + 1)
        if kind == "iou":
            return -iou.log()
        if kind == "linear_iou":
            return 1 - iou
        hull = hull_width * hull_height + 1e-7
        return 1 - (iou - (hull - union) / hull)

    return loss


SMOOTHINGS = {
    "epsilon": (epsilon, ["iou", "linear_iou", "giou", "diou", "ciou"]),
    "clamp_union": (clamp_union, ["iou", "linear_iou", "giou"]),
    "plus_one": (plus_one, ["iou", "linear_iou", "giou"]),
}


def around(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def box_pairs():
    """name -> (predicted, target, whether every distance is at least 0)."""
    target = torch.rand(16, 4) * 50 + 1
    nested = target * (torch.rand(16, 1) + 0.2)
    return {
        "pixels": (torch.rand(16, 4) * 60 + 0.5, target, True),
        "strides": (torch.rand(16, 4) * 6 + 0.05, target / 8, True),
        "nested": (nested, target, True),
        "equal": (target[:4], target[:4], True),
        "shared_sides": (around([5, 6, 7, 8], [3, 9, 20, 1]), around([5, 9, 7, 2], [3, 4, 6, 1]), True),
        "scales": (
            around([900, 700, 1300, 20], [0.01, 0.02, 0.03, 0.01], [1, 200, 1, 300], [5, 0, 7, 3]),
            around([800, 900, 1000, 40], [0.02, 0.01, 0.01, 0.03], [150, 2, 170, 1], [6, 2, 4, 5]),
            True,
        ),
        "apart": (
            around([-10, -20, 30, 50], [90, 8, -70, -3], [5, -30, 6, 44], [1e3, 2, -9e2, 3]),
            around([8, 9, 7, 6], [20, 10, 40, 11], [12, 13, 14, 15], [1, 2, 3, 4]),
            False,
        ),
    }


def iou():
    pairs = box_pairs()
    cases = []
    for smoothing, (formula, kinds) in SMOOTHINGS.items():
        for kind in kinds:
            for name, (predicted, target, around_location) in pairs.items():
                if smoothing == "plus_one" and not around_location:
                    continue
                loss = formula(kind)
                result = both(lambda p: loss(p, target.to(p.dtype)), predicted)
                cases.append({"smoothing": smoothing, "kind": kind, "boxes": name, **result})
    boxes = {
        name: {"predicted": p.reshape(-1).tolist(), "target": t.reshape(-1).tolist()}
        for name, (p, t, _) in pairs.items()
    }
    write("iou.json", {"boxes": boxes, "cases": cases})


# ---------------------------------------------------------------------------------- centre-ness


def centerness():
    logits = torch.cat([normal(20, std=3.0), torch.tensor([100.0, -100.0, 100.0, -100.0, 1000.0, -1000.0])])
    targets = torch.cat([torch.rand(20), torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5, 0.25])])
    positive = torch.rand(26) < 0.6
    positive[20:] = True

    def loss(x):
        return binary_cross_entropy_with_logits(x[positive], targets.to(x.dtype)[positive], reduction="sum")

    body = {"logits": logits.tolist(), "targets": targets.tolist(), "positive": positive.tolist()}
    write("centerness.json", {**body, **both(loss, logits)})


# ------------------------------------------------------------------------------------ whole loss

STRIDES, GRIDS, CLASSES = (8, 16), ((7, 11), (4, 6)), 5


def locations():
    """Centres and strides of all locations, [N, 2] and [N]."""
    points, strides = [], []
    for stride, (rows, columns) in zip(STRIDES, GRIDS):
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        points.append(torch.stack([x, y], -1).reshape(-1, 2) * stride + stride // 2)
        strides.append(torch.full((rows * columns,), stride))
    return torch.cat(points).float(), torch.cat(strides).float()


def match_boxes(points, boxes):
    """Index of the first box that strictly holds each point, or -1."""
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    low, high = points[:, None] > boxes[None, :, :2], points[:, None] < boxes[None, :, 2:]
    inside = (low & high).all(-1)
    return torch.where(inside.any(1), inside.int().argmax(1), -1)


def scene():
    points, strides = locations()
    boxes = [
        torch.tensor([[10.5, 5.25, 60.0, 40.75], [40.0, 20.0, 90.5, 70.0], [1.0, 50.0, 30.0, 66.0]]),
        torch.zeros(0, 4),
        torch.tensor([[70.25, 2.0, 101.0, 68.5]]),
    ]
    labels = [torch.tensor([4, 0, 3]), torch.zeros(0, dtype=torch.long), torch.tensor([2])]
    matched = [match_boxes(points, b) for b in boxes]
    return points, strides, boxes, labels, matched


def targets_of(points, boxes, labels, matched):
    """Labels [N], distances in pixels [N, 4], centre-ness [N]; zeros at background."""
    positive = matched >= 0
    ltrb = torch.zeros(len(points), 4)
    box = boxes[matched[positive]]
    ltrb[positive] = torch.cat([points[positive] - box[:, :2], box[:, 2:] - points[positive]], 1)
    label = torch.full((len(points),), -1)
    label[positive] = labels[matched[positive]]
    pairs = ltrb[:, [0, 2]], ltrb[:, [1, 3]]
    ratio = [p.min(1).values.double() / p.max(1).values.double().clamp(min=1e-9) for p in pairs]
    return label, ltrb, (ratio[0] * ratio[1]).sqrt()


def torchvision_loss(points, strides, boxes, labels, matched):
    head = FCOSHead(32, 1, CLASSES, num_convs=1)
    half = strides[:, None] / 2
    cells = torch.cat([points - half, points + half], 1)

    def loss(cls, ltrb, ctr):
        truth = [{"boxes": b.to(cls.dtype), "labels": l} for b, l in zip(boxes, labels)]
        outputs = {"cls_logits": cls, "bbox_regression": ltrb, "bbox_ctrness": ctr[..., None]}
        parts = head.compute_loss(truth, outputs, [cells.to(cls.dtype)] * len(boxes), matched)
        return torch.stack([parts[k] for k in ("classification", "bbox_regression", "bbox_ctrness")])

    return loss


def official_loss(targets, strides):
    """The original FCOS with GIoU: distances in strides, box loss weighted by centre-ness."""
    labels, ltrb, centerness = (torch.stack(x) for x in zip(*targets))
    positive = labels >= 0

    def loss(cls, predicted, ctr):
        hot = one_hot_labels(labels, CLASSES, cls.dtype)
        weight = centerness.to(cls.dtype)[positive]
        wanted = (ltrb / strides[:, None]).to(cls.dtype)[positive]
        box = (plus_one("giou")(predicted[positive], wanted) * weight).sum() / weight.sum()
        count = positive.sum()
        focal_sum = sigmoid_focal_loss(cls, hot, reduction="sum")
        ctr_sum = binary_cross_entropy_with_logits(ctr[positive], weight, reduction="sum")
        return torch.stack([focal_sum / count, box, ctr_sum / count])

    return loss


def fcos():
    points, strides, boxes, labels, matched = scene()
    targets = [targets_of(points, b, l, m) for b, l, m in zip(boxes, labels, matched)]
    batch = len(boxes)
    cls = normal(batch, len(points), CLASSES) - 2
    ltrb = torch.rand(batch, len(points), 4) * 4 + 0.1
    ctr = normal(batch, len(points))
    body = {
        "batch": batch,
        "locations": len(points),
        "classes": CLASSES,
        "strides": strides.tolist(),
        "labels": torch.stack([t[0] for t in targets]).reshape(-1).tolist(),
        "ltrb_targets": torch.stack([t[1] for t in targets]).reshape(-1).tolist(),
        "centerness_targets": torch.stack([t[2] for t in targets]).reshape(-1).tolist(),
        "cls_logits": cls.reshape(-1).tolist(),
        "ltrb": ltrb.reshape(-1).tolist(),
        "centerness": ctr.reshape(-1).tolist(),
        "torchvision": both(torchvision_loss(points, strides, boxes, labels, matched), cls, ltrb, ctr),
        "official": both(official_loss(targets, strides), cls, ltrb, ctr),
    }
    write("fcos.json", body)


if __name__ == "__main__":
    torch.manual_seed(SEED)
    focal()
    iou()
    centerness()
    fcos()
