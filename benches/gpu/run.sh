#!/usr/bin/env bash
# Conformance and speed of one GPU backend, beside torchvision on the same GPU in the same run.
#
#     benches/gpu/run.sh cuda              # or wgpu, vulkan, metal
#     benches/gpu/run.sh cuda --no-torch
#
# Writes benches/gpu/results/<GPU>-<backend>.csv and, beside it, the conformance suite's log. Every
# measurement is a process of its own, so that its first run and its memory are its own too. What fails
# is named at the end; the rest goes on.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

backend="${1:?usage: benches/gpu/run.sh cuda|wgpu|vulkan|metal [--no-torch]}"
gpu="$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 | tr -c 'A-Za-z0-9\n' - || true)"
out="benches/gpu/results/${gpu:-gpu}-$backend"
torch_device=cuda # torch reaches a GPU in its own way, whatever the backend here
[[ "$backend" == metal ]] && torch_device=mps
cases=("predict 1" "predict 8" "forward 1" "forward 8" "train 16")
mkdir -p benches/gpu/results

failed=()
part() { # command...
    printf '\n=== %s\n' "$*"
    "$@" || failed+=("$*")
}

note() { # text
    echo "# $*" | tee -a "$out.csv"
}

# What is taken of the GPU's memory, in MiB, as nvidia-smi sees it; 0 where there is none.
used_memory() {
    { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null || echo 0; } | head -n 1
}

# A command's rows, with the most memory that was taken meanwhile beyond what was before.
measure() { # command...
    local before peak used pid status=0
    before="$(used_memory)" peak="$before"
    "$@" >"$out.rows" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        used="$(used_memory)"
        peak=$((used > peak ? used : peak))
        sleep 0.2
    done
    wait "$pid" || status=$?
    sed -nE "s/^(fcos|torch-).*/&,$((peak - before))/p" "$out.rows" | tee -a "$out.csv"
    rm -f "$out.rows"
    return "$status"
}

conformance() {
    FCOS_TEST_DEVICES="flex,$backend" cargo test --release -p fcos-tests --test devices --features "$backend" \
        -- --nocapture --test-threads 1 --include-ignored 2>&1 | tee "$out.log"
}

bench() { # more features, arguments...
    cargo bench -p fcos-benches --bench gpu --features "$backend$1" -- --device "$backend" "${@:2}"
}

torch_bench() { # arguments...
    python3 benches/gpu/torchvision_speed.py --device "$torch_device" "$@"
}

echo 'implementation,what,batch,precision,first_ms,median_ms,fastest_ms,peak_mib' >"$out.csv"
part conformance
part cargo bench -p fcos-benches --bench gpu --features "$backend" --no-run

for precision in f32 bf16; do
    for case in "${cases[@]}"; do
        part measure bench '' --precision "$precision" --part "${case% *}" --batch "${case#* }"
    done
done

# The first run again, by a process that finds what an earlier one has tuned.
export CUBECL_ENVIRONMENT="bench-$$"
for state in tunes finds; do
    note "with persistence, a process that $state the fastest kernels:"
    part measure bench ,persistence --runs 3
done

if [[ "${2:-}" != --no-torch ]]; then
    note "$(python3 -c 'import torch, torchvision as t; print("torch", torch.__version__, "torchvision", t.__version__)' || true)"
    for mode in eager compile; do
        for precision in f32 tf32 bf16; do
            for case in "${cases[@]}"; do
                part measure torch_bench --mode "$mode" --precision "$precision" --part "${case% *}" --batch "${case#* }"
            done
        done
    done
fi

echo "see $out.csv and $out.log"
for name in "${failed[@]}"; do
    echo "FAILED: $name" | tee -a "$out.log"
done
((${#failed[@]} == 0))
