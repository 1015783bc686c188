"""Goldens of torchvision's FCOS, from raw pixels to boxes and through 20 steps of training.

    pip install torch==2.15.0 torchvision==0.29.2 numpy safetensors
    python3 make_goldens.py

The network is torchvision's own FCOS class over its ResNet-18 with a pyramid of 64 channels and 12
classes. Weights and pixels come from a generator that the Rust tests have too, so that only what
torchvision makes of them is stored: `keys.tsv` (every tensor with its shape and range),
`inference.safetensors` and `training.safetensors`. Long tensors are stored as every n-th value.
"""

import json
import zlib

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.detection import _utils as det_utils
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.fcos import FCOS
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

CLASSES, CHANNELS, SAMPLES = 12, 64, 600
# Width, height. The first two are predicted, the first and the last trained on.
IMAGES = [(131, 97), (90, 120), (124, 92)]
PREDICTED, TRAINED = [0, 1], [0, 2]
# With some weights a ReLU or a minimum sits so near its kink that float32 gradients, torch's too,
# are off by a per cent from float64's. With these they agree to 1e-4, which `training` checks.
SALT = 5
BOXES = [
    [[10.0, 12.0, 70.0, 80.0], [40.0, 30.0, 120.0, 90.0], [5.5, 50.25, 25.0, 75.0]],
    [[20.0, 15.0, 80.0, 90.0], [30.0, 40.0, 50.0, 65.5]],
]
LABELS = [[3, 7, 1], [11, 0]]
STEPS, RATE, MOMENTUM, DECAY = 20, 0.0005, 0.9, 1e-4
MASK = (1 << 64) - 1


