"""Lists the options of TRL's `trl dpo`, with their defaults.

    pip install torch==2.13.0 transformers==5.23.0 trl==1.16.0 peft==0.19.1
    python scripts/make-trl-options.py

Writes packages/cli/test/fixtures/trl-1.16-options.json: the fields of each dataclass that the command reads.
"""
import dataclasses, enum, json, pathlib
from trl import DatasetMixtureConfig, DPOConfig, ModelConfig, ScriptArguments


def default(field):
    value = field.default
    if value is dataclasses.MISSING:
        value = None if field.default_factory is dataclasses.MISSING else field.default_factory()
    return value.value if isinstance(value, enum.Enum) else value


classes = (DPOConfig, ModelConfig, ScriptArguments, DatasetMixtureConfig)
options = {one.__name__: {field.name: default(field) for field in dataclasses.fields(one)} for one in classes}
out = pathlib.Path(__file__).parent.parent / "packages/cli/test/fixtures/trl-1.16-options.json"
out.write_text(json.dumps(options, indent=2) + "\n")
