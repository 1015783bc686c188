"""A torchvision FCOS checkpoint narrow enough to commit, in both of PyTorch's file formats.

    pip install torch==2.15.0 numpy
    python3 make_narrow.py

The keys are those of `../torchvision/keys.tsv`, the shapes a sixteenth as wide (but a pyramid of 32
channels), the values random. `narrow.pth` is a zip file as a training script writes it: the network
in half precision under `model`, every key behind `module.`, an optimizer beside it.
`narrow_legacy.pth` is the format from before PyTorch 1.6, with the bare network. `expanded.pth` has one
number that claims to be two thousand million, through a view of stride 0.

The `*.tsv` files list the keys and shapes of the published models' state dicts, one file for those that
have the same.
"""

import json

import torch

torch.manual_seed(0)


def narrow(name, shape):
    if not name.startswith("backbone.body."):
        inner = name.startswith("backbone.fpn.inner_blocks") and name.endswith("weight")
        classes = 3 if "cls_logits" in name else None
        small = [32 if n == 64 else n for n in shape]
        if inner:
            small[1] = shape[1] // 16
        if classes:
            small[0] = classes
        return small
    return [n if n in (1, 3, 7) else n // 16 for n in shape]


state = {}
for line in open("../torchvision/keys.tsv"):
    name, shape, *_ = line.split("\t")
    size = narrow(name, json.loads(shape))
    state[name] = (torch.rand(size) + 0.5 if name.endswith("running_var") else torch.randn(size) * 0.1).half()

torch.save(state, "narrow_legacy.pth", _use_new_zipfile_serialization=False)
wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01, "params": [0]}]}
torch.save({"model": wrapped, "optimizer": optimizer, "iteration": 90000}, "narrow.pth")
torch.save({"rpn.head.cls_logits.weight": torch.zeros(1).expand(1 << 31)}, "expanded.pth")
