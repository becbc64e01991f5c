"""Selects the demo's preference pairs from published ones. No text or judgement is generated.

    python scripts/make-demo-data.py --pairs real-pairs.jsonl --out demo/data

--pairs holds UltraFeedback-style rows of three sources (demo/README.md says where they come from and under which
licences). The outputs are
  train.jsonl, eval.jsonl  LLMBar's adversarial pairs except the long ones: an answer that does what was asked, and one
                           that looks better and does something else. No prompt is in both
  text.jsonl               each prompt of all sources with all its answers, without the held-out prompts: the input of
                           make-demo-model.py
"""
import argparse, json, os, random

FIELDS = ("prompt", "prompt_id", "chosen", "rejected", "source")


def answer(row, side):
    return row[side][-1]["content"].strip()


def longest(row):
    return len(row["prompt"]) + max(len(answer(row, "chosen")), len(answer(row, "rejected")))


def is_selected(row, characters):
    return row["source"] == "llmbar" and row["dataset"].startswith("Adversarial/") and longest(row) <= characters


def split_by_prompt(rows, held_out, rng):
    """Holds out whole prompts until they have `held_out` rows; surplus rows of the last prompt are dropped."""
    prompts = sorted({r["prompt"] for r in rows})
    rng.shuffle(prompts)
    evaluation, hidden = [], set()
    for prompt in prompts:
        if len(evaluation) >= held_out:
            break
        hidden.add(prompt)
        evaluation += [r for r in rows if r["prompt"] == prompt]
    return [r for r in rows if r["prompt"] not in hidden], evaluation[:held_out], hidden


def write(path, rows):
    with open(path, "w") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(path, len(rows), "rows", os.path.getsize(path), "bytes")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--pairs", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--eval", type=int, default=64)
    ap.add_argument("--characters", type=int, default=1500, help="maximum length of a prompt with its longer answer")
    ap.add_argument("--text-characters", type=int, default=2000, help="the same, for text.jsonl")
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    rng = random.Random(args.seed)
    rows = [json.loads(line) for line in open(args.pairs)]
    train, evaluation, hidden = split_by_prompt([r for r in rows if is_selected(r, args.characters)], args.eval, rng)
    rng.shuffle(train)
    rng.shuffle(evaluation)
    os.makedirs(args.out, exist_ok=True)
    write(os.path.join(args.out, "train.jsonl"), [{k: r[k] for k in FIELDS} for r in train])
    write(os.path.join(args.out, "eval.jsonl"), [{k: r[k] for k in FIELDS} for r in evaluation])
    texts = {}
    for r in rows:
        if r["prompt"] in hidden:
            continue
        for side in ("chosen", "rejected"):
            text = answer(r, side)
            entry = texts.setdefault(r["prompt"], dict(prompt=r["prompt"], answers=[], source=r["source"]))
            if len(r["prompt"]) + len(text) <= args.text_characters and text not in entry["answers"]:
                entry["answers"].append(text)
    write(os.path.join(args.out, "text.jsonl"), [t for t in texts.values() if t["answers"]])


if __name__ == "__main__":
    main()
