"""Upstream's own T3 around the weights of ours: the reference that ours is compared with."""

from typing import Any

import torch

from tts_service.models.chatterbox.upstream import quiet, upstream


def upstream_twin(t3: Any) -> Any:
    """Return upstream's `T3` of the same numbers with the same tensors, on the same device; imports transformers.

    The conditioning is shared, too: upstream's constructor has its width written into it.
    """
    with quiet(), torch.device("meta"):
        theirs: Any = upstream("models.t3").T3(t3.hp)
    theirs.cond_enc = t3.cond_enc
    if t3.is_gpt:
        del theirs.tfmr.wte
    else:
        theirs.tfmr.rotary_emb = type(theirs.tfmr.rotary_emb)(config=theirs.cfg).to(t3.tfmr.rotary_emb.inv_freq.device)
    if t3.speech_head.bias is not None:
        theirs.speech_head.bias = t3.speech_head.bias
    theirs.load_state_dict(t3.state_dict(), assign=True)
    return theirs.eval().requires_grad_(requires_grad=False)
