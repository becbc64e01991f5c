"""Computes the log-probs of the golden pairs with transformers in bfloat16, as a measure of what that precision costs.

    pip install torch==2.13.0 transformers==5.23.0 safetensors
    python scripts/make-bf16-golden.py

The output is e2e/fixtures/bf16-golden.json: for each golden model, the log-probs of both answers of every pair under the policy, whose
weights, activations and products are bfloat16, as `from_pretrained(dtype="bfloat16")` runs it. Logits are cast to float32.
"""
import json
import os

import torch
from safetensors.torch import load_file
from transformers import Gemma2ForCausalLM

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
GOLDEN = os.path.join(ROOT, "packages/gemma/test/fixtures/golden")


@torch.no_grad()
def log_prob(model, prompt, answer):
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(answer)[:, None]).sum().item()


result = {}
for variant in ("tiny", "odd"):
    folder = os.path.join(GOLDEN, variant)
    model = Gemma2ForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.bfloat16).eval()
    weights = load_file(os.path.join(folder, "policy.safetensors"))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all("lm_head" in name for name in missing), (missing, unexpected)
    pairs = json.load(open(os.path.join(folder, "expected.json")))["truncation"]["paper"]
    result[variant] = [{side: log_prob(model, pair["prompt"], pair[side]) for side in ("chosen", "rejected")} for pair in pairs]
with open(os.path.join(ROOT, "e2e/fixtures/bf16-golden.json"), "w") as f:
    json.dump(result, f)
    f.write("\n")
