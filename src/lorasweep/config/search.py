"""What a search is: the YAML files of ``sweeps/``, and values that stand for several in Hydra's grammar."""

import decimal
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from lorasweep.config.checks import among, positive
from lorasweep.config.compose import explained, own_folders, quoted, shipped
from lorasweep.config.explain import not_yaml
from lorasweep.errors import UserError

WANTED = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
SAMPLERS = ("tpe", "gp", "random", "grid", "qmc")


@dataclass(kw_only=True)
class DimensionConfig:
    """The values that one key may take: ``around``, or ``low`` and ``high``, or ``choices``."""

    around: float | None = None
    """From the run's own value divided by this to that value times this, on a logarithmic scale."""
    of: str | None = None
    """The key whose value is meant by ``around``; None is the key itself."""
    low: float | None = None
    high: float | None = None
    log: bool | None = None
    """Whether factors count alike rather than differences; None: yes for rates and steps, no for others."""
    choices: list[Any] | None = None
    points: int = 8
    """Values of a grid."""

    def __post_init__(self) -> None:
        positive("points", self.points)
        ways = [self.around is not None, self.low is not None or self.high is not None, self.choices is not None]
        if sum(ways) != 1:
            raise UserError("a dimension of a space must have either around, or low and high, or choices")


@dataclass(kw_only=True)
class SearchConfig:
    """One search."""

    name: str = "search"
    """Of its file."""
    about: str = ""
    """A sentence for whoever chooses one."""
    base: list[str] = field(default_factory=list[str])
    """Overrides of every trial; those of the command line stand above them."""
    space: dict[str, DimensionConfig] = field(default_factory=dict[str, DimensionConfig])
    """Key of a run to the values that it may take."""
    trials: int = 8
    """Finished ones in all; those that were killed on the way do not count."""
    sampler: str = "tpe"
    """tpe, gp (which learns nothing from pruned trials), random, grid or qmc."""
    prune: bool = True
    """Prune a trial that stays behind those that are finished."""
    stop_past_peak: bool = True
    """End a trial early if its scores have fallen for good; never while the learning rate decays."""
    recipes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Values that are tried first, after the run's own."""
    seed: int = 0
    study: str = ""
    """What its trials and its parent in MLflow are called; '' is the trigger and ``name``."""
    storage: str = ""
    """Optuna's; '' is studies.db under the track root. Several workers need a database server."""
    width: Any = "auto"
    """Trials side by side, in each worker: a number, or auto."""
    workers: int = 2
    """Processes that a launcher is asked for which starts some, such as submitit_slurm: one a card."""
    heartbeat: int = 60
    """Seconds between two signs of life of a worker's trial; after five without one it is another worker's."""

    def __post_init__(self) -> None:
        among("sampler", self.sampler, SAMPLERS)
        for key in ("trials", "workers", "heartbeat"):
            positive(key, getattr(self, key))
        if self.width != "auto" and not (isinstance(self.width, int) and self.width >= 1):
            raise UserError(f"width is {self.width!r}; it must be auto or a number of adapters from 1 up")


def searches(*, config_dirs: Sequence[str | Path] = ()) -> dict[str, Path]:
    """Return name to file of every search that can be named."""
    folders = [shipped("sweeps"), *(folder / "sweeps" for folder in own_folders(config_dirs))]
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}


def load_search(
    name: str | None, changes: Mapping[str, Any], *, config_dirs: Sequence[str | Path] = ()
) -> SearchConfig:
    """Return the search of that name, or in that file, with ``changes`` to its keys; a plain one if ``name`` is None.

    Raises:
        UserError: one sentence that names the file or key, its value, and what would be accepted.
    """
    known = searches(config_dirs=config_dirs)
    file = None if name is None else known.get(name, Path(name))
    if file is not None and not (file.suffix == ".yaml" and file.is_file()):
        raise UserError(f"the search is {name!r}; it must be a YAML file or one of {', '.join(sorted(known))}")
    try:  # OmegaConf alone, not Hydra: a search composes nothing
        parts = [OmegaConf.load(file), {"name": file.stem}] if file else []
        merged = OmegaConf.merge(OmegaConf.structured(SearchConfig), *parts, dict(changes))
        search = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(f"{file.name if file else 'the search'}: {_sentence(error)}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file.name if file else 'the search'}: {not_yaml(error)}") from error
    except UserError as error:
        raise UserError(f"{file.name if file else 'the search'}: {error}") from error
    assert isinstance(search, SearchConfig)
    return search


def _sentence(error: OmegaConfBaseException) -> str:
    key, message = error.full_key or error.key or "it", str(error.msg or error).split("\n")[0]
    if isinstance(error, ConfigAttributeError | ConfigKeyError):
        known = DimensionConfig if str(key).startswith("space.") else SearchConfig
        return f"{key} is not a key of a search; it may have {', '.join(each.name for each in fields(known))}"
    value = re.match(r"Value '(.*)' of type .* could not be converted to (\w+)", message, re.DOTALL)
    if value and value.group(2) in WANTED:
        return f"{key} is {value.group(1)!r}; it must be {WANTED[value.group(2)]}"
    return "a search must be keys and values" if "ListConfig" in message else f"{key} cannot be used: {message}"


def told_apart(words: Sequence[str]) -> tuple[list[str], dict[str, DimensionConfig]]:
    """Return overrides with one value, and the space that those with several span.

    ``optim.lr=tag(log,interval(1e-5,1e-3))`` spans a range, ``lora.rank=4,8,16`` is a choice.
    """
    with explained():
        overrides = OverridesParser.create().parse_overrides(list(words))
    fixed = [word for word, each in zip(words, overrides, strict=True) if not each.is_sweep_override()]
    return fixed, {each.get_key_element(): _dimension(each) for each in overrides if each.is_sweep_override()}


def worker_override(words: Sequence[str], hydra: Sequence[str]) -> str:
    """Return the override of a launched job that makes it one of the workers of a search.

    Args:
        words: of the search itself.
        hydra: those of Hydra's that the search was asked for with; the launcher's are left out.
    """
    # a worker that asked for the launcher again would start workers without end
    kept = [word for word in hydra if not key_of(word).startswith(("hydra/launcher", "hydra.launcher", "hydra.mode"))]
    line = [*words, *kept, "hydra/launcher=cohort", "hydra.sweeper.worker=true", "-m"]
    return f"hydra.sweeper.worker_words=[{','.join(quoted(word) for word in line)}]"


def key_of(word: str) -> str:
    """Return the key that an override sets."""
    return word.partition("=")[0].lstrip("+")


def _dimension(override: Override) -> DimensionConfig:
    spans, log = override.value(), False
    if isinstance(spans, IntervalSweep):
        log = "log" in spans.tags
        return DimensionConfig(low=_number(spans.start), high=_number(spans.end), log=log)
    if isinstance(spans, RangeSweep):
        return DimensionConfig(choices=[_number(value) for value in spans.range()])
    if isinstance(spans, ChoiceSweep):
        return DimensionConfig(choices=[getattr(value, "text", value) for value in spans.list])
    raise UserError(f"{override.input_line!r} spans no values; use interval(low,high), choice(…) or a,b,c")


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, decimal.Decimal) else value
