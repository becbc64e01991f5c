"""Computes the golden values for Gemma-2 and WPO with PyTorch and transformers.

    pip install torch==2.13.0 transformers==5.23.0 tokenizers safetensors jinja2
    golden=packages/gemma/test/fixtures/golden
    for variant in tiny odd; do
        python scripts/make-golden.py --variant $variant --pairs $golden/pairs.jsonl --out $golden/$variant
    done

The outputs are in packages/gemma/test/fixtures/golden: `tiny` (float32, one file, the current config layout) and `odd`
(bfloat16 shards, the layout of 2024, other head counts). model*.safetensors is the reference, policy.safetensors the same model
with perturbed weights, and expected.json the values that the TypeScript packages are compared with.

Everything is computed from the published formulas in plain PyTorch: token ids, logits, log-probabilities, WPO weights, losses,
gradients, and whole training runs. Run it with another --variant or --seed for cases that the code was never tuned to.
"""
import argparse, json, math, os
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)

VARIANTS = {
    "tiny": dict(vocab=4096, hidden_size=64, intermediate_size=160, num_hidden_layers=4, num_attention_heads=4,
                 num_key_value_heads=2, head_dim=32, query_pre_attn_scalar=32, sliding_window=48, dtype="float32", shard=None),
    "odd": dict(vocab=4096, hidden_size=96, intermediate_size=200, num_hidden_layers=3, num_attention_heads=6,
                num_key_value_heads=3, head_dim=16, query_pre_attn_scalar=24, sliding_window=32, dtype="bfloat16", shard="300KB"),
}


