"""What latadj reads of other packages' internals: each by name, with its reason and a test of what we rely on.

A name that is read and not listed fails here. Take public API in its place if there is some; otherwise list it, with a
check that fails as soon as a release behaves otherwise.
"""

import ast
import copy
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import accelerate
import evaluate
import pytest
import torch
from accelerate.state import AcceleratorState
from conftest import use_checkpointing
from datasets import Dataset, Features, Value
from helpers.tiny_models import tiny
from torch import nn
from transformers import Trainer, TrainingArguments

import latadj

PRIVATE = re.compile(r"_[A-Za-z]\w*")
# Of these, modules below the top are read by name too: few of them are documented.
WATCHED = {"accelerate", "datasets", "huggingface_hub", "hydra", "omegaconf", "safetensors", "torch", "transformers"}
PUBLIC = {
    "hydra.core.hydra_config.HydraConfig",
    "hydra.errors.ConfigCompositionException",
    "hydra.errors.HydraException",
    "huggingface_hub.errors.HFValidationError",
    "huggingface_hub.errors.HfHubHTTPError",
    "huggingface_hub.errors.LocalEntryNotFoundError",
    "huggingface_hub.utils.validate_repo_id",
    "hydra.errors.MissingConfigException",
    "omegaconf.errors.InterpolationResolutionError",
    "omegaconf.errors.OmegaConfBaseException",
    "safetensors.torch.load_file",
    "safetensors.torch.load_model",
    "safetensors.torch.save_file",
    "safetensors.torch.save_model",
    "torch.nn.functional",
    "torch.nn.functional.cross_entropy",
    "torch.nn.functional.scaled_dot_product_attention",
    "torch.nn.parallel.DistributedDataParallel",
    "torch.nn.utils.rnn.pad_sequence",
    "torch.optim.swa_utils.get_ema_multi_avg_fn",
    "torch.overrides.TorchFunctionMode",
    "torch.utils.data.Sampler",
    "transformers.modeling_outputs.BaseModelOutput",
    "transformers.modeling_outputs.QuestionAnsweringModelOutput",
    "transformers.modeling_outputs.SequenceClassifierOutput",
    "transformers.modeling_outputs.TokenClassifierOutput",
    "transformers.utils.logging",
}
# Methods whose arguments are endings and beginnings of names.
ENDINGS = {"startswith", "endswith", "removeprefix", "removesuffix"}
# Endings of columns, and whatever begins with our own name, belong to nobody else; `_id` is a column of BEIR's files.
OURS = re.compile(r"_low|_high|_fp32|_id|_latadj\w*|_LATADJ_COMPLETE")


class Private(NamedTuple):
    name: str
    why: str
    check: Callable[[Path], None]


def trainer_of(folder: Path, kind: type[Trainer] = Trainer, **options: Any) -> Trainer:
    rows = Dataset.from_dict({"input_ids": [[1, 2, 3]] * 6, "labels": [0] * 6})
    options = {"per_device_train_batch_size": 2, "use_cpu": True, "report_to": [], **options}
    arguments = TrainingArguments(output_dir=str(folder), **options)
    return kind(model=tiny("bert", layers=1), args=arguments, train_dataset=rows)


def train_sampler(folder: Path) -> None:
    asked = []

    class Reversed(Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            asked.append(super()._get_train_sampler(train_dataset))
            return list(reversed(range(len(train_dataset))))

    assert list(inspect.signature(Trainer._get_train_sampler).parameters) == ["self", "train_dataset"]
    loader = trainer_of(folder, Reversed).get_train_dataloader()
    assert len(loader) == 3
    (own,) = asked
    assert sorted(own) == list(range(6))


def end_of_a_process(_: Path) -> None:
    ending = "import os, threading, time; threading.Thread(target=os._exit, args=(3,)).start(); time.sleep(30)"
    assert subprocess.run([sys.executable, "-c", ending], check=False).returncode == 3


def load_best_model(folder: Path) -> None:
    assert list(inspect.signature(Trainer._load_best_model).parameters) == ["self"]
    trainer = trainer_of(folder)
    best = folder / "best"
    trainer.save_model(str(best))
    weights = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    for weight in trainer.model.parameters():
        nn.init.zeros_(weight)
    trainer.state.best_model_checkpoint = str(best)
    trainer._load_best_model()
    torch.testing.assert_close(dict(trainer.model.state_dict()), weights)


def shared_submodules(_: Path) -> None:
    module = tiny("bert", layers=1).bert.encoder.layer[0]
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    twin.set_submodule("output", nn.Identity())
    assert twin.attention is module.attention
    assert not isinstance(module.output, nn.Identity)


def number_of_gpus(folder: Path) -> None:
    arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[])
    assert arguments.n_gpu <= 1
    arguments._n_gpu = 3
    assert arguments.n_gpu == 3


