"""Settings of a training run: one dataclass, the paper's defaults per data set, files and checks.

The defaults and the texts below are also what `python -m minisasrec.train --help` shows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from minisasrec.border import json_value, reading
from minisasrec.budget import Weights
from minisasrec.data.batches import Order
from minisasrec.data.dataset import Repeats
from minisasrec.data.options import ReadingOptions
from minisasrec.data.registry import DATASETS, SPARSE, DatasetSpec
from minisasrec.data.split import LEAVE_ONE_OUT, Split, spelled_once
from minisasrec.errors import ConfigError
from minisasrec.learn.machine import MachineOptions
from minisasrec.models import MODELS, Model, SequenceModel
from minisasrec.models.caser import CaserConfig
from minisasrec.models.factors import FactorConfig
from minisasrec.models.gru4rec import GRU4RecConfig, GRU4RecPlusConfig
from minisasrec.models.ranges import check_choices, check_least, check_numbers, check_shares, flag
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.models.simple import RecentConfig

# settings that change no number, or say where the data is, which has a fingerprint
NO_NUMBERS = {"dataset", "data_dir", "columns", "machine", "keep_histories", "out", "resume"}
NO_NUMBERS |= {"detect_anomaly", "tensorboard", "dry_run", "json"}

Selection = Literal["sampled", "full"]
ModelName = Literal[
    "sasrec",
    "bpr",
    "fmc",
    "fpmc",
    "transrec",
    "gru4rec",
    "gru4rec+",
    "caser",
    "poprec",
    "recentpop",
    "markov",
]


@dataclass(frozen=True)
class TrainConfig:
    """Train a sequential recommender and report how well it ranks.

    Without arguments: SASRec on the invented "bookshop" data set, no download, a few minutes.
    """

    # The defaults are those of the command for a file of one's own. `preset` has those of the
    # public data sets.

    dataset: str = "bookshop"
    """A name in `minisasrec.data.DATASETS`, or the path of a file of your own."""
    data_dir: Path | None = None
    """Folder that holds the data set's files already, zipped or not: nothing is downloaded."""
    columns: ReadingOptions = field(default_factory=ReadingOptions)
    """How a log of your own is read."""
    repeats: Repeats = "auto"
    """Whether items that a user has met may come again: as candidates, and as recommendations.
    auto: allow where 5% or more of the validation targets were met before, else forbid."""
    split: str = LEAVE_ONE_OUT
    """leave-one-out: the last action of each user is for test, the one before for validation (the
    paper). time:0.9: the actions before a moment are for training, nine tenths of all here, and
    what each user does next is the target; see docs/splits.md."""
    model: ModelName = "sasrec"
    """sasrec; or to compare with (Sec. IV-B): bpr (matrix factorisation), fmc (factorised Markov
    chain), fpmc (both), transrec (translations), gru4rec and gru4rec+ (recurrent), caser
    (convolutions); poprec (popularity), recentpop (popularity of the last days) and markov (counted
    item-to-item chain), which need no training."""
    sasrec: SASRecConfig = field(default_factory=lambda: SASRecConfig(**SPARSE["sasrec"]))
    """Settings of SASRec."""
    factors: FactorConfig = field(default_factory=FactorConfig)
    """Settings of bpr, fmc, fpmc and transrec."""
    gru4rec: GRU4RecConfig = field(default_factory=GRU4RecConfig)
    """Settings of gru4rec."""
    gru4rec_plus: GRU4RecPlusConfig = field(default_factory=GRU4RecPlusConfig)
    """Settings of gru4rec+."""
    caser: CaserConfig = field(default_factory=CaserConfig)
    """Settings of caser."""
    recentpop: RecentConfig = field(default_factory=RecentConfig)
    """Settings of recentpop."""
    init_from: Path | None = None
    """File of SASRec weights to start from: best.safetensors of another run, or those of the public
    PyTorch port (safetensors, npz, pth); see docs/exchange.md."""
    epochs: int = 201
    """Most epochs; validation stops earlier. Authors' code: 201."""
    batch_size: int = 128
    """Users per step. Paper: 128."""
    lr: float = 1e-3
    """Learning rate of Adam. Paper: .001."""
    beta2: float = 0.98
    """Adam's beta2. Authors' code: .98."""
    l2: float = 0.0
    """l2 * w is added to every gradient. Authors' code: 0."""
    clip_norm: float = 0.0
    """Scale gradients down to this common norm; 0 = off."""
    warm_up: int = 0
    """Steps over which the learning rate rises to --lr: lr / steps, 2 lr / steps, and so on."""
    weight_average: float = 0.0
    """Validate, keep and use a running mean of the weights: 0.999 is about that of the last 1,000
    steps. Training goes on from the weights themselves; 0 = off."""
    negatives: int = 1
    """Sampled negatives per position. Paper: 1."""
    order: Order = "every-user"
    """every-user: each once an epoch. with-replacement: drawn as the authors' sampler does."""
    eval_every: int = 1
    """Epochs from one validation to the next."""
    select: Selection = "sampled"
    """Which ranking of the validation items chooses the epoch: against 100 sampled items, as in the
    paper, or against all of them. Choose by the one that you are going to report."""
    patience: int = 20
    """Stop at a validation when the best NDCG@10 is this many epochs old, or older. Paper: 20;
    0 = never."""
    max_users: int = 10_000
    """Users to evaluate, at random if there are more; 0 = all. Authors' code: 10,000."""
    detect_anomaly: bool = False
    """Look at every result and every gradient of every step, and end at the first that is NaN or
    infinite with the name of its op. Slower; for a loss that explodes."""
    seed: int = 0
    """Everything random follows from this number."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend, which the commands apply."""
    keep_histories: bool = True
    """Keep the users' ids and histories in the folder, to recommend to them without the data file;
    --no-keep-histories: keep nothing about them but what the weights say."""
    out: Path | None = None
    """Folder for checkpoints, history and plot; by default a new one in runs/."""
    resume: bool = False
    """Go on with the run in --out (by default the newest of this data set in runs/)."""
    dry_run: bool = False
    """Train nothing and write nothing: show how the data was understood, and how much is left of it
    after the filter."""
    tensorboard: bool = False
    """Write the curves for TensorBoard, too: tensorboard --logdir RUN (needs the extra
    tensorboard)."""
    json: bool = False
    """Print the final result as one JSON object instead of tables."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting outside its range."""
        check_choices(self, model=ModelName, repeats=Repeats, order=Order, select=Selection)
        check_numbers(self)
        check_least(self, epochs=1, batch_size=1, negatives=1, eval_every=1, patience=0, warm_up=0)
        check_least(self, max_users=0, seed=0, l2=0, clip_norm=0)
        if not self.lr > 0:
            raise ConfigError(f"--lr is {self.lr}; it must be above 0")
        if not 0 <= self.beta2 < 1:
            raise ConfigError(f"--beta2 is {self.beta2}; 0 <= beta2 < 1")
        self.machine.check()
        object.__setattr__(self, "split", spelled_once(self.split))  # --resume compares
        check_shares(self, "weight_average", what="what the mean keeps each step, 0 = off")

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON has them; `from_json` reads it."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))


