"""Compares the first step of a run of `wpo train` on a LoRA adapter with transformers and PEFT, for models larger than memory.

    pip install torch==2.13.0 transformers==5.23.0 peft==0.19.1
    python scripts/check-first-step.py adapter MODEL ADAPTER    # writes a LoRA adapter of MODEL, with random A and B
    wpo train run.yaml
    python scripts/check-first-step.py compare RUN              # RUN is the run's output_dir

In run.yaml, adapter_name_or_path is ADAPTER, ref_model_name_or_path is MODEL (so that policy and reference differ), use_peft is true,
train_file has one pair of plain strings, completion is trl, max_steps and logging_steps are 1. `compare` refuses runs whose loss it
does not compute.

The reference is Gemma2ForCausalLM with eager attention and PEFT's own LoRA layers, in float32. Only the embedding stays in memory. The
weights of a layer are read from the checkpoint when the layer runs, and again when its backward pass does. For Gemma-2 9B and a pair
of 256 tokens that takes 8.5 GB, without pages of mapped files.

Exits with status 1 if a metric of the run is further away than it may be.
"""
import argparse, glob, json, math, os, sys
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
import torch, yaml
from accelerate import init_empty_weights
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file
from torch.utils.checkpoint import checkpoint
from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

# What a run must have been trained with. The loss is −w log σ(β (Δ − Δ_ref)), of one pair.
SETTINGS = dict(
    precision="float32", loss_type=["sigmoid"], label_smoothing=0, f_divergence_type="reverse_kl", reference_free=False,
    use_weighting=True, alignment="sampled", clamp=True, temperature=1, attached=False, completion="trl",
    per_device_train_batch_size=1, gradient_accumulation_steps=1, logging_steps=1,
)
# Largest relative differences of two float32 computations. A reward is β times a difference of two log-probs: its difference is
# compared with β times the log-prob.
LIMIT, LIMIT_GRAD_NORM = 1e-5, 1e-4


class Streamed(torch.nn.Module):
    """A decoder layer whose frozen weights are in memory only while it runs, forward or backward."""

    def __init__(self, layer, prefix, read):
        super().__init__()
        self.layer, self.prefix, self.read = layer, prefix, read
        self.frozen = [name for name, p in layer.named_parameters() if not p.requires_grad]

    def forward(self, hidden, **inputs):
        return checkpoint(self.run, hidden, use_reentrant=False, **inputs)

    def run(self, hidden, **inputs):
        weights = {name: self.read(self.prefix + name.replace(".base_layer", "")) for name in self.frozen}
        return torch.func.functional_call(self.layer, weights, (hidden,), inputs)


def lora_model(folder, config):
    """The model with an adapter, without memory for weights; and the names of the adapter's tensors."""
    config.inference_mode = False
    with init_empty_weights():
        base = Gemma2ForCausalLM._from_config(Gemma2Config.from_pretrained(folder), dtype=torch.float32, attn_implementation="eager")
    base.name_or_path = folder
    model = get_peft_model(base, config, low_cpu_mem_usage=True)
    return model, [name for name, p in model.named_parameters() if p.requires_grad]


def write_adapter(folder, out, rank, seed):
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model, names = lora_model(folder, config)
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name in names:
        noise = torch.randn(model.get_parameter(name).shape, generator=generator)
        values[name] = noise / math.sqrt(noise.shape[1]) if "lora_A" in name else 0.01 * noise
    model.load_state_dict(values, strict=False, assign=True)
    model.save_pretrained(out, save_embedding_layers=False)


def load_streamed(folder, adapter):
    model, names = lora_model(folder, LoraConfig.from_pretrained(adapter))
    values = load_file(os.path.join(adapter, "adapter_model.safetensors"))
    model.load_state_dict({name: values.pop(name.replace(".default", "")).float() for name in names}, strict=False, assign=True)
    files = [safe_open(path, framework="pt") for path in glob.glob(os.path.join(folder, "*.safetensors"))]
    file_of = {name: file for file in files for name in file.keys()}
    read = lambda name: file_of[name].get_tensor(name).float()
    gemma = model.get_base_model()
    gemma.lm_head.weight = gemma.model.embed_tokens.weight = torch.nn.Parameter(read("model.embed_tokens.weight"), requires_grad=False)
    gemma.model.norm.weight = torch.nn.Parameter(read("model.norm.weight"), requires_grad=False)
    for i, layer in enumerate(gemma.model.layers):
        gemma.model.layers[i] = Streamed(layer, f"model.layers.{i}.", read)
    left = [name for name, p in model.named_parameters() if p.is_meta and (p.requires_grad or ".layers." not in name)]
    assert not left and not values, f"no values for {left}, or no module for {list(values)}"
    return model


