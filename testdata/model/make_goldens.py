"""Writes golden_*.safetensors: tiny FCOS networks, their input and what torch makes of it.

    python3 make_goldens.py

The networks are put together here from torch's and torchvision's layers (BasicBlock, Bottleneck,
FeaturePyramidNetwork with LastLevelP6P7), in float64, independently of the crate. A network's
file holds `weights/<tensor of the crate>`, `input`, `c3` to `p7` and the outputs, rounded to
float32, and in `__metadata__` the configuration as the crate reads it.
"""

import collections
import json
import math
import pathlib

import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

torch.manual_seed(20)
torch.set_default_dtype(torch.float64)

WIDTH = 2
CHANNELS = 4
CLASSES = 3
STRIDES = (8, 16, 32, 64, 128)
CASES = {
    # exp in pixels, centre-ness on the class tower, stride in the 1x1, BN without epsilon
    "exp": dict(
        size=(2, 49, 70),
        arch="r50",
        backbone=dict(stride_in="1x1", norm_eps=0.0),
        fpn={},
        head=dict(centerness_on="cls", box_activation="exp", tower_bias=False),
    ),
    # relu in strides, centre-ness on the box tower, no factors per level, basic blocks
    "relu": dict(
        size=(1, 96, 64),
        arch="r18",
        backbone={},
        fpn={},
        head=dict(scales=False),
    ),
    # ATSS's box coder, P6 of C5, no relu before P7, stride in the 3x3
    "anchor": dict(
        size=(1, 40, 56),
        arch="r50",
        backbone={},
        fpn=dict(p6_source="c5", relu_before_p7=False),
        head=dict(box_activation="anchor_delta"),
    ),
    # the ATSS authors' box coder, whose boxes name their last pixel
    "legacy_anchor": dict(
        size=(1, 40, 56),
        arch="r18",
        backbone={},
        fpn={},
        head=dict(box_activation="legacy_anchor_delta"),
    ),
}


