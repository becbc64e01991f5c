"""Writes 61,000 preference rows, as long as UltraFeedback's, as FOLDER/rows.{jsonl,jsonl.gz,jsonl.zst,parquet}.

python bench/make-files.py FOLDER   # pyarrow; Parquet in groups of 1,000 rows, as Python's datasets writes it
"""

import gzip
import json
import pathlib
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 61_000
PARTS = 5  # the most answers that are concatenated into one

folder = pathlib.Path(sys.argv[1])
source = [json.loads(line) for line in (pathlib.Path(__file__).parent / "pairs.jsonl").open()]
text = lambda side: side if isinstance(side, str) else side[-1]["content"]
answers = [text(row[side]) for row in source for side in ("chosen", "rejected")]
draw = random.Random(0)


def row(i: int) -> dict:
    prompt = f"{i}. {text(draw.choice(source)['prompt'])}"
    turns = lambda: [
        {"content": prompt, "role": "user"},
        {"content": "\n\n".join(draw.choices(answers, k=draw.randint(1, PARTS))), "role": "assistant"},
    ]
    return {"prompt": prompt, "prompt_id": str(i), "chosen": turns(), "rejected": turns(), "score_chosen": 8.0, "score_rejected": 6.5}


rows = [row(i) for i in range(ROWS)]
data = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()
(folder / "rows.jsonl").write_bytes(data)
with gzip.open(folder / "rows.jsonl.gz", "wb") as out:
    out.write(data)
with pa.CompressedOutputStream(str(folder / "rows.jsonl.zst"), "zstd") as out:
    out.write(data)
pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=1000)
