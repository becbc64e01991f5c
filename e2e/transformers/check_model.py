"""Loads a model folder with transformers and prints what it computes.

    echo '{"ids": [2, 106, 108], "prompt": "Say hi."}' | python check_model.py MODEL_DIR

Prints JSON: `problems` (missing, unexpected or mismatched weights; empty if there are none), `dtype` of the weights on disk,
`logits` [tokens][vocabulary] of `ids` in float32, `prompt_ids` from the folder's chat template, and the `completion_ids` and
`text` of greedy decoding of at most `max_new_tokens` (24) tokens.
"""
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    folder, request = sys.argv[1], json.load(sys.stdin)
    stored = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").dtype
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    conversation = [{"role": "user", "content": request["prompt"]}]
    prompt = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([request["ids"]])).logits[0]
        written = model.generate(
            input_ids=torch.tensor([prompt_ids]), max_new_tokens=request.get("max_new_tokens", 24), do_sample=False)
    completion_ids = written[0, len(prompt_ids) :].tolist()
    json.dump({
        "problems": {kind: sorted(map(str, names)) for kind, names in info.items() if names},
        "dtype": str(stored).removeprefix("torch."),
        "logits": logits.tolist(),
        "prompt_ids": prompt_ids,
        "completion_ids": completion_ids,
        "text": tokenizer.decode(completion_ids, skip_special_tokens=True),
    }, sys.stdout)


if __name__ == "__main__":
    main()
