#!/usr/bin/env bash
# Which remedy does what: bash examples/ablation/run.sh TEXT BART OUTPUT [RUN ...]
# TEXT: folder with train.txt, valid.txt and test.txt; BART: fairseq checkpoint with dict.txt and its BPE beside it.
# Every run has 400 updates of at most 2,048 tokens. Two run side by side with one thread each (JOBS, OMP_NUM_THREADS).
# Run again, it goes on where it stopped.
set -euo pipefail
text="$1" bart="$2" output="$3"
shift 3
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

common="--set dataset.max_tokens=2048 --set dataset.num_workers=0 --set optimization.lr=[0.001]
    --set lr_scheduler.warmup_updates=50 --set checkpoint.save_interval_updates=200"
one="--phase2-updates 400"                        # without phase 1
two="--phase1-updates 100 --phase2-updates 300"   # with it
ramp="--set phase2.criterion.kl_schedule=linear --set phase2.criterion.kl_warmup_updates=100"
flat="--set phase2.criterion.kl_schedule=constant --set phase2.criterion.kl_warmup_updates=null"
each="--set phase2.criterion.free_bits_mode=dimension"  # of each sentence, as in the tables; the recipe's are of the batch
floor="--set phase2.criterion.free_bits=0.15 $each"
open="--set phase2.criterion.free_bits=0 $each"

options() {
    case "$1" in
        language-model) echo "--recipe language-model $one" ;;
        naive) echo "--recipe naive $one" ;;
        annealing) echo "--recipe naive $one $ramp" ;;
        free-bits) echo "--recipe naive $one $floor" ;;
        free-bits+annealing) echo "--recipe naive $one $floor $ramp" ;;
        phase1) echo "--recipe default $two $flat $open" ;;
        phase1+annealing) echo "--recipe default $two $ramp $open" ;;
        phase1+free-bits) echo "--recipe default $two $flat $floor" ;;
        default) echo "--recipe default $two $each" ;;  # phase 1, free bits and annealing
        default,max-pooling) echo "--recipe default $two $each --set model.latent_pooling=max" ;;
        default,denoising-15) echo "--recipe default $two $each --set task.noise=deletion --set task.noise_ratio=0.15" ;;
        default,denoising-40) echo "--recipe default $two $each --set task.noise=deletion --set task.noise_ratio=0.4" ;;
        default,frozen-decoder) echo "--recipe default $two $each --set phase1.model.freeze_decoder=true" ;;
        *) echo "run.sh: unknown run $1" >&2; exit 1 ;;
    esac
}

runs=("$@")
if [ ${#runs[@]} = 0 ]; then
    runs=(default language-model naive annealing free-bits free-bits+annealing phase1 phase1+annealing
        phase1+free-bits default,max-pooling default,denoising-15 default,denoising-40 default,frozen-decoder)
fi
mkdir -p "$output"
for run in "${runs[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n || true; done
    chosen="$(options "$run")"
    rm -f "$output/$run.done"
    # word splitting is meant: options hold no spaces
    fairseq-vae finetune "$text" --bart "$bart" --output "$output/$run" $chosen $common \
        >>"$output/$run.log" 2>&1 && touch "$output/$run.done" || echo "run.sh: $run failed, see $output/$run.log" >&2 &
    echo "$run: $output/$run.log"
done
wait
done=()
for run in "${runs[@]}"; do [ ! -f "$output/$run.done" ] || done+=("$run"); done
[ ${#done[@]} = 0 ] || python "$(dirname "$0")/table.py" "$output" "${done[@]}"
[ ${#done[@]} = ${#runs[@]} ] # what failed has no row
