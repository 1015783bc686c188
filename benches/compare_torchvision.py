"""Our predictions beside torchvision's and ONNX Runtime's: same weights, photographs and threads.

    pip install torch torchvision onnx onnxruntime onnxscript pillow
    cargo build --release --bin fcos
    python3 benches/compare_torchvision.py [--images DIR] [--rounds 5] [--threads 2]

Each round runs every contender once, as a whole process over all pictures. Printed are medians over all
rounds: time per picture (the first of a process left out), start of the process to the first
detection, and peak memory; and their ratios to torchvision. Without --images, six pictures of
640 x 480 are generated.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FCOS = TARGET / "release/fcos"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEG or PNG files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=TARGET / "compare_torchvision")
    parser.add_argument("--contender", choices=["prepare", "torchvision", "onnxruntime"], help=argparse.SUPPRESS)
    return parser.parse_args()


def build():
    """ResNet-50 with 80 classes: the weights are random, the work is not."""
    import torch
    from torchvision.models.detection import fcos_resnet50_fpn
    from torchvision.ops import misc

    torch.manual_seed(0)
    model = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=80, norm_layer=misc.FrozenBatchNorm2d)
    with torch.no_grad():
        # Some detections, as on a photograph.
        model.head.classification_head.cls_logits.weight.normal_(0, 0.06)
        model.head.classification_head.cls_logits.bias.fill_(-3.5)
        model.head.regression_head.bbox_reg.bias.fill_(1.5)
    return model.eval()


def prepare(args):
    import numpy as np
    import torch
    from PIL import Image

    args.work.mkdir(parents=True, exist_ok=True)
    model = build()
    torch.save(model.state_dict(), args.work / "model.pth")
    convert = [FCOS, "convert", "--input", args.work / "model.pth"]
    subprocess.run([*convert, "--output", args.work / "model.safetensors"], check=True, stdout=subprocess.DEVNULL)
    network = Network(model)
    try:
        example = torch.zeros(1, 3, 800, 1088)
        torch.onnx.export(network, (example,), str(args.work / "model.onnx"), opset_version=18, dynamo=True)
    except Exception as error:
        print("ONNX Runtime is left out:", type(error).__name__, error, file=sys.stderr)
    generated = args.work / "images"
    generated.mkdir(exist_ok=True)
    for i in range(6):
        rng = np.random.default_rng(i)
        small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        small.resize((640, 480), Image.BICUBIC).save(generated / f"{i}.png")


def Network(model):
    import torch

    class Raw(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            head = self.model.head(list(self.model.backbone(x).values()))
            return head["cls_logits"], head["bbox_regression"], head["bbox_ctrness"]

    return Raw().eval()


def photographs(args):
    return sorted(p for p in args.images.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))


def contend_torchvision(args):
    import torch
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    torch.set_num_threads(args.threads)
    model = build()
    model.load_state_dict(torch.load(args.work / "model.pth"))
    with torch.inference_mode():
        for path in photographs(args):
            image = pil_to_tensor(Image.open(path).convert("RGB")).float() / 255
            start = time.perf_counter()
            found = model([image])[0]
            report(start, len(found["scores"]))


def contend_onnxruntime(args):
    """The exported network, between torchvision's own transform and postprocessing."""
    import onnxruntime
    import torch
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    torch.set_num_threads(args.threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(args.work / "model.onnx", options)
    model = build()
    name = session.get_inputs()[0].name
    with torch.inference_mode():
        for path in photographs(args):
            image = pil_to_tensor(Image.open(path).convert("RGB")).float() / 255
            start = time.perf_counter()
            batch, _ = model.transform([image])
            raw = [torch.from_numpy(o) for o in session.run(None, {name: batch.tensors.numpy()})]
            height, width = batch.tensors.shape[-2:]
            features = [torch.zeros(1, 1, -(-height // s), -(-width // s)) for s in (8, 16, 32, 64, 128)]
            counts = [f.shape[2] * f.shape[3] for f in features]
            anchors = [list(a.split(counts)) for a in model.anchor_generator(batch, features)]
            head = dict(zip(("cls_logits", "bbox_regression", "bbox_ctrness"), (list(r.split(counts, 1)) for r in raw)))
            found = model.postprocess_detections(head, anchors, batch.image_sizes)
            report(start, len(found[0]["scores"]))


def report(start, found):
    print(f"time {1000 * (time.perf_counter() - start):.1f} found {found}", flush=True)


def fcos(args):
    weights = args.work / "model.safetensors"
    return [FCOS, "predict", "--weights", weights, "--score-threshold", "0.2", "--output", args.work / "drawn", *photographs(args)]


def contender(name, args):
    extra = ["--images", args.images, "--work", args.work, "--threads", str(args.threads)]
    return [sys.executable, __file__, "--contender", name, *extra]


STAGES = re.compile(r"preprocess ([\d.]+) ms, forward ([\d.]+) ms, postprocess ([\d.]+) ms")
TIME = re.compile(r"^time ([\d.]+)")


def run(command, args):
    """Milliseconds per picture, seconds to the first detection, peak MiB."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads)}
    start = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True, env=environment)
    times, first = [], None
    for line in process.stdout:
        if match := STAGES.search(line):
            times.append(sum(map(float, match.groups())))
        elif match := TIME.match(line):
            times.append(float(match.group(1)))
        if times and first is None:
            first = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {command}")
    return times[1:] or times, first, usage.ru_maxrss / 1024


def main():
    args = arguments()
    tasks = {"prepare": prepare, "torchvision": contend_torchvision, "onnxruntime": contend_onnxruntime}
    if args.contender:
        return tasks[args.contender](args)
    args.images = args.images or args.work / "images"
    # Not in this process: a child's peak memory counts what its parent held when it was started.
    subprocess.run([str(c) for c in contender("prepare", args)], check=True, stdout=subprocess.DEVNULL)
    contenders = {"torchvision": contender("torchvision", args), "fcos": fcos(args)}
    if (args.work / "model.onnx").exists():
        contenders["onnxruntime"] = contender("onnxruntime", args)
    results = {name: ([], [], []) for name in contenders}
    for round in range(args.rounds):
        for name, command in contenders.items():
            times, first, memory = run(command, args)
            results[name][0].extend(times)
            results[name][1].append(first)
            results[name][2].append(memory)
            print(f"round {round + 1}: {name}: {statistics.median(times):.0f} ms a picture", file=sys.stderr)
    medians = {name: [statistics.median(column) for column in columns] for name, columns in results.items()}
    base = medians["torchvision"]
    print(f"{args.threads} threads, {len(photographs(args))} pictures, {args.rounds} rounds: medians (ratio to torchvision)")
    print(f"{'':12} {'picture':>18} {'first detection':>18} {'peak memory':>20}")
    for name, (time_, first, memory) in medians.items():
        ratios = [value / b for value, b in zip((time_, first, memory), base)]
        print(f"{name:12} {time_:9.0f} ms ({ratios[0]:.2f}) {first:10.2f} s ({ratios[1]:.2f}) {memory:10.0f} MiB ({ratios[2]:.2f})")
    (args.work / "result.json").write_text(json.dumps(medians, indent=1))


if __name__ == "__main__":
    main()