def build_tokenizer(texts, vocab, out, split=None):
    """Trains a small BPE like Gemma's: byte fallback, spaces as U+2581, no dummy prefix, Gemma's special ids. `split` is a
    pre-tokenizer that is used only during training; no merge crosses its pieces."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<2mass>", "[@BOS@]"] + [f"<unused{i}>" for i in range(99)]
    special += ["<start_of_turn>", "<end_of_turn>"]  # 106, 107
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.normalizer = normalizers.Replace(" ", "\u2581")
    if split:
        tok.pre_tokenizer = split
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=special + ["\n"] + byte_tokens, max_token_length=16)
    tok.train_from_iterator(texts, trainer)
    state = json.loads(tok.to_str())
    state["pre_tokenizer"] = None
    plain = set(byte_tokens) | {"\n"}  # in the vocabulary, but not special
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in plain]
    tok = Tokenizer.from_str(json.dumps(state))
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
                                   unk_token="<unk>", additional_special_tokens=["<start_of_turn>", "<end_of_turn>"])
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(out)
    return AutoTokenizer.from_pretrained(out)


def encode_pair(tok, row, completion):
    """Prompt and completion ids. 'turn': the completion is what the model samples, up to and with <end_of_turn>.
    'trl': as TRL 1.16 does it, prompt and prompt + completion tokenized whole; the completion starts where they differ.
    'paper': the header is part of the completion, which ends in <eos>."""
    ids = lambda text: tok(text, add_special_tokens=False)["input_ids"]
    turns = row["chosen"][:-1]
    render = lambda messages, generate: tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
    if completion == "trl":
        prompt = ids(render(turns, True))
        both = {side: ids(render(row[side], False)) for side in ("chosen", "rejected")}
        start = min(common_prefix_length(prompt, other) for other in both.values())
        return {"prompt": prompt[:start], **{side: other[start:] for side, other in both.items()}}
    out = {"prompt": ids(render(turns, completion != "paper"))}
    for side in ("chosen", "rejected"):
        text = row[side][-1]["content"].strip()
        if completion == "turn":
            out[side] = ids(text + "<end_of_turn>")
        else:
            out[side] = ids("<start_of_turn>model\n" + text + "<end_of_turn>\n") + [tok.eos_token_id]
    return out


def common_prefix_length(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def truncate(pair, mode, max_length, max_prompt_length):
    """'paper': cut the prompt at its start, then, if still too long, both answers to max_length - max_prompt_length.
    'keep_start': cut prompt + answer as one sequence to max_length."""
    p, c, r = pair["prompt"], pair["chosen"], pair["rejected"]
    if mode == "paper":
        longest = max(len(c), len(r))
        if len(p) + longest > max_length:
            p = p[-max_prompt_length:]
        if len(p) + longest > max_length:
            c, r = c[: max_length - max_prompt_length], r[: max_length - max_prompt_length]
        return dict(prompt=p, chosen=c, rejected=r)
    keep = lambda a: a[: max(0, max_length - len(p))]
    return dict(prompt=p[:max_length], chosen=keep(c), rejected=keep(r))


def token_stats(model, prompt, answer):
    """log p of each answer token, log sum_v p^2 and log max_v p at its position; all [len(answer)], float32."""
    ids = torch.tensor([prompt + answer])
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    logp = torch.log_softmax(logits, -1)
    picked = logp.gather(1, torch.tensor(answer)[:, None])[:, 0]
    return picked, torch.logsumexp(2 * logp, -1), logp.max(-1).values, logits


def alignment(picked, log_square, log_max, kind):
    with torch.no_grad():
        base = {"sampled": log_square, "greedy": log_max, "none": torch.zeros_like(log_max)}[kind]
        return (picked - base).mean()


def pair_terms(model, ref, pair, beta, kind="sampled", smoothing=0.0):
    out = {}
    for side in ("chosen", "rejected"):
        picked, sq, mx, _ = token_stats(model, pair["prompt"], pair[side])
        out[side] = picked.sum()
        out["align_" + side] = {k: alignment(picked, sq, mx, k) for k in ("sampled", "greedy", "none")}
        with torch.no_grad():
            out["ref_" + side] = token_stats(ref, pair["prompt"], pair[side])[0].sum()
    delta = (out["chosen"] - out["rejected"]) - (out["ref_chosen"] - out["ref_rejected"])
    raw = out["align_chosen"][kind] + out["align_rejected"][kind]
    out["weight"] = torch.exp(torch.clamp(raw, max=0.0)).detach()
    ls = torch.nn.functional.logsigmoid
    out["dpo"] = -(1 - smoothing) * ls(beta * delta) - smoothing * ls(-beta * delta)
    out["wpo"] = out["weight"] * out["dpo"]
    out["delta"] = delta
    return out


def fit(model, pairs, epochs=6, lr=3e-3):
    """Trains briefly on the answers, so that probabilities, weights and greedy text are not those of random weights."""
    opt = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(epochs):
        for p in pairs:
            for side in ("chosen", "rejected"):
                opt.zero_grad()
                (-token_stats(model, p["prompt"], p[side])[0].mean()).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()


def write_legacy_layout(out):
    """The file layout of the published Gemma-2 checkpoints: flat rope_theta, torch_dtype, no layer_types, and the chat
    template inside tokenizer_config.json."""
    path = os.path.join(out, "config.json")
    cfg = json.load(open(path))
    cfg["rope_theta"] = cfg.pop("rope_parameters")["rope_theta"]
    cfg["torch_dtype"] = cfg.pop("dtype")
    cfg["hidden_act"] = cfg["hidden_activation"]
    cfg["eos_token_id"] = 1
    for key in ("layer_types", "use_bidirectional_attention", "tie_word_embeddings"):
        cfg.pop(key, None)
    json.dump(cfg, open(path, "w"), indent=2)
    template = os.path.join(out, "chat_template.jinja")
    path = os.path.join(out, "tokenizer_config.json")
    tok = json.load(open(path))
    tok["chat_template"] = open(template).read()
    tok["tokenizer_class"] = "GemmaTokenizer"
    json.dump(tok, open(path, "w"), indent=2)
    os.remove(template)


def lr_at(step, total, warmup_ratio, peak):
    warm = math.ceil(warmup_ratio * total)
    if step < warm:
        return peak * step / max(1, warm)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def train(make, pairs, steps, accumulate, lr, beta, warmup_ratio=0.1, clip=1.0, weight_decay=0.0):
    """Pairs in file order, `accumulate` pairs per step, mean over a step's pairs, AdamW, linear warmup + cosine."""
    model, ref = make(), make()
    opt = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay)
    log = []
    for step in range(steps):
        opt.zero_grad()
        loss = wsum = 0.0
        for i in range(accumulate):
            t = pair_terms(model, ref, pairs[(step * accumulate + i) % len(pairs)], beta)
            (t["wpo"] / accumulate).backward()
            loss += t["wpo"].item() / accumulate
            wsum += t["weight"].item() / accumulate
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item()
        rate = lr_at(step, steps, warmup_ratio, lr)
        for g in opt.param_groups:
            g["lr"] = rate
        opt.step()
        log.append(dict(step=step + 1, loss=loss, grad_norm=norm, learning_rate=rate, weight=wsum))
    return log, model


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--variant", choices=VARIANTS, default="tiny")
    ap.add_argument("--pairs", required=True, help="JSONL rows with chosen / rejected message lists")
    ap.add_argument("--tokenizer-text", help="JSONL whose messages train the tokenizer (default: --pairs)")
    ap.add_argument("--out", required=True)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--skip", type=int, default=0, help="rows of --pairs to skip")
    args = ap.parse_args()
    v = dict(VARIANTS[args.variant])
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in open(args.pairs)][args.skip :]
    texts = [m["content"] for line in open(args.tokenizer_text or args.pairs) for s in ("chosen", "rejected") for m in json.loads(line)[s]]
    tok = build_tokenizer(texts, v.pop("vocab"), args.out)
    dtype, shard = v.pop("dtype"), v.pop("shard")
    cfg = Gemma2Config(vocab_size=len(tok), max_position_embeddings=512, attn_implementation="eager", use_cache=True,
                       bos_token_id=2, eos_token_id=[1, 107], pad_token_id=0, **v)
    model = Gemma2ForCausalLM(cfg)
    with torch.no_grad():  # large weights, so that both soft caps and the norms' (1 + w) matter
        for name, p in model.named_parameters():
            p.normal_(0.0, 0.1 if "norm" in name else 0.3 if "embed" in name else 1.5 / math.sqrt(p.shape[-1]))
    fit(model, [encode_pair(tok, r, "paper") for r in rows])
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(args.out, **({"max_shard_size": shard} if shard else {}))
    if args.variant == "odd":
        write_legacy_layout(args.out)

    def make():
        m = Gemma2ForCausalLM.from_pretrained(args.out, dtype=torch.float32, attn_implementation="eager")
        return m.eval()

    model = make()
    fmt = {c: [encode_pair(tok, r, c) for r in rows] for c in ("turn", "trl", "paper")}
    limits = dict(max_length=160, max_prompt_length=96)
    cut = {m: [truncate(p, m, **limits) for p in fmt["paper"]] for m in ("paper", "keep_start")}
    # pairs for the maths: the paper's completions under the paper's truncation
    pairs = cut["paper"]
    ref = make()
    with torch.no_grad():  # a policy that differs from its reference
        g = torch.Generator().manual_seed(args.seed + 1)
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g) * 0.05 * p.std())
    from safetensors.torch import save_file
    save_file({k: t.contiguous() for k, t in model.state_dict().items() if k != "lm_head.weight"}, os.path.join(args.out, "policy.safetensors"))
    terms = []
    for p in pairs:
        with torch.no_grad():
            t = pair_terms(model, ref, p, beta=0.1)
        terms.append({
            "chosen_tokens": len(p["chosen"]), "rejected_tokens": len(p["rejected"]), "prompt_tokens": len(p["prompt"]),
            "chosen_logps": t["chosen"].item(), "rejected_logps": t["rejected"].item(),
            "ref_chosen_logps": t["ref_chosen"].item(), "ref_rejected_logps": t["ref_rejected"].item(),
            "alignment": {s: {k: x.item() for k, x in t["align_" + s].items()} for s in ("chosen", "rejected")},
            "weight": t["weight"].item(), "dpo_loss": t["dpo"].item(), "wpo_loss": t["wpo"].item()})
    # gradients of the mean WPO loss over the first four pairs, at the moved policy
    model.zero_grad()
    sum(pair_terms(model, ref, p, beta=0.1)["wpo"] for p in pairs[:4]).div(4).backward()
    grads = {n: dict(norm=p.grad.norm().item(), sum=p.grad.sum().item(), first=p.grad.flatten()[:4].tolist())
             for n, p in model.named_parameters()}
    with torch.no_grad():
        ids = [i for p in pairs for i in p["prompt"] + p["chosen"]][:96]  # longer than the sliding window
        logits = ref(input_ids=torch.tensor([ids])).logits[0].float()
    sample_logits = dict(ids=ids, rows=[0, 47, 48, 49, 95], first8=[logits[i, :8].tolist() for i in (0, 47, 48, 49, 95)],
                         logsumexp=[logits[i].logsumexp(-1).item() for i in (0, 47, 48, 49, 95)], max_abs=logits.abs().max().item())
    greedy = []
    for p in fmt["turn"][:4]:
        out = ref.generate(input_ids=torch.tensor([p["prompt"][-120:]]), max_new_tokens=24, do_sample=False)
        greedy.append(dict(prompt=p["prompt"][-120:], completion=out[0, len(p["prompt"][-120:]) :].tolist()))
    trajectory, _ = train(make, pairs, steps=8, accumulate=4, lr=1e-3, beta=0.1)
    probe = ["Hello, world!", "  two  spaces\nand\ttabs", "caf\u00e9 \U0001F600 \u4f60\u597d", "<start_of_turn>user\nhi<end_of_turn>\n", ""]
    json.dump({
        "tokens": [dict(text=t, ids=tok(t, add_special_tokens=False)["input_ids"]) for t in probe],
        "formats": fmt, "truncation": dict(limits=limits, **cut), "pairs": terms, "gradients": grads,
        "logits": sample_logits, "greedy": greedy,
        "training": dict(steps=8, gradient_accumulation_steps=4, learning_rate=1e-3, beta=0.1, warmup_ratio=0.1, max_grad_norm=1.0,
                         completion="paper", **limits, log=trajectory),
    }, open(os.path.join(args.out, "expected.json"), "w"))
    print(args.out, "params", sum(p.numel() for p in model.parameters()), "pairs", len(rows), "weights",
          [round(t["weight"], 4) for t in terms][:6], "max |logit|", round(sample_logits["max_abs"], 2))
    print("trajectory", [(round(x["loss"], 4), round(x["grad_norm"], 3)) for x in trajectory])


if __name__ == "__main__":
    main()
