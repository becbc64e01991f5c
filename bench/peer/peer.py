"""The side of TRL and transformers in the benchmark: does one turn for each line of JSON on stdin.

    python peer.py KIND '{"model": DIR, ...}'        KIND: versions step reference generate load data

Options of models: "dtype" (float32 or bfloat16: weights, and training under autocast), "checkpointing" (always: of every layer),
"lora_r" (a LoRA adapter of this rank on all linear layers, by PEFT, instead of full training).

A turn's answer is a line on stdout that starts with @; the first such line says that the side is ready. Everything else on
stdout and stderr comes from the libraries. See ours/ for the same kinds and requests.
"""
import copy, json, os, sys, tempfile, time

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1", TQDM_DISABLE="1",
                  HF_DATASETS_CACHE=tempfile.mkdtemp())  # in TMPDIR, which bench/main.ts removes
KIND, OPTIONS = sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
MAX_LENGTH = 2048


def answer(**answer):
    print("@" + json.dumps(answer), flush=True)


def peak_bytes():
    try:
        for line in open("/proc/self/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def request():
    """Reads the next turn's request; exits where there is none."""
    line = sys.stdin.readline()
    if line:
        return json.loads(line)
    sys.stdout.flush()
    os._exit(0)  # leaves the middle of a trainer


def wait_for_device():
    import torch
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device():
    import torch
    return "cuda" if torch.cuda.is_available() else "cpu"


def is_bfloat16():
    return OPTIONS.get("dtype") == "bfloat16"


def load_model():
    import torch
    from transformers import Gemma2ForCausalLM
    # eager: the other attention implementations ignore Gemma-2's soft cap of the scores, or do not run here
    dtype = torch.bfloat16 if is_bfloat16() else torch.float32
    return Gemma2ForCausalLM.from_pretrained(OPTIONS["model"], dtype=dtype, attn_implementation="eager")


def adapter():
    """PEFT's settings of the adapter; None for full training."""
    if "lora_r" not in OPTIONS:
        return None
    from peft import LoraConfig
    rank = OPTIONS["lora_r"]
    return LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def trainer_of(trainer_class, model, **more):
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig
    rows = [json.loads(line) for line in open(OPTIONS["pairs"])]
    data = Dataset.from_list([dict(prompt=r["chosen"][:-1], chosen=r["chosen"][-1:], rejected=r["rejected"][-1:]) for r in rows])
    config = DPOConfig(output_dir=os.environ["HF_DATASETS_CACHE"], per_device_train_batch_size=1, max_steps=10**6, learning_rate=1e-6,
                       lr_scheduler_type="constant", beta=0.01, use_weighting=True, bf16=is_bfloat16(), report_to=[], logging_steps=1,
                       save_strategy="no", use_cpu=not torch.cuda.is_available(), precompute_ref_log_probs=True,
                       max_length=MAX_LENGTH, disable_tqdm=True, train_sampling_strategy="sequential",
                       gradient_checkpointing=OPTIONS.get("checkpointing") == "always")
    if adapter() is not None:
        more["peft_config"] = adapter()
    return trainer_class(model=model, args=config, train_dataset=data,
                         processing_class=AutoTokenizer.from_pretrained(OPTIONS["model"]), **more)


def lengths(row):
    return {part: len(row[part + "_ids"]) for part in ("prompt", "chosen", "rejected")}


def check_turn(asked, pair):
    if asked["pair"] != pair:
        raise SystemExit(f"expected a request for pair {pair}, found one for pair {asked['pair']}")


def step():
    from transformers import TrainerCallback
    from trl import DPOTrainer

    class Turns(TrainerCallback):
        """Each optimizer step waits for its turn and answers when its loss is logged."""
        done = 0

        def on_step_begin(self, *_, **__):
            if self.done == 0:
                answer()
            self.pair = self.done % len(trainer.train_dataset)
            check_turn(request(), self.pair)
            self.start = time.perf_counter()

        def on_step_end(self, *_, **__):
            wait_for_device()
            self.seconds = time.perf_counter() - self.start
            self.peak = peak_bytes()
            self.done += 1

        def on_log(self, _args, _state, _control, logs=None, **__):
            if logs and "loss" in logs:
                answer(seconds=self.seconds, loss=float(logs["loss"]), lengths=lengths(trainer.train_dataset[self.pair]), peakBytes=self.peak)

    trainer = trainer_of(DPOTrainer, load_model(), callbacks=[Turns()])
    trainer.train()


def reference():
    import itertools
    from torch.utils.data import DataLoader
    from trl import DPOTrainer

    class Turns(DPOTrainer):
        def _precompute_ref_logps(self, dataset, name, batch_size):
            """As in TRL, but one batch per turn, repeated without end."""
            batches = self.accelerator.prepare(DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator, shuffle=False))
            batches = list(batches)
            answer()
            for pair in itertools.cycle(range(len(batches))):
                check_turn(request(), pair)
                start = time.perf_counter()
                chosen, rejected = self.compute_ref_log_probs(self.model, batches[pair])
                chosen, rejected = chosen.cpu().item(), rejected.cpu().item()
                seconds = time.perf_counter() - start
                answer(seconds=seconds, chosen=chosen, rejected=rejected, lengths=lengths(dataset[pair]), peakBytes=peak_bytes())

    trainer_of(Turns, load_model())


