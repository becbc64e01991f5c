"""Compares rows of parquet-testing, as public-suites.mjs read them, with pyarrow's.

usage: public-suites.py SUITE ROWS_JSON
"""

import json
import math
import sys
from collections import Counter

import pyarrow.parquet as parquet


def equal(ours, theirs):
    """True, False, or None for a type that JSON writes in another way: bytes, maps, dates, decimals, UUIDs."""
    if theirs is None:
        return ours is None
    if isinstance(theirs, bool):
        return ours is theirs
    if isinstance(theirs, int):
        return str(ours) == str(theirs)
    if isinstance(theirs, float):
        if not math.isfinite(theirs):
            return ours in (None, "NaN", "Infinity", "-Infinity")
        return isinstance(ours, (int, float)) and abs(ours - theirs) <= 1e-12 * max(1, abs(theirs))
    if isinstance(theirs, str):
        return ours == theirs
    if isinstance(theirs, list) and not (theirs and isinstance(theirs[0], tuple)):
        return isinstance(ours, list) and len(ours) == len(theirs) and all_equal(map(equal, ours, theirs))
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and all_equal(equal(ours.get(key), value) for key, value in theirs.items())
    return None


def all_equal(results):
    results = list(results)
    return False if False in results else None if None in results else True


suite, path = sys.argv[1:]
outcomes = Counter()
for name, ours in json.load(open(path)).items():
    part = name.split("/")[0]
    try:
        theirs = parquet.read_table(f"{suite}/{name}", page_checksum_verification=False).to_pylist()
    except Exception:
        theirs = None
    if "error" in ours:
        outcome = "refused, as pyarrow does" if theirs is None else "refused, read by pyarrow"
    elif theirs is None:
        outcome = "read, refused by pyarrow"
    elif len(theirs) != len(ours["rows"]):
        outcome = "another number of rows"
    else:
        same = all_equal(equal(a, b) for a, b in zip(ours["rows"], theirs))
        outcome = {True: "equal", None: "equal, apart from types that JSON lacks", False: "other values"}[same]
    outcomes[f"{part}: {outcome}"] += 1
    if "equal" not in outcome and "as pyarrow" not in outcome:
        print(f"{name}: {outcome}: {ours.get('error', '')[:200]}")
for outcome, count in sorted(outcomes.items()):
    print(f"{outcome}: {count}")
