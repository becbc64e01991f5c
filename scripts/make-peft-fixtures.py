"""Makes LoRA adapters with PEFT on the tiny golden model, and computes what they must give.

    pip install torch==2.13.0 transformers==5.23.0 trl==1.16.0 peft==0.19.1
    python scripts/make-peft-fixtures.py

Writes packages/gemma/test/fixtures/peft: one adapter folder per case, as PEFT's save_pretrained writes it, and expected.json with
the rank and factor of every module, the log-probs of the golden pairs with the adapter and after merge_and_unload, and the
gradients of the mean WPO loss over four pairs. Writes e2e/fixtures/peft-trajectory.json: ten steps of TRL's DPOTrainer, started
from two of these adapters.

Everything is float32 on the CPU. The adapters have a non-zero B, so that they change the model.
"""
import json, math, os, shutil, tempfile, warnings
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer, Gemma2ForCausalLM
from trl import DPOConfig, DPOTrainer

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
fixtures = os.path.join(root, "packages/gemma/test/fixtures")
tiny = os.path.join(fixtures, "golden/tiny")
out = os.path.join(fixtures, "peft")
torch.set_num_threads(1)
warnings.filterwarnings("ignore")

# The settings of each adapter. The patterns match in each of the ways that PEFT allows: a module's last name, the end of its path,
# a regular expression.
CASES = {
    "all-linear": dict(r=4, lora_alpha=8, target_modules="all-linear"),
    "query-value": dict(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"]),
    "rslora": dict(r=4, lora_alpha=4, target_modules=["q_proj", "down_proj"], use_rslora=True),
    "dora": dict(r=2, lora_alpha=4, target_modules="all-linear", use_dora=True),
    "patterns": dict(
        r=2, lora_alpha=4, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"],
        rank_pattern={"q_proj": 4, "layers.1.mlp.down_proj": 1, r"model\.layers\.[23]\.self_attn\.v_proj": 3},
        alpha_pattern={r".*\.k_proj": 7, "layers.2.self_attn.q_proj": 3, "proj": 99},
    ),
    "layers": dict(r=2, lora_alpha=4, target_modules=["q_proj", "up_proj"], layers_to_transform=[0, 2], layers_pattern="layers"),
    "expression": dict(
        r=2, lora_alpha=2, use_rslora=True, use_dora=True,
        target_modules=r"model\.layers\.([13]|0)\.(self_attn\.(q|o)|mlp\.up)_proj",
    ),
    "excluded": dict(r=2, lora_alpha=4, target_modules=["self_attn.k_proj", "gate_proj"], exclude_modules=["layers.0.mlp.gate_proj"],
                     lora_dropout=0.25, init_lora_weights="gaussian"),
}
BETA = 0.1
expected = json.load(open(os.path.join(tiny, "expected.json")))
PAIRS = expected["truncation"]["paper"]  # the pairs of the golden log-probs and gradients

load = lambda: Gemma2ForCausalLM.from_pretrained(tiny, dtype=torch.float32, attn_implementation="eager").eval()


def token_stats(model, prompt, answer):
    """log p of each answer token, and log sum_v p^2 at its position."""
    ids = torch.tensor([prompt + answer])
    logp = torch.log_softmax(model(input_ids=ids).logits[0, len(prompt) - 1 : -1], -1)
    return logp.gather(1, torch.tensor(answer)[:, None])[:, 0], torch.logsumexp(2 * logp, -1)


@torch.no_grad()
def logps(model):
    return [{side: token_stats(model, p["prompt"], p[side])[0].sum().item() for side in ("chosen", "rejected")} for p in PAIRS]


def wpo_loss(model, pair, reference):
    """WPO with alignment 'sampled': min(exp(alignment), 1) times the DPO loss."""
    terms = {side: token_stats(model, pair["prompt"], pair[side]) for side in ("chosen", "rejected")}
    raw = sum((picked - squares).mean().detach() for picked, squares in terms.values())
    delta = sum(sign * (terms[side][0].sum() - reference[side]) for side, sign in (("chosen", 1), ("rejected", -1)))
    return torch.exp(raw.clamp(max=0.0)) * -torch.nn.functional.logsigmoid(BETA * delta)


def perturb(model, generator):
    """Values as training could leave them: A and B random, the magnitudes a little off."""
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        noise = torch.randn(p.shape, generator=generator)
        if "lora_A" in name:
            p.data = noise / math.sqrt(p.shape[1])
        elif "lora_B" in name:
            p.data = noise * 0.15 / math.sqrt(p.shape[1])
        else:
            p.data = p.data * (1 + 0.05 * noise)


def gradient_of(p):
    """Norm and first values, and the sum of values times cos(1), cos(2), ..., which depends on all of them."""
    flat = p.grad.flatten().double()
    return dict(norm=flat.norm().item(), first=flat[:4].tolist(), cosine=(flat * torch.cos(torch.arange(1.0, len(flat) + 1).double())).sum().item())


def module_name(name):
    """A parameter's name as save_pretrained writes it."""
    return name.replace(".default", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def make_case(name, settings):
    torch.manual_seed(0)
    model = get_peft_model(load(), LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    perturb(model, torch.Generator().manual_seed(sum(map(ord, name))))
    folder = os.path.join(out, name)
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    path = os.path.join(folder, "adapter_config.json")
    config = json.load(open(path))
    config["base_model_name_or_path"] = "golden/tiny"
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config[key], list):
            config[key] = sorted(config[key])  # PEFT writes a set, in any order
    json.dump(config, open(path, "w"), indent=2)

    model = PeftModel.from_pretrained(load(), folder, is_trainable=True).eval()
    modules = {key.removeprefix("base_model.model."): dict(r=m.r["default"], scaling=m.scaling["default"])
               for key, m in model.named_modules() if hasattr(m, "lora_A") and hasattr(m, "scaling")}
    with torch.no_grad(), model.disable_adapter():
        reference = logps(model)
    pairs = list(zip(PAIRS[:4], reference))
    loss = sum(wpo_loss(model, p, r) for p, r in pairs) / len(pairs)
    loss.backward()
    gradients = {module_name(n): gradient_of(p) for n, p in model.named_parameters() if p.requires_grad}
    if "exclude_modules" in settings:
        gradients = {}  # the case is about its configuration
    with_adapter = logps(model)
    merged = logps(model.merge_and_unload())
    largest = max(abs(a[s] - b[s]) for a, b in zip(with_adapter, reference) for s in a)
    print(f"{name}: {len(modules)} modules, loss {loss.item():.4f}, log-probs move by up to {largest:.2f}")
    return dict(modules=modules, logps=with_adapter, mergedLogps=merged, loss=loss.item(), gradients=gradients)


class RecordingTrainer(DPOTrainer):
    """Records the values that TRL logs for each step, unrounded."""

    def __init__(self, **options):
        self.steps = []
        super().__init__(**options)

    def log(self, logs, start_time=None):
        super().log(logs, start_time)
        if "loss" in logs:
            names = ("loss", "grad_norm", "learning_rate", "num_tokens", "logps/chosen", "logps/rejected", "rewards/chosen",
                     "rewards/rejected", "rewards/accuracies", "rewards/margins")
            self.steps.append({name: logs[name] for name in names})


def trajectory(adapter):
    """Ten steps that train an adapter further. TRL's reference is then a copy of this adapter, and not the base model."""
    settings = dict(per_device_train_batch_size=2, gradient_accumulation_steps=1, max_steps=10, learning_rate=1e-3, beta=BETA)
    config = DPOConfig(output_dir=tempfile.mkdtemp(), report_to=[], use_cpu=True, bf16=False, max_length=2048, logging_steps=1,
                       save_strategy="no", disable_tqdm=True, use_weighting=True, train_sampling_strategy="sequential",
                       gradient_checkpointing=False, **settings)
    model = PeftModel.from_pretrained(load(), os.path.join(out, adapter), is_trainable=True)
    rows = [json.loads(line) for line in open(os.path.join(fixtures, "golden/pairs.jsonl"))]
    data = [dict(prompt=r["chosen"][:-1], chosen=r["chosen"][-1:], rejected=r["rejected"][-1:]) for r in rows]
    run = RecordingTrainer(model=model, args=config, train_dataset=Dataset.from_list(data),
                           processing_class=AutoTokenizer.from_pretrained(tiny))
    run.train()
    trained = sorted(name for name, p in run.model.named_parameters() if p.requires_grad)
    assert all(".default" in name and "lora_" in name for name in trained), trained
    after = {module_name(n): dict(norm=p.norm().item(), first=p.flatten()[:4].tolist())
             for n, p in run.model.named_parameters() if p.requires_grad}
    return dict(adapter=adapter, settings=settings, steps=run.steps, parameters=after)


shutil.rmtree(out, ignore_errors=True)
cases = {name: make_case(name, settings) for name, settings in CASES.items()}
json.dump(dict(beta=BETA, cases=cases), open(os.path.join(out, "expected.json"), "w"))
runs = [trajectory("all-linear"), trajectory("dora")]
json.dump(runs, open(os.path.join(root, "e2e/fixtures/peft-trajectory.json"), "w"), indent=1)
for run in runs:
    for step in run["steps"]:
        print(run["adapter"], {name: round(value, 5) for name, value in step.items()})
