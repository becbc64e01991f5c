"""Records ten steps of TRL's own WPO trainer on the 16 golden pairs, which e2e/trl-trajectory.test.ts reproduces.

    pip install torch==2.13.0 transformers==5.23.0 trl==1.16.0
    python scripts/make-trl-trajectory.py

Writes e2e/fixtures/trl-trajectory.json, and packages/data/test/fixtures/tiny/trl-tokens.json with the token ids that TRL makes
from the pairs, once as messages and once as plain text. Both come from TRL's DPOTrainer itself.

The run is float32 on the CPU, two pairs a step in file order, no dropout. Settings that are not named here are TRL's
defaults: AdamW with betas 0.9 and 0.999, epsilon 1e-8 and no weight decay; a linear schedule without warm-up; gradients
clipped at norm 1; loss `sigmoid` without label smoothing; weights that are not limited to 1.
"""
import json, os, tempfile
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")
import torch
from datasets import Dataset
from transformers import AutoTokenizer, Gemma2ForCausalLM
from trl import DPOConfig, DPOTrainer

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
golden = os.path.join(root, "packages/gemma/test/fixtures/golden")
tiny = os.path.join(golden, "tiny")
torch.set_num_threads(1)
rows = [json.loads(line) for line in open(os.path.join(golden, "pairs.jsonl"))]
tok = AutoTokenizer.from_pretrained(tiny)
load = lambda: Gemma2ForCausalLM.from_pretrained(tiny, dtype=torch.float32, attn_implementation="eager")
settings = dict(per_device_train_batch_size=2, gradient_accumulation_steps=1, max_steps=10, learning_rate=1e-3, beta=0.1)
config = DPOConfig(output_dir=tempfile.mkdtemp(), report_to=[], use_cpu=True, bf16=False, max_length=2048, logging_steps=1,
                   save_strategy="no", disable_tqdm=True, use_weighting=True, train_sampling_strategy="sequential", **settings)


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


def trainer(data):
    return RecordingTrainer(model=load(), ref_model=load(), args=config, train_dataset=Dataset.from_list(data), processing_class=tok)


def tokens(run):
    return [{part: list(row[part + "_ids"]) for part in ("prompt", "chosen", "rejected")} for row in run.train_dataset]


messages = [dict(prompt=r["chosen"][:-1], chosen=r["chosen"][-1:], rejected=r["rejected"][-1:]) for r in rows]
strings = [dict(prompt=r["chosen"][-2]["content"], chosen=r["chosen"][-1]["content"], rejected=r["rejected"][-1]["content"]) for r in rows]
run = trainer(messages)
ids = dict(messages=tokens(run), strings=tokens(trainer(strings)))
run.train()
optimizer = run.optimizer.optimizer if hasattr(run.optimizer, "optimizer") else run.optimizer
group = {name: optimizer.param_groups[0][name] for name in ("betas", "eps", "weight_decay")}
defaults = dict(optimizer=type(optimizer).__name__, **group, schedule=str(config.lr_scheduler_type.value), warmup_steps=config.warmup_steps,
                max_grad_norm=config.max_grad_norm, loss_type=config.loss_type, label_smoothing=config.label_smoothing)
json.dump(ids, open(os.path.join(root, "packages/data/test/fixtures/tiny/trl-tokens.json"), "w"))
os.makedirs(os.path.join(root, "e2e/fixtures"), exist_ok=True)
json.dump(dict(settings=settings, defaults=defaults, steps=run.steps), open(os.path.join(root, "e2e/fixtures/trl-trajectory.json"), "w"), indent=1)
for step in run.steps:
    print({name: round(value, 5) for name, value in step.items()})
