"""Times torchvision's batched_nms on the scenes of speed.rs, on one CPU thread.

    python3 crates/fcos-postprocess/benches/torchvision_nms.py
"""

import time

import numpy as np
import torch
import torchvision
from torchvision.ops import batched_nms

F = np.float32


def scene(count, objects, classes):
    state, out = 1, []
    for _ in range(count * 6):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(state >> 40)
    u = (np.array(out, dtype=np.float32) / F(2**24)).reshape(count, 6)
    thing = np.floor(u[:, 5] * F(objects))
    w, h = F(40) + thing % F(13) * F(12), F(40) + thing % F(7) * F(20)
    x = thing * F(37) % F(1000) + u[:, 0] * w * F(0.2)
    y = thing * F(91) % F(700) + u[:, 1] * h * F(0.2)
    w, h = w * (F(0.9) + u[:, 2] * F(0.2)), h * (F(0.9) + u[:, 3] * F(0.2))
    boxes = np.stack([x, y, x + w, y + h], axis=1)
    return [torch.from_numpy(a) for a in (boxes, u[:, 4].copy(), thing.astype(np.int64) % classes)]


def main():
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, one thread")
    for objects, classes in [(80, 80), (5000, 80), (80, 1), (5000, 1)]:
        boxes, scores, labels = scene(5000, objects, classes)
        times = []
        for _ in range(31):
            start = time.perf_counter()
            kept = batched_nms(boxes, scores, labels, float(F(0.6)))
            times.append((time.perf_counter() - start) * 1e3)
        times.sort()
        what = f"batched_nms, 5000 boxes, {classes} classes, {objects} objects, {len(kept)} kept"
        print(f"{what:<62} {times[0]:7.3f} ms, median {times[15]:7.3f} ms")


if __name__ == "__main__":
    main()