def generate():
    import torch
    from transformers import StoppingCriteria

    class FirstToken(StoppingCriteria):
        """Called after each token. It notes when the first one was there, and stops nothing."""
        seconds = None

        def __call__(self, ids, *_, **__):
            if self.seconds is None:
                wait_for_device()
                self.seconds = time.perf_counter() - start
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    model = load_model().to(device()).eval()
    model.generation_config.eos_token_id = None  # no stop token
    answer()
    while True:
        asked = request()
        prompts, longest = asked["prompts"], max(map(len, asked["prompts"]))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device())
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device())
        start = time.perf_counter()
        with torch.inference_mode():
            first = FirstToken()
            out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=asked["tokens"], do_sample=False, use_cache=True,
                                 stopping_criteria=[first])
        wait_for_device()
        answer(seconds=time.perf_counter() - start, firstTokenSeconds=first.seconds, ids=out[:, longest:].tolist(), peakBytes=peak_bytes())


def load():
    import torch
    from transformers import Gemma2ForCausalLM
    answer()
    request()
    start = time.perf_counter()
    model = load_model().to(device()).eval()
    wait_for_device()
    seconds = time.perf_counter() - start
    with torch.inference_mode():
        model.generate(input_ids=torch.arange(4, 22, device=device())[None], max_new_tokens=1, do_sample=False)
    wait_for_device()
    answer(seconds=seconds, firstTokenSeconds=time.perf_counter() - start, peakBytes=peak_bytes())
    request()


def data():
    from datasets import load_dataset
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM
    from trl import DPOConfig, DPOTrainer
    tokenizer = AutoTokenizer.from_pretrained(OPTIONS["model"])
    model = Gemma2ForCausalLM(Gemma2Config(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                           num_attention_heads=1, num_key_value_heads=1, head_dim=16))
    config = DPOConfig(output_dir=os.environ["HF_DATASETS_CACHE"], max_length=MAX_LENGTH, report_to=[], use_cpu=True, bf16=False,
                       dataset_num_proc=os.cpu_count(), disable_tqdm=True)
    answer()
    request()
    start = time.perf_counter()
    rows = load_dataset("json", data_files=OPTIONS["rows"], split="train").select_columns(["chosen", "rejected"])
    encoded = DPOTrainer(model=model, ref_model=copy.deepcopy(model), args=config, train_dataset=rows, processing_class=tokenizer).train_dataset
    seconds = time.perf_counter() - start
    tokens = sum(sum(map(len, encoded[part + "_ids"])) for part in ("prompt", "chosen", "rejected"))
    answer(seconds=seconds, rows=len(encoded), tokens=tokens, peakBytes=peak_bytes())
    request()


def versions():
    import datasets, torch, transformers, trl
    found = {module.__name__: module.__version__ for module in (torch, transformers, trl, datasets)}
    try:
        import peft
        found["peft"] = peft.__version__
    except ImportError:
        pass  # needed only for adapters
    answer(**found, python=sys.version.split()[0], device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")


{kind.__name__: kind for kind in (versions, step, reference, generate, load, data)}[KIND]()