def make_model(config: TrainConfig, split: Split) -> Model:
    """The model of a configuration, not yet trained."""
    model, section = MODELS[config.model]
    settings = getattr(config, section) if section else None
    with weights_of(config.model, settings, split.dataset.num_items, TRAINED):
        return model.for_split(split, settings, config.seed)


TRAINED = 5  # weights, gradients, the two moments of Adam, the best weights so far
LARGE = ("d", "n", "blocks")  # the settings that a model's size depends on


def weights_of(model: str, settings: Any, items: int, copies: int) -> Weights:
    """A block in which a model is made; `ConfigError` if it does not fit into the memory."""
    sizes = [name for name in LARGE if hasattr(settings, name)]
    told = ", ".join([f"{name} = {getattr(settings, name):,}" for name in sizes])
    less = " or ".join(f"--{name}" for name in sizes)
    return Weights(
        copies,
        f"{model} with {told} for {items:,} items",
        f"lower {less}, drop rare items (--min-actions), or raise --max-memory",
    )


def model_settings(name: str, model: Model) -> dict[str, Any]:
    """The name of a model and its own settings, which are written beside its weights."""
    own = getattr(model, "config", None)
    return {"model": name, "settings": dataclasses.asdict(own) if own else {}}


TOLD = ("n", "d", "dropout", "row_l2")  # the settings that matter most
CHOSEN = Path(__file__).parent / "presets"


def preset(dataset: str, model: str = "sasrec") -> TrainConfig:
    """The defaults for a model on a data set; `is_chosen` says whether anybody chose them for it.

    SASRec's stand in `DATASETS`; those of the other models are ours, chosen on validation, and
    stand in presets/DATASET/MODEL.json. Where there are none, SASRec has the paper's for sparse
    data and the other models have the defaults of their settings.
    """
    values: dict[str, Any] = {"dataset": dataset, "model": model}
    if model == "sasrec":
        spec = DATASETS.get(dataset)
        return from_json({**values, **((spec and spec.preset) or SPARSE)})
    chosen = CHOSEN / dataset / f"{model}.json"
    return from_json({**values, **(read_json(chosen) if chosen.is_file() else {})})


