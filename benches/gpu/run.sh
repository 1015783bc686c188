#!/usr/bin/env bash
# Conformance and speed of one GPU backend, beside torchvision on the same GPU in the same run.
#
#     benches/gpu/run.sh cuda              # or wgpu, vulkan, metal
#     benches/gpu/run.sh cuda --no-torch
#
# Writes benches/gpu/results/<GPU>-<backend>.csv and, beside it, the conformance suite's log.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

backend="${1:?usage: benches/gpu/run.sh cuda|wgpu|vulkan|metal [--no-torch]}"
gpu="$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 | tr -c 'A-Za-z0-9\n' - || true)"
out="benches/gpu/results/${gpu:-gpu}-$backend"
mkdir -p benches/gpu/results

# What a command takes of the GPU's memory at most, in MiB, as nvidia-smi sees it.
with_peak() { # name, command...
    local name="$1" peak=0 used pid
    shift
    "$@" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        used="$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | head -n 1 || echo 0)"
        ((${used:-0} > peak)) && peak="$used"
        sleep 0.2
    done
    wait "$pid"
    echo "# $name: peak GPU memory $peak MiB" | tee -a "$out.csv"
}

bench() { # more features, arguments...
    local more="$1"
    shift
    cargo bench -p fcos-benches --bench gpu --features "$backend$more" -- --device "$backend" "$@" | tee -a "$out.csv"
}

# torch reaches a GPU in its own way, whatever the backend here.
torch_bench() {
    local device=cuda
    [[ "$backend" == metal ]] && device=mps
    python3 benches/gpu/torchvision_speed.py --device "$device" | tee -a "$out.csv"
}

: >"$out.csv"
FCOS_TEST_DEVICES="flex,$backend" cargo test --release -p fcos-tests --test devices --features "$backend" \
    -- --nocapture --test-threads 1 --include-ignored 2>&1 | tee "$out.log"

with_peak fcos bench ''

# The first run again, by a process that finds what an earlier one has tuned.
export CUBECL_ENVIRONMENT="bench-$$"
for state in tunes finds; do
    echo "# with persistence, a process that $state the fastest kernels:" | tee -a "$out.csv"
    bench ,persistence --runs 3
done

[[ "${2:-}" == --no-torch ]] || with_peak torchvision torch_bench
echo "see $out.csv and $out.log"
