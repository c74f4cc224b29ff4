"""YAML and overrides in, a plain ``RunConfig`` out.

Nothing that a configuration says is ever run: there is no ``_target_``, since ``hydra.instantiate`` of a foreign
configuration runs code, and a stored run may hold no interpolation.
"""

import dataclasses
import math
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lorasweep.config.card import find_card, group_for, precision_for
from lorasweep.config.explain import explain, unknown_key
from lorasweep.config.schema import RunConfig
from lorasweep.errors import UserError

PRESETS_VARIABLE = "LORASWEEP_CONF"
"""Environment variable with the folder of a user's own presets."""

VALUED_FLAGS = frozenset(
    {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"}
)
"""Hydra's flags that are followed by a value."""
INFO_WORDS = frozenset({"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"})
"""What may follow Hydra's ``--info``, whose value is optional."""


def conf_dir() -> Path:
    """Return the folder of the presets that ship."""
    return shipped("conf")


def shipped(name: str) -> Path:
    """Return a folder of YAML files: beside the code in an installed wheel, at the root of a checkout otherwise."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / name
    return packaged if packaged.is_dir() else package.parents[1] / name


def presets(*, config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """Return the names that ``preset=`` accepts, sorted."""
    folders = [conf_dir(), *own_folders(config_dirs)]
    return sorted({file.stem for folder in folders for file in (folder / "preset").glob("*.yaml")})


def load_run(
    overrides: Sequence[str],
    *,
    config_dirs: Sequence[str | Path] = (),
    when_missing: Mapping[str, str] = MappingProxyType({}),
) -> RunConfig:
    """Compose ``conf/`` with overrides such as ``preset=person_sd15`` and ``optim.lr=2e-4``.

    Args:
        config_dirs: searched after the package's own folder, as is the one named by ``LORASWEEP_CONF``.
        when_missing: values for keys that must be given but are not.

    Raises:
        UserError: one sentence that names the key, the value and what would be accepted.
    """
    _register()
    with explained():
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = hydra.compose("config", [*_search_path(config_dirs), *overrides])
        for key, value in when_missing.items():
            room, name = key.split(".")
            if OmegaConf.is_missing(config[room], name):
                config[room][name] = value
        return run_from_hydra(config)


def run_from_hydra(config: DictConfig) -> RunConfig:
    """Return the plain dataclasses behind a composed configuration, without its ``hydra`` node."""
    bare = config.copy()
    with explained(), open_dict(bare):
        bare.pop("hydra", None)
        run = OmegaConf.to_object(bare)
    assert isinstance(run, RunConfig)
    _refuse_extra(run, "")
    return _settled(_in_order(run))


def is_run(config: DictConfig) -> bool:
    """Return whether a composed configuration is one of ours."""
    return OmegaConf.get_type(config) is RunConfig


def to_plain(run: RunConfig) -> dict[str, Any]:
    """Return the run as JSON types with every key sorted, ready to be stored and hashed."""
    return cast("dict[str, Any]", _sorted(dataclasses.asdict(run)))


def from_plain(plain: Mapping[str, Any]) -> RunConfig:
    """Return the run that ``to_plain`` stored; what it stored is not trusted, since runs are passed on.

    Raises:
        UserError: an unknown key, a wrong type, a ``_target_`` or an interpolation.
    """
    safe = cast("dict[str, Any]", _inert(plain, ""))
    with explained():
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), safe)
        assert isinstance(merged, DictConfig)
        return run_from_hydra(merged)


def as_override(key: str, text: str) -> str:
    """Return ``key='text'`` in Hydra's grammar, so that spaces, commas, quotes and ``${`` arrive as they were.

    Only ``???`` does not: it is OmegaConf's word for a value that is missing.
    """
    return f"{key}={quoted(literal(text))}"


class Scored(Protocol):
    """What a task returns."""

    @property
    def score(self) -> float:
        """What Hydra takes for the value of the job."""
        ...


class Jobs:
    """The function that Hydra calls for a job. It keeps what each job of this process came to, exceptions too."""

    def __init__(self, task: Callable[[RunConfig], Scored]) -> None:
        self._task = task
        self._process = os.getpid()
        self.results: list[Any] = []

    def __call__(self, config: DictConfig) -> float:
        """Run the task on a composed configuration and return its score, NaN if it failed."""
        if words := _worker_words():
            GlobalHydra.instance().clear()  # this process is here for the search that the job is a worker of
            for result in hydra_entry(self._task)(words):
                if isinstance(result, Exception):
                    raise result
            return math.nan
        try:
            result = self._task(run_from_hydra(config))
        except Exception as error:
            if os.getpid() != self._process:  # a launcher has started this process: it has to hear of the failure
                raise
            self.results.append(error)  # Hydra would print the overrides above the one sentence
            return math.nan
        self.results.append(result)
        return result.score


def hydra_entry(task: Callable[[RunConfig], Scored]) -> Callable[[Sequence[str]], list[Any]]:
    """Return the ``hydra.main`` application around ``task``: overrides, ``-m``, ``--cfg job``, ``--help``, completion.

    The returned function takes the command line without the program's name. It returns what the task returned or raised
    for each job of this process, and what launchers and sweepers of ours told by ``report``.

    Raises:
        UserError: a bad configuration.
    """

    def main(arguments: Sequence[str]) -> list[Any]:
        if any(argument.startswith("--e") for argument in arguments):  # argparse accepts any beginning of a flag
            raise UserError("--experimental-rerun would read a pickle; use 'lorasweep reproduce RUN'")
        _register()
        jobs = Jobs(task)
        application = hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(jobs)
        with explained(), _command_line([*_search_path(()), *_with_example(_flags_last(arguments))]):
            application()
        return jobs.results

    return main


def report(jobs: Callable[[DictConfig], Any], results: Iterable[Any]) -> None:
    """Tell the application what jobs came to that ran without its function, which Hydra gives to every plugin."""
    if isinstance(jobs, Jobs):  # of another program it is any function
        jobs.results.extend(results)


def _worker_words() -> list[str]:
    """Return the words of the search that a launcher's job is a worker of; [] if the job is to train."""
    return list(HydraConfig.get().sweeper.get("worker_words") or [])


def is_multirun() -> bool:
    """Return whether the job that runs now is one of several that ``-m`` asked for."""
    return HydraConfig.get().mode is RunMode.MULTIRUN


def _flags_last(arguments: Sequence[str]) -> list[str]:
    """Return overrides, then flags with their values: Hydra's parser loses overrides behind a flag."""
    overrides: list[str] = []
    flags: list[str] = []
    for argument in arguments:
        is_flag = argument.startswith("-") or bool(flags and flags[-1] in VALUED_FLAGS) or argument in INFO_WORDS
        (flags if is_flag else overrides).append(argument)
    return [*overrides, *flags]


def _with_example(arguments: Sequence[str]) -> list[str]:
    # `--help` shows a whole configuration, for which Hydra needs a preset to be chosen
    asks = {"--help", "-h"} & set(arguments)
    chosen = any(argument.startswith("preset=") for argument in arguments)
    return [*arguments, "preset=person_sd15"] if asks and not chosen else list(arguments)


def _register() -> None:
    store = ConfigStore.instance()
    if "base_run.yaml" not in store.repo:
        store.store(name="base_run", node=RunConfig, provider="lorasweep")
    OmegaConf.register_new_resolver("card", _own_group, replace=True)


def _own_group() -> str:
    """Return what ``hardware=auto`` stands for on this machine."""
    # tab completion wants keys, not values, and at once: asking torch for the card takes seconds
    return "cpu" if "COMP_LINE" in os.environ else group_for(find_card("auto"))


def own_folders(config_dirs: Sequence[str | Path]) -> list[Path]:
    """Return the folders of a user's own presets and searches; raise UserError if one does not exist."""
    named = os.environ.get(PRESETS_VARIABLE)
    folders = [Path(folder) for folder in [*config_dirs, *([named] if named else [])]]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"the folder of presets {str(folder)!r} does not exist; name one with --config-dir")
    return folders


