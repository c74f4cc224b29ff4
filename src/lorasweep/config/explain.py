"""What is wrong with a configuration, in one sentence: the key, the value, and what would be accepted."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import YAMLError

from lorasweep.config.schema import RunConfig

WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
NEEDED = {
    "preset": "add preset=NAME",
    "data.path": "name the folder of photos",
    "model.path": "add model.path=FOLDER, a diffusers folder of the base model",
}


def keys(of: type = RunConfig, prefix: str = "") -> Iterator[str]:
    """Yield every key of a run, dotted; ``*`` stands for the name of a prompt."""
    for name, hint in typing.get_type_hints(of).items():
        inner = typing.get_args(hint)[-1] if typing.get_origin(hint) is dict else hint
        path = f"{prefix}{name}.*" if inner is not hint else f"{prefix}{name}"
        if dataclasses.is_dataclass(inner):
            yield from keys(typing.cast(type, inner), f"{path}.")
        else:
            yield path


def explain(error: Exception) -> str:
    """Return one sentence for an exception of Hydra, OmegaConf or the YAML reader."""
    # Hydra wraps what OmegaConf raised, which knows the key
    cause = error.__cause__ or error.__context__ if isinstance(error, HydraException) else error
    if isinstance(error, YAMLError | UnicodeDecodeError):
        file = getattr(getattr(error, "problem_mark", None), "name", "a preset")
        return f"{file}: {not_yaml(error)}"
    if isinstance(error, MissingConfigException):
        return _missing_file(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} cannot be read as key=value; quote values with spaces, commas or quotes in them"
    if isinstance(cause, OmegaConfBaseException):
        return _place(error) + (_bad_key(cause) or _cannot(error, cause))
    return _composition(str(error))


def not_yaml(error: YAMLError | UnicodeDecodeError) -> str:
    """Return what is wrong with a file that is no YAML, to stand behind its name."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if isinstance(error, UnicodeDecodeError):
        problem = f"byte {error.start + 1} is not UTF-8"
    where = f"line {mark.line + 1}" if mark else "it"
    return f"{where} cannot be read as YAML: {problem or str(error).splitlines()[0]}"


def unknown_key(key: str) -> str:
    """Return the sentence for a key that no run has, with the likeliest one that was meant."""
    meant = suggestion(key)
    hint = f"did you mean {meant}?" if meant else "'lorasweep train --help' lists them"
    return f"{key} is not a key of a run; {hint}"


def suggestion(key: str) -> str | None:
    """Return the real key that looks most like ``key``, or None."""
    known = [*keys(), *(field.name for field in dataclasses.fields(RunConfig))]
    own_name = key.rsplit(".", 1)[-1]
    by_name = [name for name in known if name.rsplit(".", 1)[-1] == own_name]
    close = difflib.get_close_matches(re.sub(r"^sample\.prompts\.[^.]+", "sample.prompts.*", key), known, 1, 0.6)
    return next(iter([*by_name, *close]), None)  # a right name in the wrong group is likelier than a slip of the pen


def _bad_key(error: OmegaConfBaseException) -> str | None:
    key = str(error.full_key or error.key or "the configuration")
    message = (error.msg or str(error)).split("\n")[0]
    if isinstance(error, MissingMandatoryValue):
        return f"{key} is not set; {NEEDED.get(key, 'it has no default')}"
    if isinstance(error, (ConfigAttributeError, ConfigKeyError)) and "Key '" in message:
        return unknown_key(key)
    if isinstance(error, ValidationError) and (wanted := _wanted(key)):
        value = re.match(r"Value '(.*)' of type", message, re.DOTALL)
        shown = value.group(1) if value else "null" if "not Optional" in message else error.value
        return f"{key} is {shown!r}; it must be {wanted}"
    return None


def _cannot(error: Exception, cause: OmegaConfBaseException) -> str:
    override = re.match(r"Error merging override (.*)", str(error), re.DOTALL)
    subject = repr(override.group(1)) if override else cause.full_key or "the configuration"
    return f"{subject} cannot be used: {str(cause.msg or cause).split(chr(10))[0]}"


def _wanted(key: str) -> str | None:
    """Return the type of a key in words; None for a key that no run has."""
    hint: typing.Any = RunConfig
    for part in re.sub(r"\[\d+\]", "", key).split("."):
        hint = typing.get_args(hint)[-1] if typing.get_origin(hint) is dict else typing.get_type_hints(hint).get(part)
        if hint is None:
            return None
    kinds = typing.get_args(hint) or (hint,)
    words = WORDS.get(kinds[0], "a group of keys")
    if typing.get_origin(hint) is list and not key.endswith("]"):
        return f"a list of {words.removeprefix('a ')}s"
    return f"{words} or null" if types.NoneType in kinds else words


def _missing_file(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    meant = difflib.get_close_matches(name, options, 1)
    guess = f"did you mean {meant[0]}? " if meant else ""
    return f"{group or 'config'} is {name!r}; {guess}it must be one of {', '.join(options)}"


def _place(error: Exception) -> str:
    """Return which YAML file the trouble is in, if Hydra says so."""
    match = re.match(r"In '([^']+)'", str(error))
    return f"in {match.group(1)}.yaml: " if match else ""


def _composition(message: str) -> str:
    chosen = re.match(r"You must specify '([^']+)'", message)
    if chosen:
        options = ", ".join(line.strip() for line in message.split("\n")[2:])
        return f"{chosen.group(1)} is not chosen; add {chosen.group(1)}=NAME, one of {options}"
    # Hydra would only say how to quote it; people mean -m
    several = re.match(r"Ambiguous value for argument '(.*?)'\n1\.", message, re.DOTALL)
    if several:
        return f"{several.group(1)!r} holds several values; add -m to try each of them, or quote it"
    return " ".join(line.strip() for line in message.split("\n") if line.strip())
