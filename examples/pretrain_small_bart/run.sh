#!/usr/bin/env bash
# A small BART from scratch: bash examples/pretrain_small_bart/run.sh TEXT OUTPUT [UPDATES]
# TEXT: folder with train.txt and valid.txt, one sentence a line; OUTPUT: folder that becomes a BART archive (model.pt,
# dict.txt, sentencepiece.bpe.model). Run again, it goes on where it stopped. With PRECISION=bfloat16 products are in
# bfloat16, on a GPU or on a CPU that has them.
set -euo pipefail
text="$1" output="$2" updates="${3:-2750}"
pieces="${PIECES:-8000}" precision="${PRECISION:-float32}"
here="$(cd "$(dirname "$0")" && pwd)"
case "$precision" in
    float32) criterion=(--user-dir "$(fairseq-vae path)" --criterion cross_entropy) ;;
    bfloat16) criterion=(--user-dir "$here/bfloat16" --criterion bfloat16_cross_entropy) ;;
    *)
        echo "run.sh: PRECISION=$precision: expected float32 or bfloat16" >&2
        exit 1
        ;;
esac
mkdir -p "$output/work"
settings="TEXT of checksum $(cat "$text/train.txt" "$text/valid.txt" | cksum), UPDATES $updates, PIECES $pieces"
[ "$precision" = float32 ] || settings="$settings, PRECISION $precision"
[ -e "$output/work/settings" ] || [ -e "$output/dict.txt" ] || echo "$settings" >"$output/work/settings"
made="$(cat "$output/work/settings" 2>/dev/null || echo "a TEXT that is not known")"
if [ "$made" != "$settings" ]; then
    echo "run.sh: $output was made of $made, asked for is $settings: give another OUTPUT" >&2
    exit 1
fi
if [ -e "$output/model.pt" ]; then # fairseq-train would make one more update
    echo "run.sh: $output/model.pt is done"
    exit 0
fi

if [ ! -e "$output/dict.txt" ]; then
    python "$here/encode.py" "$text" "$output" "$pieces"
fi
if [ ! -e "$output/work/data-bin/valid.bin" ]; then
    fairseq-preprocess --only-source --srcdict "$output/dict.txt" --workers 2 --destdir "$output/work/data-bin" \
        --trainpref "$output/work/train.txt" --validpref "$output/work/valid.txt"
fi
# BART's noise: 30 % of the pieces, in spans of Poisson(3), each replaced by one <mask>. The plug-in is named only for
# torch's safe loader to read fairseq's own checkpoints when this resumes; task, model and criterion are fairseq's.
fairseq-train "$output/work/data-bin" "${criterion[@]}" --task denoising \
    --sample-break-mode eos --tokens-per-sample 254 --mask 0.3 --mask-length span-poisson --poisson-lambda 3 \
    --replace-length 1 --rotate 0 --permute-sentences 0 --insert 0 \
    --arch bart_base --encoder-layers 4 --decoder-layers 4 --encoder-embed-dim 256 --decoder-embed-dim 256 \
    --encoder-ffn-embed-dim 1024 --decoder-ffn-embed-dim 1024 --encoder-attention-heads 4 --decoder-attention-heads 4 \
    --max-source-positions 256 --max-target-positions 256 --dropout 0 --attention-dropout 0 \
    --optimizer adam --adam-betas '(0.9,0.98)' --adam-eps 1e-06 --weight-decay 0.01 \
    --clip-norm 1 --lr 0.0008 --lr-scheduler inverse_sqrt --warmup-updates "$((updates < 3000 ? updates / 9 + 1 : 300))" \
    --max-tokens 4096 --max-update "$updates" --save-interval-updates 250 --keep-interval-updates 1 \
    --no-epoch-checkpoints --skip-invalid-size-inputs-valid-test --num-workers 1 --log-format simple --log-interval 50 \
    --save-dir "$output/work/checkpoints" 2>&1 | tee -a "$output/work/train.log"
python "$here/export.py" "$output/work/checkpoints/checkpoint_best.pt" "$output/model.pt"