def randomise(module):
    """Draws every parameter and statistic, so that none is at its neutral value."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
            if m.bias is not None:
                nn.init.normal_(m.bias, std=0.3)
        elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.uniform_(m.weight, 0.6, 1.3)
            nn.init.normal_(m.bias, std=0.2)
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.2)
            nn.init.uniform_(m.running_var, 0.5, 1.5)


def conv(channels_in, channels_out, kernel, stride=1, bias=False):
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=bias)


class Backbone(nn.Module):
    def __init__(self, arch, stride_in="3x3", norm_eps=1e-5):
        super().__init__()
        block, depths = {"r18": (BasicBlock, [2, 2, 2, 2]), "r50": (Bottleneck, [3, 4, 6, 3])}[arch]
        self.conv1, self.bn1 = conv(3, WIDTH, 7, 2), nn.BatchNorm2d(WIDTH)
        channels, stages = WIDTH, []
        for i, depth in enumerate(depths):
            planes, blocks = WIDTH << i, []
            for j in range(depth):
                stride, down = (2 if i > 0 and j == 0 else 1), None
                out = planes * block.expansion
                if stride != 1 or channels != out:
                    down = nn.Sequential(conv(channels, out, 1, stride), nn.BatchNorm2d(out))
                blocks.append(block(channels, planes, stride, down))
                if stride_in == "1x1" and block is Bottleneck:
                    blocks[-1].conv1.stride, blocks[-1].conv2.stride = (stride, stride), (1, 1)
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eps = norm_eps

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1:]


class TopLevels(LastLevelP6P7):
    """torchvision's, with the choice of P6's source and of the relu."""

    def __init__(self, channels_in, p6_source, relu):
        super().__init__(channels_in if p6_source == "c5" else CHANNELS, CHANNELS)
        self.use_P5, self.relu = p6_source == "p5", relu

    def forward(self, p, c, names):
        p6 = self.p6(p[-1] if self.use_P5 else c[-1])
        p7 = self.p7(F.relu(p6) if self.relu else p6)
        return p + [p6, p7], names + ["p6", "p7"]


class Head(nn.Module):
    def __init__(self, tower_bias=True, scales=True, centerness_on="box", box_activation="relu_stride"):
        super().__init__()
        def tower():
            layers = [(conv(CHANNELS, CHANNELS, 3, bias=tower_bias), nn.GroupNorm(2, CHANNELS)) for _ in range(2)]
            return nn.ModuleList([nn.ModuleList(layer) for layer in layers])
        self.cls_tower, self.bbox_tower = tower(), tower()
        self.cls_logits = conv(CHANNELS, CLASSES, 3, bias=True)
        self.bbox_pred = conv(CHANNELS, 4, 3, bias=True)
        self.centerness = conv(CHANNELS, 1, 3, bias=True)
        self.scales = nn.ParameterList([torch.rand(1) + 0.5 for _ in range(5)] if scales else [])
        self.centerness_on, self.box_activation = centerness_on, box_activation

    def forward(self, level, x):
        cls = bbox = x
        for c, n in self.cls_tower:
            cls = F.relu(n(c(cls)))
        for c, n in self.bbox_tower:
            bbox = F.relu(n(c(bbox)))
        ctr = self.centerness(cls if self.centerness_on == "cls" else bbox)
        raw = self.bbox_pred(bbox) * (self.scales[level] if len(self.scales) else 1.0)
        return self.cls_logits(cls), self.distances(raw, STRIDES[level]), ctr

    def distances(self, x, stride):
        if self.box_activation == "exp":
            return torch.exp(x)
        if self.box_activation == "relu_stride":
            return F.relu(x)
        if self.box_activation == "legacy_anchor_delta":
            return legacy_distances(x, stride)
        # an anchor of side 8 (strides) around the location, decoded to corners as mmdetection does
        dx, dy, dw, dh = x.unbind(1)
        most = math.log(1000 / 16)
        w, h = 8 * torch.exp((dw / 5).clamp(-most, most)), 8 * torch.exp((dh / 5).clamp(-most, most))
        cx, cy = 8 * dx / 10, 8 * dy / 10
        return torch.stack([w / 2 - cx, h / 2 - cy, w / 2 + cx, h / 2 + cy], 1)


def legacy_distances(x, stride):
    """sfzhang15/ATSS: boxes decoded in pixels by maskrcnn-benchmark's BoxCoder (weights 10, 10, 5, 5)
    around the anchor of every location, then the location's distances to their sides, in strides."""
    height, width = x.shape[2:]
    cy, cx = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
    cx, cy = cx + stride / 2, cy + stride / 2
    side = 8 * stride
    anchor = torch.stack([cx - (side - 1) / 2, cy - (side - 1) / 2, cx + (side - 1) / 2, cy + (side - 1) / 2])
    widths, heights = anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1
    ctr_x, ctr_y = (anchor[2] + anchor[0]) / 2, (anchor[3] + anchor[1]) / 2
    dx, dy, dw, dh = x[:, 0] / 10, x[:, 1] / 10, x[:, 2] / 5, x[:, 3] / 5
    dw, dh = dw.clamp(max=math.log(1000 / 16)), dh.clamp(max=math.log(1000 / 16))
    pred_x, pred_y = dx * widths + ctr_x, dy * heights + ctr_y
    pred_w, pred_h = torch.exp(dw) * widths, torch.exp(dh) * heights
    x1, y1 = pred_x - 0.5 * (pred_w - 1), pred_y - 0.5 * (pred_h - 1)
    x2, y2 = pred_x + 0.5 * (pred_w - 1), pred_y + 0.5 * (pred_h - 1)
    return torch.stack([cx - x1, cy - y1, x2 - cx, y2 - cy], 1) / stride


def norm_names(ours, theirs, state, out):
    for part in ("weight", "bias", "running_mean", "running_var"):
        if f"{theirs}.{part}" in state:
            out[f"{ours}.{part}"] = state[f"{theirs}.{part}"]