def _search_path(config_dirs: Sequence[str | Path]) -> list[str]:
    folders = [quoted(f"file://{folder.resolve().as_posix()}") for folder in own_folders(config_dirs)]
    return [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []


def quoted(text: str) -> str:
    """Return a text in Hydra's grammar."""
    return QuotedString(text, Quote.single).with_quotes()


def literal(text: str) -> str:
    """Return text that OmegaConf reads as itself."""
    parts = text.split("${")
    # OmegaConf takes a backslash for itself, but not before `${`
    doubled = [part + "\\" * (len(part) - len(part.rstrip("\\"))) for part in parts[:-1]]
    return "\\${".join([*doubled, parts[-1]])


def _inert(node: Any, key: str) -> Any:
    """Return the node; raise UserError if it could make OmegaConf or Hydra evaluate anything."""
    if isinstance(node, Mapping):
        children = cast("Mapping[str, Any]", node)
        if "_target_" in children:
            raise UserError(f"{key or 'the run'} holds a _target_; a stored run may name no code")
        return {name: _inert(child, f"{key}.{name}".lstrip(".")) for name, child in children.items()}
    if isinstance(node, list):
        return [_inert(child, key) for child in cast("list[Any]", node)]
    if isinstance(node, str) and "${" in node:
        if not key.endswith("path"):  # a folder may be called that
            raise UserError(f"{key} is {node!r}; a stored run may hold no ${{…}}")
        return literal(node)
    return node


def _refuse_extra(node: Any, prefix: str) -> None:
    # OmegaConf lets `+key=1` add what no schema names; it would be ignored without a word
    for name, child in (vars(node) if dataclasses.is_dataclass(node) else node).items():
        if dataclasses.is_dataclass(node) and name not in {field.name for field in dataclasses.fields(node)}:
            raise UserError(unknown_key(f"{prefix}{name}"))
        if dataclasses.is_dataclass(child) or isinstance(child, dict):
            _refuse_extra(child, f"{prefix}{name}.")


def _sorted(node: Any) -> Any:
    if isinstance(node, dict):
        children = cast("dict[str, Any]", node)
        return {name: _sorted(children[name]) for name in sorted(children)}
    return node


def _in_order(run: RunConfig) -> RunConfig:
    # sorted, so that a run read back from sorted JSON draws the same sheet in the same order
    prompts = {key: run.sample.prompts[key] for key in sorted(run.sample.prompts)}
    return dataclasses.replace(run, sample=dataclasses.replace(run.sample, prompts=prompts))


def _settled(run: RunConfig) -> RunConfig:
    """A precision in place of auto, so that a run that is stored and made again elsewhere computes as it did."""
    hardware = run.hardware
    if hardware.precision != "auto":
        return run
    precision = precision_for("auto", hardware.device, find_card(hardware.device))
    return dataclasses.replace(run, hardware=dataclasses.replace(hardware, precision=precision))


@contextmanager
def explained() -> Generator[None]:
    """Turn what Hydra, OmegaConf and the YAML reader raise into one sentence."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        raise UserError(explain(error)) from error


@contextmanager
def _command_line(arguments: Sequence[str]) -> Generator[None]:
    # Hydra reads sys.argv, and prints an error and exits unless it is asked for the exception itself
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
