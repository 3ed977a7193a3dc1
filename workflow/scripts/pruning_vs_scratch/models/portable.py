"""Checkpoints that transformers 4 and 5 read as one model: what each of them looks for is written.

transformers 5 keeps all rotary settings in ``rope_parameters``, of which transformers 4 knows nothing: it would take
its own defaults without a word. It also has names of its own for the class and the further tokens of a tokenizer. No
torch here.
"""

import copy
import logging
from pathlib import Path
from typing import Any

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.catalogue import family_facts, family_of
from pruning_vs_scratch.files import CONFIG_FILE, TOKENIZER_CONFIG_FILE, read_json_object, write_json
from pruning_vs_scratch.models.config_checks import FULL, SLIDING, require_sizes, unreadable

log = logging.getLogger(__name__)

HEADS = "num_attention_heads"
NEW_TOKENIZER_CLASS, TOKENIZER_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
"""One class: its name in transformers 5 alone, and that in both versions."""
OUTSIDE_OF_SCALING = ("rope_theta", "partial_rotary_factor")
"""Rotary settings that transformers 4 reads next to ``rope_scaling``, not in it."""


def write_config(config: Any, folder: Path) -> None:
    """Write a Hugging Face model configuration into an existing folder."""
    facts = family_facts(family_of(config.model_type))
    if facts.refuses(hidden_size := config.hidden_size, heads := config.num_attention_heads):
        log.warning(
            "transformers 5 does not load a model whose hidden size (%d) is not a multiple of its heads (%d), although "
            "its head_dim is given; transformers 4 and this project do", hidden_size, heads,
        )  # fmt: skip
        config = copy.deepcopy(config)
        config.update({HEADS: 1})
    config.save_pretrained(folder)
    if config.num_attention_heads != heads:
        write_json(folder / CONFIG_FILE, read_json_object(folder / CONFIG_FILE) | {HEADS: heads})
    make_portable(folder)


def read_config(folder: Path) -> Any:
    """The model configuration of a folder, also one that transformers 5 refuses for its number of heads.

    Raises:
        UserError: it is missing or damaged, or transformers cannot read it.
    """
    values = read_json_object(folder / CONFIG_FILE)
    require_sizes(values, folder / CONFIG_FILE)
    try:
        return _parsed(values, folder)
    except Exception as error:  # the library has no class of its own for it
        raise unreadable(folder, error) from error


def _parsed(values: dict[str, Any], folder: Path) -> Any:
    from transformers import AutoConfig

    heads = values.get(HEADS)
    if not (heads and values.get("head_dim") and has_uneven_heads(values["hidden_size"], heads)):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    config = AutoConfig.for_model(**values | {HEADS: 1})
    # transformers checks the architecture when a configuration is made or saved.
    config.update({HEADS: heads})
    return config


def has_uneven_heads(hidden_size: int, heads: int) -> bool:
    """Whether transformers 5 refuses a model of some families; with head_dim given nothing depends on that."""
    return hidden_size % heads != 0


def make_portable(folder: Path) -> None:
    """Add what either version lacks to the configurations of a folder; what both read already stays as it is.

    A file is replaced, never changed in place: it may be linked to one of another folder.
    """
    for name, portable in ((CONFIG_FILE, _portable_model), (TOKENIZER_CONFIG_FILE, _portable_tokenizer)):
        file = folder / name
        if file.exists() and (changed := portable(values := read_json_object(file))) != values:
            write_json(file, changed)


def refuse_two_rotations(config: dict[str, Any], folder: Path) -> None:
    """Refuse a configuration whose rotary settings say one thing to transformers 4 and another to transformers 5.

    Raises:
        UserError: names the first key that differs, and both values.
    """
    new = config.get("rope_parameters")
    if isinstance(new, dict):
        new = new.get(FULL, new)
    if not isinstance(new, dict):
        return
    old = {key: config[key] for key in OUTSIDE_OF_SCALING if config.get(key) is not None}
    scaling = config.get("rope_scaling")
    old |= scaling if isinstance(scaling, dict) else {}
    pairs = [(key, value, new.get(key, value)) for key, value in old.items()]
    local, both = config.get("rope_local_base_freq"), config["rope_parameters"]
    if local is not None and isinstance(both.get(SLIDING), dict):
        pairs.append(("rope_local_base_freq", local, both[SLIDING].get("rope_theta", local)))
    for key, value, other in pairs:
        if other != value:
            raise UserError(
                f"{folder / CONFIG_FILE} has two values of {key}: {value!r}, which transformers 4 reads, and "
                f"{other!r} in rope_parameters, which transformers 5 reads; make them one"
            )


def _portable_model(config: dict[str, Any]) -> dict[str, Any]:
    portable = dict(config)
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and isinstance(rope.get(FULL), dict):
        theta = rope.get(SLIDING, {}).get("rope_theta")
        rope = rope[FULL]
        if theta != rope.get("rope_theta"):
            portable["rope_local_base_freq"] = theta
    if isinstance(rope, dict) and "rope_theta" in rope:
        portable |= {key: rope[key] for key in OUTSIDE_OF_SCALING if key in rope}
        if rope.get("rope_type", "default") != "default":
            portable["rope_scaling"] = {key: rope[key] for key in rope if key not in OUTSIDE_OF_SCALING}
    if "dtype" in config:
        portable["torch_dtype"] = config["dtype"]
    return portable


def _portable_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    portable = dict(config)
    if config.get("tokenizer_class") == NEW_TOKENIZER_CLASS:
        portable["tokenizer_class"] = TOKENIZER_CLASS
    # A list in transformers 5, but in transformers 4 a table of attributes.
    if isinstance(config.get("extra_special_tokens"), list):
        portable["additional_special_tokens"] = portable.pop("extra_special_tokens")
    return portable
