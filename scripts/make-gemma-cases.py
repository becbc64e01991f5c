"""Computes logits of small random Gemma-2 models with transformers; each model differs in one setting.

    pip install torch==2.13.0 transformers==5.23.0
    python scripts/make-gemma-cases.py > packages/gemma/test/fixtures/cases.json

A case has a `config.json`, token ids and their logits. Weights are not in the file; its `seed` defines them: the tensors in
alphabetical order of their names, each filled row by row from one stream of
    x = (1664525 x + 1013904223) mod 2^32,  value = scale (x / 2^32 - 1/2),
where x starts at `seed`; the scale is 0.8 for norms, 2 for the embedding, 4 / sqrt(columns) for the others; rounded to float32.
"""
import json, math, sys
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

SMALL = dict(vocab_size=24, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, head_dim=4, query_pre_attn_scalar=4, sliding_window=5, max_position_embeddings=64,
             bos_token_id=2, eos_token_id=1, pad_token_id=0)

CASES = {  # differences from SMALL, and the number of tokens
    "one head": (dict(num_attention_heads=1), 9),
    "as many key heads as heads": (dict(num_attention_heads=3, num_key_value_heads=3, hidden_size=9), 12),
    "three heads to each of two key heads": (dict(num_attention_heads=6, num_key_value_heads=2, head_dim=2, hidden_size=12), 12),
    "heads wider than the hidden state": (dict(num_attention_heads=4, num_key_value_heads=2, head_dim=6), 12),
    "queries scaled by another number than the head's width": (dict(query_pre_attn_scalar=11), 12),
    "a window of one token": (dict(sliding_window=1), 6),
    "a window of three, four layers, tokens far past it": (dict(sliding_window=3, num_hidden_layers=4), 30),
    "a sequence as long as the window": (dict(sliding_window=8), 8),
    "a sequence one longer than the window": (dict(sliding_window=8), 9),
    "full layers before sliding ones": (
        dict(num_hidden_layers=3, layer_types=["full_attention", "full_attention", "sliding_attention"]), 14),
    "no soft caps": (dict(attn_logit_softcapping=None, final_logit_softcapping=None), 12),
    "soft caps that bind": (dict(attn_logit_softcapping=0.7, final_logit_softcapping=1.5), 12),
    "only attention capped, one layer": (dict(final_logit_softcapping=None, num_hidden_layers=1), 12),
    "another rope base and a large epsilon": (
        dict(rope_parameters=dict(rope_type="default", rope_theta=150.0), rms_norm_eps=0.05), 12),
    "one token": (dict(), 1),
}


def stream(seed):
    x = seed
    while True:
        x = (1664525 * x + 1013904223) % 2**32
        yield x / 2**32 - 0.5


def fill(model, seed):
    numbers = stream(seed)
    for name, p in sorted(model.named_parameters()):
        scale = 0.8 if "norm" in name else 2.0 if "embed" in name else 4 / math.sqrt(p.shape[-1])
        values = [scale * next(numbers) for _ in range(p.numel())]
        p.copy_(torch.tensor(values, dtype=torch.float64).float().reshape(p.shape))


def main():
    out = []
    for seed, (name, (changes, length)) in enumerate(CASES.items(), 1):
        model = Gemma2ForCausalLM(Gemma2Config(**{**SMALL, **changes}, attn_implementation="eager")).eval()
        ids = torch.randint(0, SMALL["vocab_size"], (1, length), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            fill(model, seed)
            logits = model(input_ids=ids).logits[0]
        config = {k: v for k, v in model.config.to_dict().items() if not k.startswith("_")}
        out.append(dict(name=name, seed=seed, config=config, ids=ids[0].tolist(),
                        logits=[[float(f"{x:.8g}") for x in row] for row in logits.tolist()]))
        print(f"{name}: largest logit {logits.abs().max():.3f}", file=sys.stderr)
    print("[\n" + ",\n".join(json.dumps(case) for case in out) + "\n]")


if __name__ == "__main__":
    main()
