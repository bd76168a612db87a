#!/usr/bin/env bash
# What z is good for, on captions and reviews: bash examples/using_z/run.sh DATA BART OUTPUT
# DATA: see prepare.py; BART: fairseq checkpoint with dict.txt and its BPE beside it.
# Two trainings run side by side with one thread each. Run again, it goes on where it stopped.
set -euo pipefail
data="$1" bart="$2" output="$3"
here="$(dirname "$0")"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
mkdir -p "$output"
if [ ! -d "$output/text" ]; then # whole or not at all
    rm -rf "$output/.text"
    python "$here/prepare.py" "$data" "$output/.text"
    mv "$output/.text" "$output/text"
fi

common="--set dataset.max_tokens=2048 --set dataset.num_workers=0 --set optimization.lr=[0.001]
    --set lr_scheduler.warmup_updates=100 --set checkpoint.save_interval_updates=250"

train() {  # NAME FLAG ...
    local name="$1"
    shift
    # word splitting is meant: options hold no spaces
    fairseq-vae finetune "$output/text/$name" --bart "$bart" --output "$output/$name" $common "$@" \
        >>"$output/$name.log" 2>&1 || { echo "run.sh: $name failed, see $output/$name.log" >&2; return 1; }
}

each="--set phase2.criterion.free_bits_mode=dimension"  # as measured; the recipe's free bits are of the batch's mean
train captions --phase1-updates 400 --phase2-updates 1200 $each &
first=$!
train reviews --phase1-updates 300 --phase2-updates 900 $each --set phase2.criterion.free_bits=0.5
train fluency --recipe language-model --phase2-updates 800
wait "$first"

# priors: N(0, I), and those fitted after training
run="$output/captions" best="phase2/checkpoint_best.pt"
for kind in gaussian mixture; do
    prior="$run/$kind.safetensors"
    [ -f "$prior" ] || fairseq-vae fit-prior "$run/$best" "$run/data-bin" --kind "$kind" --output "$prior"
    fairseq-vae evaluate "$run/$best" "$run/data-bin" --prior "$prior" --samples 5 --keep "$run/$kind" --json "$run/$kind.json"
done
python "$here/variety.py" "$run" "$output/text/captions/test.txt" gaussian mixture
fairseq-vae evaluate "$run/$best" "$run/data-bin" --samples 1 --generate 0 --smoothness 200 --keep "$run/smoothness"

# edits: from each label to the other, three ways, eight strengths and more, three seeds
text="$output/text/reviews"
[ -f "$output/reviews/edits.json" ] || fairseq-vae evaluate-edit "$output/reviews/$best" \
    --text "$text/train.txt" --labels "$text/train.labels" --input "$text/test.txt" --input-labels "$text/test.labels" \
    --limit 400 --beam 1 --max-len 40 --language-model "$output/fluency/$best" \
    --json "$output/reviews/edits.json" --picture "$output/edits.svg"

fairseq-vae report "$run"
fairseq-vae report "$output/reviews" --text "$text/test.txt" --labels "$text/test.labels"
