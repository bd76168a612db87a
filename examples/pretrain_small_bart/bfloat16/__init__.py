"""fairseq's cross-entropy with products in bfloat16: --user-dir of this folder, --criterion bfloat16_cross_entropy.

fairseq's own --bf16 needs a GPU or a TPU. Weights, sums and the optimizer stay in float32, as with --autocast-bf16.
"""

from typing import Any, Dict, Tuple

from fairseq.criterions import register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion, CrossEntropyCriterionConfig
from fairseq.models import BaseFairseqModel
from torch import Tensor

import fairseq_vae  # noqa: F401  for torch's safe loader to read fairseq's own checkpoints
from fairseq_vae.base.precision import bfloat16_products, bfloat16_works


@register_criterion("bfloat16_cross_entropy", dataclass=CrossEntropyCriterionConfig)
class BFloat16CrossEntropy(CrossEntropyCriterion):
    def forward(
        self, model: BaseFairseqModel, sample: Dict[str, Any], reduce: bool = True
    ) -> Tuple[Tensor, int, Dict[str, Any]]:
        """The loss of a batch, in nats; in float32 in evaluation and on a machine that has no products in bfloat16."""
        device = sample["target"].device.type
        if not (model.training and bfloat16_works(device)):
            return super().forward(model, sample, reduce)
        with bfloat16_products(device, width=sample["target"].size(1)):
            return super().forward(model, sample, reduce)