def draws(seed, count):
    """Uniform numbers in [0, 1): SplitMix64 of seed and position, the upper 24 bits."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed * 0x9E3779B97F4A7C15 & MASK) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)


def pixels(seed, width, height):
    """Blobs and noise: RGB bytes, row by row."""
    noise = (draws(seed, width * height * 3) * np.float32(64)).astype(np.int64).reshape(height, width, 3)
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    blobs = ((x // 16) * 37 + (y // 12) * 53 + c * 29 + (x * y) // 64) % 192
    return (blobs + noise).astype(np.uint8)


def value_range(name, shape):
    """Activations keep their size from layer to layer, and the outputs spread."""
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    gain = float(np.sqrt(6.0 / fan_in))
    if "cls_logits.bias" in name:
        return -2.5, -1.5
    if "bbox_ctrness.bias" in name or "bbox_reg.bias" in name:
        return 0.5, 1.5
    if name.endswith("running_var"):
        return 0.5, 1.5
    if len(shape) == 4:
        gain *= 0.6 if "cls_logits" in name or "bbox_" in name else 0.5 if "conv2" in name else 1.0
        return -gain, gain
    if name.endswith("bias") or name.endswith("running_mean"):
        return -0.1, 0.1
    return 0.8, 1.2


def build():
    body = torchvision.models.resnet18(weights=None, norm_layer=FrozenBatchNorm2d)
    layers = {"layer2": "0", "layer3": "1", "layer4": "2"}
    extra = LastLevelP6P7(CHANNELS, CHANNELS)
    backbone = BackboneWithFPN(body, layers, [128, 256, 512], CHANNELS, extra)
    model = FCOS(backbone, CLASSES, min_size=120, max_size=160)
    rows, state = [], {}
    for name, tensor in sorted(model.state_dict().items()):
        low, high = (float(np.float32(v)) for v in value_range(name, tuple(tensor.shape)))
        unit = draws(zlib.crc32(name.encode()) + SALT, tensor.numel())
        values = np.float32(low) + unit * np.float32(high - low)
        state[name] = torch.from_numpy(values).reshape(tensor.shape)
        rows.append(f"{name}\t{json.dumps(list(tensor.shape))}\t{low!r}\t{float(np.float32(high - low))!r}\n")
    model.load_state_dict(state)
    return model, rows


def sample(tensor):
    flat = tensor.detach().reshape(-1)
    step = max(1, -(-flat.numel() // SAMPLES))
    return flat[::step].clone().contiguous()


def images(which):
    raw = [pixels(i + 1, *IMAGES[i]) for i in which]
    return [torch.from_numpy(r).permute(2, 0, 1).float() / 255 for r in raw]


def inference(model):
    model.eval()
    golden = {}
    with torch.no_grad():
        sizes = [tuple(image.shape[-2:]) for image in images(PREDICTED)]
        batch, _ = model.transform(images(PREDICTED))
        golden["input"] = batch.tensors
        x = model.backbone.body(batch.tensors)
        for name, value in zip(("c3", "c4", "c5"), x.values()):
            golden[name] = value
        pyramid = list(model.backbone(batch.tensors).values())
        for level, value in enumerate(pyramid):
            golden[f"p{level + 3}"] = value
        head = model.head(pyramid)
        golden["cls_logits"] = head["cls_logits"]
        golden["bbox_regression"] = head["bbox_regression"]
        golden["bbox_ctrness"] = head["bbox_ctrness"]
        anchors = model.anchor_generator(batch, pyramid)
        golden["anchor_centers"] = (anchors[0][:, :2] + anchors[0][:, 2:]) / 2
        tensors = {name: sample(value) for name, value in golden.items()}
        for name, value in golden.items():
            tensors[f"{name}.shape"] = torch.tensor(value.shape)
            tensors[f"{name}.largest"] = value.abs().max().reshape(1)
        counts = [p.shape[2] * p.shape[3] for p in pyramid]
        split = {key: list(value.split(counts, dim=1)) for key, value in head.items()}
        levels = [list(a.split(counts)) for a in anchors]
        # Everything above the threshold, before NMS: with NMS at 1 nothing is suppressed.
        settings = model.nms_thresh, model.detections_per_img
        model.nms_thresh, model.detections_per_img = 1.0, 10**6
        candidates = model.postprocess_detections(split, levels, batch.image_sizes)
        model.nms_thresh, model.detections_per_img = settings
        candidates = model.transform.postprocess(candidates, batch.image_sizes, sizes)
        final = model(images(PREDICTED))
        for i, (candidate, detection) in enumerate(zip(candidates, final)):
            for key in ("boxes", "scores", "labels"):
                tensors[f"candidates.{i}.{key}"] = candidate[key].contiguous()
                tensors[f"detections.{i}.{key}"] = detection[key].contiguous()
            print(f"image {i} {sizes[i]}: {len(candidate['scores'])} candidates, {len(detection['scores'])} detections, "
                  f"best {detection['scores'][:3].tolist()}")
    save_file(tensors, "inference.safetensors", metadata=versions())


PROBES = [
    "backbone.body.conv1.weight",
    "backbone.body.layer1.0.conv1.weight",
    "backbone.body.layer4.1.conv2.weight",
    "backbone.fpn.inner_blocks.0.0.weight",
    "backbone.fpn.layer_blocks.2.0.bias",
    "backbone.fpn.extra_blocks.p7.weight",
    "head.classification_head.conv.0.weight",
    "head.classification_head.conv.10.weight",
    "head.classification_head.cls_logits.weight",
    "head.regression_head.conv.9.weight",
    "head.regression_head.bbox_reg.bias",
    "head.regression_head.bbox_ctrness.weight",
]


def first_gradients(dtype):
    model = build()[0].train().to(dtype)
    losses = model([image.to(dtype) for image in images(TRAINED)], targets(dtype))
    sum(losses.values()).backward()
    named = dict(model.named_parameters())
    return {name: named[name].grad for name in PROBES}


def targets(dtype=torch.float32):
    return [{"boxes": torch.tensor(b, dtype=dtype), "labels": torch.tensor(l)} for b, l in zip(BOXES, LABELS)]


def kink():
    """The largest difference that single precision makes to a gradient."""
    single, double = first_gradients(torch.float32), first_gradients(torch.float64)
    return max(((single[n] - double[n]).abs().max() / double[n].abs().max()).item() for n in PROBES)


def training(model):
    model.train()
    assert kink() < 1e-4, "choose another SALT"
    tensors = {}
    matched = []
    head_loss = model.head.compute_loss

    def spy(targets, outputs, anchors, matched_idxs):
        matched.append(torch.stack(matched_idxs))
        return head_loss(targets, outputs, anchors, matched_idxs)

    model.head.compute_loss = spy
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    rows = []
    for step in range(STEPS):
        losses = model(images(TRAINED), targets())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if step == 0:
            named = dict(model.named_parameters())
            for name in PROBES:
                tensors[f"grad.{name}"] = sample(named[name].grad)
                tensors[f"grad.{name}.largest"] = named[name].grad.abs().max().reshape(1)
        optimizer.step()
        rows.append([losses[k].item() for k in ("classification", "bbox_regression", "bbox_ctrness")])
    print("first", rows[0], "last", rows[-1])
    tensors["losses"] = torch.tensor(rows)
    tensors["matched"] = matched[0]
    save_file(tensors, "training.safetensors", metadata=versions())


def versions():
    return {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model, rows = build()
    with open("keys.tsv", "w") as file:
        file.writelines(rows)
    inference(model)
    training(build()[0])
