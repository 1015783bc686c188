"""Writes golden.safetensors: one small FCOS network, its outputs, losses, gradients and a few steps
of training, by torch.

    python3 testdata/devices/make_goldens.py

What every device is compared with. The network is that of `../model/make_goldens.py`, put together
from torch's and torchvision's layers; the losses are torchvision's `sigmoid_focal_loss` and
`generalized_box_iou_loss` and torch's binary cross-entropy, normalised as FCOS does; the optimiser is
`torch.optim.SGD`. All in float64, rounded to float32 at the end: what a device computes differs from
it by that device's own rounding alone.

    weights/<tensor of the crate>      before the first step
    images, labels, ltrb, centerness   a batch and its targets
    eval/<output>                      with the running statistics (inference)
    train/<output>                     with the batch's own statistics
    losses                             [STEPS, 3]: class, box, centre-ness, before each step
    gradients/<tensor of the crate>    of the first step
    trained/<output>                   of inference after the last step
"""

import importlib.util
import json
import pathlib

import torch
import torchvision
from safetensors.torch import save_file
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

FOLDER = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("networks", FOLDER.parent / "model/make_goldens.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

networks.WIDTH, networks.CHANNELS, CLASSES = 2, 8, networks.CLASSES
BATCH, HEIGHT, WIDTH_PX = 2, 72, 56
STRIDES = [8, 16, 32, 64, 128]
STEPS, RATE, MOMENTUM, DECAY = 5, 0.02, 0.9, 1e-4
OUTPUTS = ("cls_logits", "ltrb", "centerness")


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        c5 = networks.WIDTH * 8
        self.backbone = networks.Backbone("r18")
        self.fpn = networks.FeaturePyramidNetwork(
            [c5 // 4, c5 // 2, c5], networks.CHANNELS, networks.TopLevels(c5, "p5", True)
        )
        self.head = networks.Head()
        for part in (self.backbone, self.fpn, self.head):
            networks.randomise(part)
        torch.nn.init.normal_(self.head.bbox_pred.weight, std=0.05)
        torch.nn.init.constant_(self.head.bbox_pred.bias, 1.5)

    def forward(self, images):
        maps = self.backbone(images)
        pyramid = self.fpn(networks.collections.OrderedDict(enumerate(maps))).values()
        levels = [self.head(i, p) for i, p in enumerate(pyramid)]
        cls, ltrb, ctr = (networks.flatten(part) for part in zip(*levels))
        return cls, ltrb, ctr.squeeze(2)

    def crate_names(self, state):
        """A `state_dict` under the crate's names."""
        part = lambda name: {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(name + ".")}
        return (
            networks.backbone_names(part("backbone"))
            | networks.fpn_names(part("fpn"))
            | networks.head_names(part("head"))
        )


def targets():
    """Every seventh location is positive; distances in strides, as the head predicts them."""
    n = sum(-(-HEIGHT // s) * -(-WIDTH_PX // s) for s in STRIDES)
    labels = torch.full((BATCH, n), -1)
    for b in range(BATCH):
        labels[b, 3 * b :: 7] = torch.randint(0, CLASSES, labels[b, 3 * b :: 7].shape)
    ltrb = torch.rand(BATCH, n, 4) * 3 + 0.5
    l, t, r, b = ltrb.unbind(2)
    ratio = lambda p, q: torch.minimum(p, q) / torch.maximum(p, q)
    return labels, ltrb, (ratio(l, r) * ratio(t, b)).sqrt()


def losses(outputs, labels, ltrb, centerness):
    cls_logits, predicted, ctr = outputs
    positive = labels >= 0
    hot = F.one_hot(labels + 1, CLASSES + 1)[..., 1:].to(cls_logits.dtype)
    cls = sigmoid_focal_loss(cls_logits, hot, alpha=0.25, gamma=2.0, reduction="sum") / positive.sum()
    corners = lambda d: torch.cat([-d[:, :2], d[:, 2:]], 1)  # around a location at (0, 0)
    giou = generalized_box_iou_loss(corners(predicted[positive]), corners(ltrb[positive]), eps=1e-7)
    bbox = (giou * centerness[positive]).sum() / centerness[positive].sum()
    ctr = F.binary_cross_entropy_with_logits(ctr[positive], centerness[positive])
    return torch.stack([cls, bbox, ctr])


def predictions(network, images, prefix):
    with torch.no_grad():
        return {f"{prefix}/{name}": x for name, x in zip(OUTPUTS, network(images))}


def main():
    torch.manual_seed(22)
    network = Network()
    images, (labels, ltrb, centerness) = torch.randn(BATCH, 3, HEIGHT, WIDTH_PX), targets()
    weights = network.crate_names(network.state_dict())
    out = {f"weights/{k}": v.clone() for k, v in weights.items()}
    out |= {"images": images, "labels": labels, "ltrb": ltrb, "centerness": centerness}
    out |= predictions(network.eval(), images, "eval")

    optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
    network.train()
    rows = []
    for step in range(STEPS):
        outputs = network(images)
        if step == 0:
            out |= {f"train/{name}": x for name, x in zip(OUTPUTS, outputs)}
        row = losses(outputs, labels, ltrb, centerness)
        optimizer.zero_grad()
        row.sum().backward()
        if step == 0:
            gradients = {k: p.grad.clone() for k, p in network.named_parameters()}
            out |= {f"gradients/{k}": v for k, v in network.crate_names(gradients).items()}
        optimizer.step()
        rows.append(row.detach())
    out["losses"] = torch.stack(rows)
    out |= predictions(network.eval(), images, "trained")

    print(out["losses"])
    config = {
        "num_classes": CLASSES,
        "backbone": {"arch": "r18", "width": networks.WIDTH, "norm": "trained", "frozen_stages": 0},
        "fpn": {"channels": networks.CHANNELS},
        "head": {"num_convs": 2, "gn_groups": 2},
    }
    metadata = {
        "config": json.dumps(config),
        "sgd": json.dumps({"steps": STEPS, "rate": RATE, "momentum": MOMENTUM, "decay": DECAY}),
        "made_with": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
    }
    as_stored = lambda x: x.detach().int() if x.dtype == torch.int64 else x.detach().float()
    path = FOLDER / "golden.safetensors"
    save_file({k: as_stored(v).contiguous() for k, v in out.items()}, path, metadata)
    path.chmod(0o644)
    print(path.name, path.stat().st_size, metadata["made_with"])


main()
