"""The same measurements with torchvision's FCOS, eager and compiled.

    python3 benches/gpu/torchvision_speed.py --device cuda

The columns are those of `main.rs` beside this file. f32 is measured as torch's default
(`highest`) and, as `tf32`, with TF32 products, which is what Burn does on CUDA. bf16 is
`torch.autocast` for forward passes and training: torch keeps f32 weights there.
"""

import argparse
import time

import torch
import torchvision
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

parser = argparse.ArgumentParser()
parser.add_argument("--device", default="cuda")
parser.add_argument("--part", choices=["predict", "forward", "train"], help="what to measure; all if left out")
parser.add_argument("--batch", type=int, help="images per run, instead of 1 and 8, or 16 in training")
parser.add_argument("--precision", choices=["f32", "tf32", "bf16"], help="all if left out")
parser.add_argument("--mode", choices=["eager", "compile"], help="both if left out")
parser.add_argument("--runs", type=int, default=20)
parser.add_argument("--tiny", action="store_true", help="small images, to try this program out")
args = parser.parse_args()
HEIGHT, WIDTH, BATCHES, TRAIN_BATCH = (64, 96, (1, 2), 2) if args.tiny else (800, 1088, (1, 8), 16)
if args.batch:
    BATCHES, TRAIN_BATCH = (args.batch,), args.batch
DEVICE = torch.device(args.device)


def sync():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def measure(what, batch, precision, run):
    times = []
    for _ in range(args.runs + 1):
        sync()
        start = time.perf_counter()
        run()
        sync()
        times.append((time.perf_counter() - start) * 1e3)
    first, rest = times[0], sorted(times[1:])
    print(f"torch-{MODE},{what},{batch},{precision},{first:.0f},{rest[len(rest) // 2]:.2f},{rest[0]:.2f}", flush=True)


def network():
    """`fcos_resnet50_fpn` as it trains from ImageNet weights: frozen batch normalisation, stem and
    first stage. Here with random weights, so that nothing is downloaded."""
    torch.manual_seed(0)
    backbone = torchvision.models.resnet50(norm_layer=torchvision.ops.FrozenBatchNorm2d)
    top = LastLevelP6P7(256, 256)
    backbone = _resnet_fpn_extractor(backbone, 3, returned_layers=[2, 3, 4], extra_blocks=top)
    return torchvision.models.detection.FCOS(backbone, 91, min_size=HEIGHT).to(DEVICE)


def outputs(model, images):
    return model.head(list(model.backbone(images).values()))


def autocast(precision):
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16")


def predict(precision):
    model = network().eval()
    photographs = torch.rand(3, 480, 640, device=DEVICE)
    if MODE == "compile":
        model.backbone, model.head = torch.compile(model.backbone), torch.compile(model.head)
    for batch in BATCHES:
        def run():
            with torch.inference_mode(), autocast(precision):
                model([photographs] * batch)
        measure("predict", batch, precision, run)


def forward(precision):
    model = network().eval()
    step = torch.compile(outputs) if MODE == "compile" else outputs
    for batch in BATCHES:
        images = torch.randn(batch, 3, HEIGHT, WIDTH, device=DEVICE)
        def run():
            with torch.inference_mode(), autocast(precision):
                step(model, images)
        measure("forward", batch, precision, run)


def train(precision):
    """Losses by torchvision's own function, on boxes that every image has ten of."""
    model = network().train()
    sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-6, 0.9)
    images = torch.randn(TRAIN_BATCH, 3, HEIGHT, WIDTH, device=DEVICE)
    corner = torch.rand(10, 2, device=DEVICE) * min(HEIGHT, WIDTH) / 2
    target = {
        "boxes": torch.cat([corner, corner + min(HEIGHT, WIDTH) / 3], 1),
        "labels": torch.ones(10, dtype=torch.int64, device=DEVICE),
    }
    step = torch.compile(outputs) if MODE == "compile" else outputs
    grids = [(-(-HEIGHT // s), -(-WIDTH // s)) for s in (8, 16, 32, 64, 128)]
    maps = [torch.empty(TRAIN_BATCH, 1, h, w, device=DEVICE) for h, w in grids]
    listed = ImageList(images, [(HEIGHT, WIDTH)] * TRAIN_BATCH)

    def run():
        with autocast(precision):
            found = step(model, images)
        found = {k: v.float() for k, v in found.items()}
        anchors = model.anchor_generator(listed, maps)
        loss = model.compute_loss([target] * TRAIN_BATCH, found, anchors, [h * w for h, w in grids])
        sgd.zero_grad()
        sum(loss.values()).backward()
        sgd.step()

    measure("train", TRAIN_BATCH, precision, run)


print(f"# torch {torch.__version__}, torchvision {torchvision.__version__}", flush=True)
for MODE in [args.mode] if args.mode else ("eager", "compile"):
    for precision, matmul in (("f32", "highest"), ("tf32", "high"), ("bf16", "high")):
        if args.precision not in (None, precision):
            continue
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = matmul == "high"
        for part in (predict, forward, train):
            if args.part not in (None, part.__name__):
                continue
            torch._dynamo.reset()
            part(precision)
