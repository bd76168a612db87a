#!/usr/bin/env bash
# How beta should grow, at one learning-rate schedule: bash examples/annealing/run.sh DATA BART OUTPUT
# DATA: folder of fairseq-preprocess with the BART's dict.txt; BART: fairseq checkpoint, 4 + 4 layers, 256 wide.
# Five ways of weighting the KL, SEEDS seeds each (default: "1 2 3"), UPDATES updates of at most 2,048 tokens (default:
# 430, 0.8M tokens). JOBS (default: 2) run side by side with one thread each. Run again, it goes on where it stopped.
set -euo pipefail
data="$1" bart="$2" output="$3"
updates="${UPDATES:-430}"
user_dir="$(fairseq-vae path)"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY=PASSIVE PYTHONWARNINGS=ignore

beta() {
    case "$1" in
        constant) echo "" ;;
        monotonic) echo "--kl-schedule linear --kl-warmup-updates $((updates / 2))" ;;
        cyclical) echo "--kl-schedule cyclical --kl-cycle-updates $(((updates + 3) / 4)) --kl-cycle-ratio 0.5" ;;
        lagrangian | pid) echo "--rate-controller $1 --rate-target 5 --rate-gain 0.05" ;;
    esac
}

mkdir -p "$output"
settings="UPDATES=$updates, DATA of checksum $(cksum <"$data/train.bin"), BART of checksum $(cksum <"$bart")"
[ -e "$output/settings" ] || compgen -G "$output/*.done" >/dev/null || echo "$settings" >"$output/settings"
made="$(cat "$output/settings" 2>/dev/null || echo "settings that are not known")"
if [ "$made" != "$settings" ]; then
    echo "run.sh: $output was made with $made, asked for is $settings: give another OUTPUT" >&2
    exit 1
fi
for seed in ${SEEDS:-1 2 3}; do
    for arm in constant monotonic cyclical lagrangian pid; do
        run="$output/$arm-$seed"
        [ -e "$run.done" ] && continue
        while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n || true; done
        # word splitting is meant: the flags hold no spaces
        { fairseq-train "$data" --user-dir "$user_dir" --task vae_denoising --arch bart_vae_small --share-all-embeddings \
            --max-source-positions 256 --max-target-positions 256 --autocast-bf16 \
            --criterion vae_cross_entropy $(beta "$arm") \
            --optimizer adam --lr 0.001 --lr-scheduler inverse_sqrt --warmup-updates 50 --clip-norm 1 \
            --max-tokens 2048 --max-update "$updates" --validate-interval-updates "$((updates / 5))" \
            --finetune-from-model "$bart" --seed "$seed" --save-dir "$run" --no-epoch-checkpoints \
            --keep-interval-updates 1 --best-checkpoint-metric neg_elbo --num-workers 0 \
            --log-format json --log-interval 10 >>"$run.log" 2>&1 && touch "$run.done"; } ||
            echo "run.sh: $run failed, see $run.log" >&2 &
        echo "$run.log"
    done
done
wait
python "$(dirname "$0")/report.py" "$output"