def backbone_names(state):
    out = {"backbone.stem.conv.weight": state["conv1.weight"]}
    norm_names("backbone.stem.norm", "bn1", state, out)
    blocks = sorted({".".join(key.split(".")[:3]) for key in state if key.startswith("stages")})
    for b in blocks:
        for k in (1, 2, 3):
            if f"{b}.conv{k}.weight" in state:
                out[f"backbone.{b}.conv{k}.conv.weight"] = state[f"{b}.conv{k}.weight"]
                norm_names(f"backbone.{b}.conv{k}.norm", f"{b}.bn{k}", state, out)
        if f"{b}.downsample.0.weight" in state:
            out[f"backbone.{b}.downsample.conv.weight"] = state[f"{b}.downsample.0.weight"]
            norm_names(f"backbone.{b}.downsample.norm", f"{b}.downsample.1", state, out)
    return out


def fpn_names(state):
    rename = {"inner_blocks": "lateral", "layer_blocks": "output", "p6": "top.0", "p7": "top.1"}
    out = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "extra_blocks":
            out[f"fpn.{rename[parts[1]]}.{parts[2]}"] = value
        else:
            out[f"fpn.{rename[parts[0]]}.{parts[1]}.{parts[-1]}"] = value
    return out


def head_names(state):
    out = {}
    for key, value in state.items():
        parts = key.split(".")
        if "tower" in key:
            parts[2] = ("conv", "norm")[int(parts[2])]
        out[".".join(["head", *parts])] = value
    return out


def flatten(levels):
    return torch.cat([x.flatten(2).transpose(1, 2) for x in levels], 1)


def network(case):
    backbone = Backbone(case["arch"], **case["backbone"])
    c5 = WIDTH * (32 if case["arch"] == "r50" else 8)
    top = TopLevels(c5, case["fpn"].get("p6_source", "p5"), case["fpn"].get("relu_before_p7", True))
    fpn = FeaturePyramidNetwork([c5 // 4, c5 // 2, c5], CHANNELS, top)
    head = Head(**case["head"])
    for part in (backbone, fpn, head):
        randomise(part)
        part.eval()
    nn.init.normal_(head.bbox_pred.weight, std=0.2)
    batch, height, width = case["size"]
    images = torch.randn(batch, 3, height, width)
    with torch.no_grad():
        maps = backbone(images)
        pyramid = list(fpn(collections.OrderedDict(enumerate(maps))).values())
        levels = [head(i, p) for i, p in enumerate(pyramid)]
    weights = backbone_names(backbone.state_dict()) | fpn_names(fpn.state_dict()) | head_names(head.state_dict())
    tensors = {f"weights/{key}": value for key, value in weights.items()} | {"input": images}
    tensors |= {f"c{i + 3}": x for i, x in enumerate(maps)}
    tensors |= {f"p{i + 3}": x for i, x in enumerate(pyramid)}
    cls_logits, ltrb, centerness = (flatten(part) for part in zip(*levels))
    return tensors | {"cls_logits": cls_logits, "ltrb": ltrb, "centerness": centerness.squeeze(2)}


def config(case):
    return {
        "num_classes": CLASSES,
        "backbone": {"arch": case["arch"], "width": WIDTH, **case["backbone"]},
        "fpn": {"channels": CHANNELS, **case["fpn"]},
        "head": {"num_convs": 2, "gn_groups": 2, **case["head"]},
    }


def batch_norm_training():
    """What two steps of torch's BatchNorm2d in training leave behind."""
    norm = nn.BatchNorm2d(3)
    nn.init.uniform_(norm.weight, 0.6, 1.3)
    x = torch.randn(2, 2, 3, 2, 2) * 2 + 1  # two batches [2, 3, 2, 2]
    y = torch.stack([norm(batch) for batch in x]).detach()
    state = {k: v for k, v in norm.state_dict().items() if v.dim() > 0}
    return state | {"input": x, "output": y}


def write(name, tensors, metadata):
    tensors = {key: value.float().contiguous() for key, value in tensors.items()}
    metadata["made_with"] = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    path = pathlib.Path(__file__).with_name(f"golden_{name}.safetensors")
    save_file(tensors, path, metadata)
    path.chmod(0o644)
    print(path.name, path.stat().st_size, metadata["made_with"])


def main():
    for name, case in CASES.items():
        write(name, network(case), {"config": json.dumps(config(case))})
    write("batch_norm", batch_norm_training(), {})


if __name__ == "__main__":
    main()