def pair_logps(model, prompt, answers):
    """Of both answers, as one batch: log p of each token, and log sum_v p_v^2 at its position without a gradient."""
    length = max(map(len, answers))
    rows = [prompt + answer + [0] * (length - len(answer)) for answer in answers]
    mask = [[1] * (len(prompt) + len(answer)) + [0] * (length - len(answer)) for answer in answers]
    positions = torch.arange(len(prompt) - 1, len(prompt) + length - 1)
    logits = model(input_ids=torch.tensor(rows), attention_mask=torch.tensor(mask), use_cache=False, logits_to_keep=positions).logits
    result = []
    for row, answer in zip(logits, answers):
        row = row[: len(answer)]
        total = row.logsumexp(-1)
        with torch.no_grad():
            squares = (2 * row).logsumexp(-1) - 2 * total
        result.append((row.gather(1, torch.tensor(answer)[:, None])[:, 0] - total, squares))
    return result


def read_pair(settings):
    rows = [json.loads(line) for line in open(settings["train_file"])]
    keys = ("prompt", "chosen", "rejected")
    if len(rows) != 1 or not all(isinstance(rows[0].get(key), str) for key in keys):
        sys.exit(f"{settings['train_file']}: expected one row with the strings {', '.join(keys)}, found {len(rows)} rows")
    tokenizer = AutoTokenizer.from_pretrained(settings["model_name_or_path"])
    prompt = tokenizer(rows[0]["prompt"])["input_ids"]
    whole = [tokenizer(rows[0]["prompt"] + rows[0][key])["input_ids"] for key in keys[1:]]
    assert all(ids[: len(prompt)] == prompt for ids in whole), "the last token of the prompt is merged with the answer"
    return prompt, [ids[len(prompt) :] + [tokenizer.eos_token_id] for ids in whole]


def first_step(settings):
    """The metrics of the first step, by PyTorch."""
    beta = settings["beta"]
    prompt, answers = read_pair(settings)
    model = load_streamed(settings["model_name_or_path"], settings["adapter_name_or_path"])
    with torch.no_grad(), model.disable_adapter():
        reference = [logps.double().sum() for logps, _ in pair_logps(model, prompt, answers)]
    pair = pair_logps(model, prompt, answers)
    chosen, rejected = (beta * (logps.double().sum() - ref) for (logps, _), ref in zip(pair, reference))
    scores = sum((logps.detach() - squares).double().mean() for logps, squares in pair)
    weight = scores.clamp(max=0).exp()
    loss = -weight * torch.nn.functional.logsigmoid(chosen - rejected)
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    metrics = {
        "loss": loss,
        "grad_norm": torch.stack([g.double().square().sum() for g in gradients]).sum().sqrt(),
        "wpo/weight": weight,
        "logps/chosen": pair[0][0].double().sum(),
        "logps/rejected": pair[1][0].double().sum(),
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
    }
    tokens = sum(len(prompt + answer) for answer in answers)
    return {"num_tokens": tokens, **{name: value.item() for name, value in metrics.items()}}


def compare(run):
    settings = yaml.safe_load(open(os.path.join(run, "config.yaml")))
    expected = {**SETTINGS, "ref_model_name_or_path": settings["model_name_or_path"]}
    for key, value in expected.items():
        if settings.get(key) != value:
            sys.exit(f"{run}/config.yaml: {key}: expected {value!r}, found {settings.get(key)!r}")
    ours = json.loads(open(os.path.join(run, "metrics.jsonl")).readline())
    theirs = first_step(settings)
    print(f"{'':16} {'wpo train':>18} {'PyTorch':>18} {'difference':>12} {'at most':>10}")
    wrong = []
    for name, value in theirs.items():
        scale = settings["beta"] * abs(theirs["logps/chosen"]) if name.startswith("rewards/") else abs(value)
        limit = scale * (0 if name == "num_tokens" else LIMIT_GRAD_NORM if name == "grad_norm" else LIMIT)
        found = math.nan if ours[name] is None else ours[name]  # JSON has no NaN
        difference = abs(found - value)
        print(f"{name:16} {found:18.10g} {value:18.10g} {difference:12.2e} {limit:10.1e}")
        if not difference <= limit:  # NaN, too
            wrong.append(name)
    if wrong:
        sys.exit(f"differs: {', '.join(wrong)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    adapter = commands.add_parser("adapter")
    adapter.add_argument("model")
    adapter.add_argument("out")
    adapter.add_argument("--rank", type=int, default=16)
    adapter.add_argument("--seed", type=int, default=0)
    commands.add_parser("compare").add_argument("run")
    args = parser.parse_args()
    if args.command == "adapter":
        write_adapter(args.model, args.out, args.rank, args.seed)
    else:
        compare(args.run)