def is_initialized(_: Path) -> None:
    model = tiny("bert", layers=1)
    for module in model.modules():
        module._is_hf_initialized = False
    for name, weight in model.named_parameters():
        nn.init.constant_(weight, 7.0)
        if name != "classifier.weight":
            weight._is_hf_initialized = True
    model.initialize_weights()
    drawn = {name for name, weight in model.named_parameters() if not bool((weight == 7).all())}
    assert drawn == {"classifier.weight"}


def attention_implementation(_: Path) -> None:
    model = tiny("bert", layers=1)
    for name in ("eager", "sdpa"):
        model.set_attn_implementation(name)
        assert model.config._attn_implementation == model.base_model.config._attn_implementation == name


def checkpointing_function(_: Path) -> None:
    model = tiny("bert", layers=1).train()
    use_checkpointing(model, use_reentrant=False)
    (layer,) = model.base_model.encoder.layer
    assert layer.gradient_checkpointing
    calls = []

    def double(state: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return (state * 2).exp()

    state = torch.zeros(2, requires_grad=True)
    layer._gradient_checkpointing_func(double, state).sum().backward()
    assert len(calls) == 2
    torch.testing.assert_close(state.grad, torch.full((2,), 2.0))


def prepared_marks(_: Path) -> None:
    AcceleratorState._reset_state(True)
    try:
        model = tiny("bert", layers=1)
        forward = model.forward
        accelerate.Accelerator(mixed_precision="bf16", cpu=True).prepare(model)
        assert model.__dict__["_original_forward"] == forward
        assert model.__dict__["_is_accelerate_prepared"] is True
        assert "forward" in model.__dict__
    finally:
        AcceleratorState._reset_state(True)


def packed_weights(_: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias, rows = (torch.randn(*shape, generator=generator) for shape in ((16, 8), (16,), (4, 8)))
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    plain = nn.functional.linear(rows, weight, bias)
    for kind, variant, wanted in (
        ("none", "", plain),
        ("relu", "", plain.relu()),
        ("gelu", "none", nn.functional.gelu(plain)),
        ("gelu", "tanh", nn.functional.gelu(plain, approximate="tanh")),
    ):
        found = torch.ops.mkldnn._linear_pointwise.default(rows, packed, bias, kind, [], variant)
        torch.testing.assert_close(found, wanted)


def probe(owner: Callable[[], Any], name: str) -> Callable[[Path], None]:
    def check(_: Path) -> None:
        assert getattr(owner(), name)() in (True, False)

    return check


def freezing(_: Path) -> None:
    from torch._inductor import config

    before = config.freezing
    with config.patch(freezing=not before):
        assert config.freezing is not before
    assert config.freezing is before


def sliding_layer(_: Path) -> None:
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    config = tiny("mistral", "language", layers=2, sliding_window=3).config
    cache, grows, states = DynamicCache(config=config), DynamicCache(config=config), torch.zeros(1, 2, 4, 8)
    assert [type(layer) for layer in cache.layers] == [DynamicSlidingWindowLayer] * 2
    grows.layers = [DynamicLayer(), DynamicLayer()]
    for one, held in ((cache, 2), (grows, 4)):
        assert one.layers[0].get_seq_length() == 0
        one.update(states, states, 0)
        assert one.get_seq_length() == 4
        assert one.layers[0].keys.shape[2] == held


def dynamic_layer(_: Path) -> None:
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layer, states = DynamicLayer(), torch.arange(24.0).reshape(1, 2, 4, 3)
    assert not layer.is_initialized
    keys, values = layer.update(states, states + 1)
    assert layer.is_initialized
    assert layer.device == states.device
    assert layer.get_seq_length() == 4
    torch.testing.assert_close((keys, values), (states, states + 1))
    layer.crop(-1)
    torch.testing.assert_close((layer.keys, layer.values), (states[:, :, :3], states[:, :, :3] + 1))
    layer.batch_repeat_interleave(2)
    layer.reorder_cache(torch.tensor([1, 0]))
    layer.batch_select_indices(torch.tensor([0]))
    assert layer.keys.shape == (1, 2, 3, 3)
    cache = DynamicCache()
    assert cache.offloading is False
    cache.layers.append(layer)
    assert cache.get_seq_length() == 3


def conv1d(_: Path) -> None:
    from transformers.pytorch_utils import Conv1D

    layer, rows = Conv1D(5, 3), torch.ones(2, 3)
    assert layer.weight.shape == (3, 5)
    torch.testing.assert_close(layer(rows), rows @ layer.weight + layer.bias)


def checkpoint_prefix(folder: Path) -> None:
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

    trainer_of(folder, max_steps=1, save_strategy="steps", save_steps=1, disable_tqdm=True).train()
    assert (folder / f"{PREFIX_CHECKPOINT_DIR}-1" / "trainer_state.json").is_file()


def generation_config_name(folder: Path) -> None:
    from transformers import GenerationConfig
    from transformers.utils import GENERATION_CONFIG_NAME

    GenerationConfig(max_new_tokens=3).save_pretrained(folder)
    assert [path.name for path in folder.iterdir()] == [GENERATION_CONFIG_NAME]


def global_hydra(folder: Path) -> None:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    holder = GlobalHydra.instance()
    before = holder.hydra
    try:
        holder.clear()
        assert holder.hydra is None
        initialize_config_dir(config_dir=str(folder), job_name="some", version_base="1.3")
        inner = holder.hydra
        assert {"run_mode", "with_log_configuration"} <= set(inspect.signature(inner.compose_config).parameters)
    finally:
        holder.hydra = before
    assert GlobalHydra.instance().hydra is before


def job_runtime(_: Path) -> None:
    from hydra.core.utils import JobRuntime

    before = JobRuntime.instance().get("name")
    JobRuntime.instance().set("name", "some")
    assert JobRuntime.instance().get("name") == "some"
    JobRuntime.instance().set("name", before)


def hub_errors(_: Path) -> None:
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    assert issubclass(HfHubHTTPError, HTTPError)
    assert not issubclass(HTTPError, OSError)


def metric_of_ones_own(_: Path) -> None:
    class Sum(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            value = Value("float32")
            features = Features({"predictions": value, "references": value})
            return evaluate.MetricInfo(description="", citation="", features=features)

        def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
            return {"sum": sum(predictions) + sum(references)}

    assert Sum(keep_in_memory=True).compute(predictions=[1.0, 2.0], references=[3.0, 4.0]) == {"sum": 10.0}


def overrides_parser(_: Path) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    assert parser.parse_override("a=1").value() == 1
    with pytest.raises(HydraException):
        parser.parse_override("a=é")


def run_mode(_: Path) -> None:
    from hydra.types import RunMode

    assert {mode.name for mode in RunMode} >= {"RUN", "MULTIRUN"}


CPU = "how this processor computes is told under no public name; without the probe a slower kernel is taken in silence"
FUSED = "oneDNN's own layout of weights, with the activation fused, is open to graphs alone under public names"
HIDDEN = [
    Private(
        "_exit", "a thread cannot end its process otherwise; documented, though its name begins so", end_of_a_process
    ),
    Private(
        "_get_train_sampler", "the order of rows is kept to go on within an epoch, and no option sets it", train_sampler
    ),
    Private(
        "_load_best_model",
        "a training that was killed after its last step has its best weights yet to load",
        load_best_model,
    ),
    Private("_modules", "a copy of a module that shares its submodules, as nn.Module offers none", shared_submodules),
    Private("_n_gpu", "n_gpu has no setter, and DataParallel's threads would not see a profile", number_of_gpus),
    Private(
        "_is_hf_initialized",
        "initialize_weights draws what has no mark: the new head alone, not what was read",
        is_initialized,
    ),
    Private("_attn_implementation", "set_attn_implementation has no reading counterpart", attention_implementation),
    Private(
        "_gradient_checkpointing_func", "an eliminating layer checkpoints what it runs itself", checkpointing_function
    ),
    Private("_original_forward", "left behind by mixed precision, after which a clock would time it", prepared_marks),
    Private("_is_accelerate_prepared", "with it, a second training would go without mixed precision", prepared_marks),
    Private("_reorder_linear_weight", FUSED, packed_weights),
    Private("_linear_pointwise", FUSED, packed_weights),
    Private("_is_mkldnn_bf16_supported", CPU, probe(lambda: torch.ops.mkldnn, "_is_mkldnn_bf16_supported")),
    *(
        Private(name, CPU, probe(lambda: torch.cpu, name))
        for name in ("_is_vnni_supported", "_is_amx_tile_supported", "_is_avx512_bf16_supported")
    ),
    Private(
        "torch._inductor.config",
        "freezing has to hold around each call, which options of torch.compile cannot",
        freezing,
    ),
]
OVERRIDDEN = [
    Private("_info", "evaluate asks the author of a metric for it", metric_of_ones_own),
    Private("_compute", "evaluate asks the author of a metric for it", metric_of_ones_own),
]
UNDOCUMENTED = [
    Private(
        "huggingface_hub.errors.HTTPError",
        "a connection that breaks off, of httpx or httpx2, whichever the hub's client uses",
        hub_errors,
    ),
    Private(
        "transformers.cache_utils.DynamicLayer",
        "the layer of a cache that holds survivors derives from it",
        dynamic_layer,
    ),
    Private(
        "transformers.cache_utils.DynamicSlidingWindowLayer",
        "what a cache has for a layer with a window, which forgets by the number of what it holds",
        sliding_layer,
    ),
    Private("transformers.pytorch_utils.Conv1D", "GPT-2's maps, whose weights lie the other way round", conv1d),
    Private(
        "transformers.trainer_utils.PREFIX_CHECKPOINT_DIR", "what Trainer calls its checkpoints", checkpoint_prefix
    ),
    Private(
        "transformers.utils.GENERATION_CONFIG_NAME",
        "a pruned model is not read by from_pretrained",
        generation_config_name,
    ),
    Private("hydra.core.global_hydra.GlobalHydra", "a command inside another gives back the outer one's", global_hydra),
    Private(
        "hydra.core.utils.JobRuntime", "the outer command's name, which initialising Hydra anew overwrites", job_runtime
    ),
    Private(
        "hydra.core.override_parser.overrides_parser.OverridesParser",
        "whether Hydra's grammar takes a value as it is",
        overrides_parser,
    ),
    Private("hydra.types.RunMode", "asked for where a config is composed with Hydra's own part", run_mode),
]


@pytest.mark.parametrize("private", [*HIDDEN, *OVERRIDDEN, *UNDOCUMENTED], ids=lambda private: private.name)
def test_private_api_is_what_we_rely_on(private, tmp_path):
    assert private.why
    private.check(tmp_path)


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(Path(latadj.__file__).parent.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def defined(tree: ast.Module) -> set[str]:
    """Private names that a file defines: functions, classes, variables, and attributes that objects give themselves."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            found.add(node.attr)
    return {name for name in found if PRIVATE.fullmatch(name)}


def plain_strings(tree: ast.Module) -> Iterator[str]:
    """Strings that could name an attribute: no part of a longer one, and no ending that is looked for."""
    parts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(part) for part in node.values}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ENDINGS:
            parts |= {id(part) for argument in node.args for part in ast.walk(argument)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Whole names that a file imports, and what it calls them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            own = "latadj." * (node.level > 0)
            yield from ((f"{own}{node.module or ''}.{name.name}", name.asname or name.name) for name in node.names)
        elif isinstance(node, ast.Import):
            yield from ((name.name, name.asname or name.name.split(".")[0]) for name in node.names)


def root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def foreign(tree: ast.Module, package: set[str]) -> set[str]:
    """Private names that a file reads of others; ``package`` are those that latadj defines anywhere."""
    own, names = defined(tree), dict(imported(tree))
    modules = {called for name, called in names.items() if name.split(".")[0] == "latadj"}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            if is_own(node.value):
                known = node.attr in package
            else:
                inherited = isinstance(node.value, ast.Call) and root(node.value.func) == "super"
                known = not inherited and (node.attr in own or root(node.value) in modules)
            if not known:
                found.add(node.attr)
    for name in names:
        top, *below = name.split(".")
        if top != "latadj" and any(PRIVATE.fullmatch(part) for part in below):
            found.add(name)
    found |= {text for text in plain_strings(tree) if PRIVATE.fullmatch(text) and text not in own}
    return {name for name in found if not OURS.fullmatch(name)}


def test_every_private_name_is_listed():
    package = set().union(*(defined(tree) for _, tree in trees()))
    found: dict[str, set[str]] = {}
    for path, tree in trees():
        for name in foreign(tree, package):
            found.setdefault(name, set()).add(path.name)
    listed = {private.name for private in HIDDEN}
    assert {name: files for name, files in found.items() if name not in listed} == {}
    assert listed - set(found) == set(), "no longer read: take them off the list"


def test_every_undocumented_module_is_listed():
    found = {
        name
        for _, tree in trees()
        for name, _ in imported(tree)
        if name.split(".")[0] in WATCHED and name.count(".") > 1 and "._" not in name
    }
    assert found - PUBLIC - {private.name for private in UNDOCUMENTED} == set()
    assert {private.name for private in UNDOCUMENTED} - found == set(), "no longer read: take them off the list"


def test_every_private_method_that_is_overridden_is_listed():
    found = set()
    for module in pkgutil.walk_packages(latadj.__path__, "latadj."):
        for own in vars(importlib.import_module(module.name)).values():
            if not (inspect.isclass(own) and own.__module__ == module.name):
                continue
            others = [base for base in own.__mro__[1:] if base.__module__.split(".")[0] != "latadj"]
            found |= {
                name
                for name, value in vars(own).items()
                if PRIVATE.fullmatch(name)
                and (callable(value) or isinstance(value, property | classmethod | staticmethod))
                and any(name in vars(base) for base in others)
            }
    assert found - {private.name for private in [*HIDDEN, *OVERRIDDEN]} == set()
    assert found >= {"_get_train_sampler", *(private.name for private in OVERRIDDEN)}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import torch\nfound = torch._C._has_mkldnn", {"_C", "_has_mkldnn"}),
        ("def read(config):\n    return config._some", {"_some"}),
        ("def read(config):\n    return getattr(config, '_some', None)", {"_some"}),
        ("from torch._inductor import config", {"torch._inductor.config"}),
        ("import torch._dynamo", {"torch._dynamo"}),
        ("from transformers.utils import _some", {"transformers.utils._some"}),
        ("class Some(Base):\n    def _step(self):\n        return super()._step()", {"_step"}),
        ("class Some(Base):\n    def step(self):\n        return self._inherited", {"_inherited"}),
        (
            "class Some:\n    def __init__(self):\n        self._a = 1\n    def like(self, b):\n        return b._a",
            set(),
        ),
        ("from latadj.sidecar import FILE\nfound = FILE._name", set()),
        ("found = name.endswith('_ci') or f'{name}_low'", set()),
        ("mark = '_latadj_route'\ndunder = object.__name__", set()),
    ],
)
def test_what_the_scan_finds(source, names):
    tree = ast.parse(source)
    assert foreign(tree, defined(tree)) == names