def is_chosen(dataset: str, model: str = "sasrec") -> bool:
    """Whether the settings of `preset` were chosen for this data set; true if there are none."""
    if model == "sasrec":
        return dataset in DATASETS and DATASETS[dataset].preset is not None
    trained = issubclass(MODELS[model][0], SequenceModel)  # the others have nothing to choose
    return not trained or (CHOSEN / dataset / f"{model}.json").is_file()


def unchosen(config: TrainConfig, *others: TrainConfig, known: DatasetSpec | None = None) -> str:
    """What to say of a model on a data set for which nobody has chosen its settings.

    With `others` of the same model, it names the settings that all of them have. `known` is the
    public data set that the file was `recognised` as.
    """
    sections = [getattr(c, MODELS[config.model][1]) for c in (config, *others)]
    found = {name: {getattr(s, name, None) for s in sections} for name in TOLD}
    values = [f"{name} {value}" for name, (value, *more) in found.items()
              if value is not None and not more]  # fmt: skip
    advice = "try others (--help) and compare on the validation part"
    if known and is_chosen(known.name, config.model):
        whose = f"--dataset {known.name} --data-dir FOLDER"
        advice = f"this is {known.title}, whose settings come with {whose}"
    return (
        f"nobody has chosen settings of {config.model} for {Path(config.dataset).name}: it runs "
        f"with {', '.join(values)}; {advice}"
    )


DEPENDENT = ("negatives", "gbce_t", "own_items")  # settings that others leave without effect


def idle_beside(name: str, values: Mapping[str, Any]) -> str:
    """Which of the settings in `values` leaves the one called `name` without effect, or ""."""
    loss, per_position = values.get("loss"), ("bce", "gbce")
    needed = {"gbce_t": "gbce", "own_items": "softmax"}
    if loss != needed.get(name, loss) or (name == "negatives" and loss == "softmax"):
        return "loss"
    if name == "negatives" and loss not in per_position:  # GRU4Rec: negatives shared by a batch
        return next((shared for shared in ("in_batch", "samples") if values.get(shared)), "")
    return ""


def without_effect(config: TrainConfig, usual: TrainConfig) -> list[str]:
    """What to say of settings that differ from `usual` and have no effect beside the others."""
    section = MODELS[config.model][1]
    values, before = (vars(c) | vars(getattr(c, section, c)) for c in (config, usual))
    return [
        f"{flag(name if values[name] else 'no_' + name)} has no effect with "
        f"{flag(other)} {values[other]}"
        for name in DEPENDENT
        if name in values and values[name] != before[name] and (other := idle_beside(name, values))
    ]


def from_json(values: dict[str, Any], base: TrainConfig | None = None) -> TrainConfig:
    """`base` with `values` set; raises `ConfigError` for a name that is no setting."""
    if not isinstance(values, dict):
        raise ConfigError(f"settings are {values!r:.50}, a JSON object was expected")
    return _replace(base or TrainConfig(), values, "")


def read_config(path: Path, base: TrainConfig) -> TrainConfig:
    """`base` with the settings of a JSON file, such as the config.json of an earlier run."""
    return from_json(read_json(path), base)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or a `ConfigError` in one line."""
    path = Path(path)
    with reading(path, ConfigError, wrong=f"{path} is not JSON", advice="correct it"):
        try:
            content = path.read_bytes()  # PowerShell's `>` writes UTF-16, editors may add a mark
            values = json_value(content.decode(json.detect_encoding(content)))
        except FileNotFoundError:
            raise ConfigError(f"no such file: {path}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, a JSON object was expected")
    return values


def _replace(config: Any, values: dict[str, Any], prefix: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(config)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"{prefix}{name} is no setting; there are {', '.join(fields)}")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise ConfigError(f"{prefix}{name} holds settings of its own, got {value!r}")
            changes[name] = _replace(current, value, f"{prefix}{name}.")
        else:
            changes[name] = _checked(f"{prefix}{name}", value, str(fields[name].type))
    return dataclasses.replace(config, **changes)


def _checked(name: str, value: Any, type_text: str) -> Any:
    """`value` if it fits the annotation of the field (a string of int, float, bool, str, ...)."""
    if value is None and "None" in type_text:
        return None
    if isinstance(value, np.generic):  # for seed in np.arange(3)
        value = value.item()
    if "Path" in type_text and isinstance(value, str):
        return Path(value)
    kinds: dict[str, Any] = {
        "bool": bool,
        "int": int,
        "float": (int, float),
        "str": str,
        "Literal": str,
    }
    for kind, python in kinds.items():
        if type_text.startswith(kind) or kind in type_text.split(" | "):
            if isinstance(value, python) and (kind == "bool" or not isinstance(value, bool)):
                return value
            raise ConfigError(f"{name} is {value!r}; {type_text} was expected")
    return value
