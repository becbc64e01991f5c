"""Pretrains the demo's model, a tiny Gemma-2, on the demo's text: about ten minutes on one CPU thread.

    pip install torch==2.13.0 transformers==5.23.0 tokenizers safetensors jinja2
    python scripts/make-demo-model.py --text demo/data/text.jsonl --pairs demo/data/train.jsonl --check demo/data/eval.jsonl \
        --out demo/model

--text trains the tokenizer, and, without the prompts of --pairs, the model: preference pairs that a model knows by heart teach it
little about others. The prompts of --check are not in --text; its answers only measure the loss.
"""
import argparse, importlib.util, json, math, os, random, time
import torch
from tokenizers import Regex, pre_tokenizers
from transformers import Gemma2Config, Gemma2ForCausalLM

spec = importlib.util.spec_from_file_location("make_golden", os.path.join(os.path.dirname(__file__), "make-golden.py"))
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)

SHAPE = dict(hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
             head_dim=48, query_pre_attn_scalar=48, sliding_window=128, max_position_embeddings=1024)


# a word with the space before it, as in sentencepiece; digits and newlines are separate
WORDS = pre_tokenizers.Sequence([
    pre_tokenizers.Split("\u2581", "merged_with_next"), pre_tokenizers.Split(Regex(r"\n|\d"), "isolated")])


def read(path):
    return [json.loads(line) for line in open(path)]


def sequence(tok, prompt, answer, max_tokens):
    """Returns the ids of a whole conversation, ending in <eos>, and the position where its answer starts."""
    head = tok.apply_chat_template([dict(role="user", content=prompt)], tokenize=False, add_generation_prompt=False)
    ids = lambda text: tok(text, add_special_tokens=False)["input_ids"]
    start = ids(head)
    whole = start + ids("<start_of_turn>model\n" + answer.strip() + "<end_of_turn>\n") + [tok.eos_token_id]
    return whole[:max_tokens], len(start)


def batches(sequences, tokens, rng):
    """Batches sequences of similar length, about `tokens` tokens per batch, in random order."""
    order = sorted(sequences, key=lambda s: (len(s[0]), rng.random()))
    out, batch = [], []
    for s in order:
        if batch and (len(batch) + 1) * len(s[0]) > tokens:
            out.append(batch)
            batch = []
        batch.append(s)
    rng.shuffle(out)
    return out + [batch]


def loss_of(model, batch, prompt_weight):
    """Mean cross entropy per token; a prompt token has weight `prompt_weight`, an answer token 1."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([i + [0] * (width - len(i)) for i, _ in batch])
    weight = torch.zeros(ids.shape)
    for row, (i, start) in enumerate(batch):
        weight[row, :start] = prompt_weight
        weight[row, start : len(i)] = 1.0
    logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits[:, :-1].float()
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return (each * weight[:, 1:]).sum() / weight[:, 1:].sum()


def answer_loss(model, sequences):
    """Mean negative log-likelihood per answer token."""
    total = count = 0.0
    with torch.no_grad():
        for ids, start in sequences:
            n = len(ids) - start
            total += loss_of(model, [(ids, start)], 0.0).item() * n
            count += n
    return total / count


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--text", required=True)
    ap.add_argument("--pairs", required=True)
    ap.add_argument("--check", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--vocabulary", type=int, default=3072)
    ap.add_argument("--epochs", type=int, default=6)
    ap.add_argument("--learning-rate", type=float, default=4e-3)
    ap.add_argument("--weight-decay", type=float, default=0.1)
    ap.add_argument("--batch-tokens", type=int, default=1024)
    ap.add_argument("--max-tokens", type=int, default=384)
    ap.add_argument("--prompt-weight", type=float, default=0.5)
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    rows = read(args.text)
    tok = golden.build_tokenizer([t for r in rows for t in [r["prompt"], *r["answers"]]], args.vocabulary, args.out, WORDS)
    paired = {r["prompt"] for r in read(args.pairs)}
    fit = [sequence(tok, r["prompt"], a, args.max_tokens) for r in rows if r["prompt"] not in paired for a in r["answers"]]
    check = [sequence(tok, r["prompt"], r[s][-1]["content"], args.max_tokens) for r in read(args.check) for s in ("chosen", "rejected")]
    model = Gemma2ForCausalLM(Gemma2Config(vocab_size=len(tok), attn_implementation="eager", bos_token_id=2,
                                           eos_token_id=[1, 107], pad_token_id=0, **SHAPE))
    print("parameters", sum(p.numel() for p in model.parameters()), "sequences", len(fit), "tokens", sum(len(i) for i, _ in fit))
    decayed = [p for n, p in model.named_parameters() if "norm" not in n]
    norms = [p for n, p in model.named_parameters() if "norm" in n]
    opt = torch.optim.AdamW([dict(params=decayed, weight_decay=args.weight_decay), dict(params=norms, weight_decay=0.0)],
                            lr=args.learning_rate, betas=(0.9, 0.95))
    epochs = [batches(fit, args.batch_tokens, rng) for _ in range(args.epochs)]
    steps, step, began = sum(map(len, epochs)), 0, time.time()
    for epoch, order in enumerate(epochs):
        mean = 0.0
        for batch in order:
            rate = args.learning_rate * min(1.0, (step + 1) / 50) * (0.1 + 0.45 * (1 + math.cos(math.pi * step / steps)))
            for g in opt.param_groups:
                g["lr"] = rate
            opt.zero_grad()
            loss = loss_of(model, batch, args.prompt_weight)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            mean += loss.item() / len(order)
            step += 1
        print(f"epoch {epoch + 1}: loss {mean:.3f}, held-out answers {answer_loss(model, check):.3f}, {time.time() - began:.0f} s", flush=True)
    model.to(torch.bfloat16).save_pretrained(args.out)


if __name__ == "__main__":
    main()
