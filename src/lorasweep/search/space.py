"""The space of a search: the keys of a run that it changes, and between which values."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lorasweep.config.explain import suggestion
from lorasweep.config.search import DimensionConfig
from lorasweep.errors import UserError
from lorasweep.records import JsonDict

if TYPE_CHECKING:
    import optuna

SEARCHED = (
    *("optim.", "lora.rank", "lora.alpha", "lora.dropout", "lora.targets", "lora.text_encoder"),
    *("data.caption_dropout", "data.shuffle_captions", "data.keep_clauses", "data.flip", "data.regularisation_weight"),
)
"""Keys that can be searched begin with one of these. Those that decide how images are drawn and scored cannot be, since
their trials' scores would be in different units."""
DIGITS = 3
"""Of a number that is tried: enough for any rate, and still readable."""


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One key and its values."""

    key: str
    kind: str
    """float, int or choice."""
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    choices: tuple[Any, ...] = ()
    points: int = 8
    """How many values a grid has."""

    def suggest(self, trial: "optuna.Trial") -> Any:
        """Return the value that the sampler wants to try, in as few digits as a person would type."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.key, self.choices)
        if self.kind == "int":
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        # the study keeps what Optuna drew, the run what was rounded: the difference is below any sampler's resolution
        return rounded(trial.suggest_float(self.key, self.low, self.high, log=self.log))

    def holds(self, value: Any) -> bool:
        """Return whether the value lies in this dimension."""
        return value in self.choices if self.kind == "choice" else value is not None and self.low <= value <= self.high

    def grid(self) -> list[Any]:
        """Return ``points`` values from end to end, or the choices."""
        if self.kind == "choice":
            return list(self.choices)
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        places = [low + (high - low) * n / max(self.points - 1, 1) for n in range(self.points)]
        # exp(log(high)) may lie a rounding error outside the range
        values = [min(self.high, max(self.low, math.exp(place) if self.log else place)) for place in places]
        return sorted({round(value) for value in values}) if self.kind == "int" else values

    def to_json(self) -> JsonDict:
        """Return what two studies must share. A grid's density is a matter of budget and no part of it."""
        if self.kind == "choice":
            return {"choices": list(self.choices)}
        return {name: asdict(self)[name] for name in ("kind", "low", "high", "log")}

    def words(self) -> str:
        """Return ``1e-05 to 0.001 (log)``, or the choices."""
        if self.kind == "choice":
            return ", ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


def resolve(
    space: Mapping[str, DimensionConfig], leaves: Mapping[str, Any], fixed: Mapping[str, str]
) -> tuple[Dimension, ...]:
    """Return the dimensions of a space around one run.

    Args:
        leaves: every key of the run and its value.
        fixed: overrides of the search or the command line, by key.

    Raises:
        UserError: one line for each key that no run has, that cannot be searched or is fixed, and each empty range.
    """
    if not space:
        raise UserError("the space is empty; name a search, or give a key several values as in optim.lr=1e-4,1e-3")
    found: list[Dimension] = []
    wrong: list[str] = []
    for key in sorted(space):
        try:
            _require_free(key, leaves, fixed)
            found.append(_dimension(key, space[key], leaves))
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise UserError("\n".join(wrong))
    return tuple(found)


def rounded(value: float) -> float:
    """Return the number in ``DIGITS`` digits."""
    return float(f"{value:.{DIGITS}g}")


def as_words(params: Mapping[str, Any]) -> list[str]:
    """Return parameters as overrides."""
    return [f"{key}={_word(value)}" for key, value in params.items()]


def _word(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"


def _require_free(key: str, leaves: Mapping[str, Any], fixed: Mapping[str, str]) -> None:
    if key not in leaves:
        meant = suggestion(key)
        raise UserError(f"the space names {key}, which no run has{f'; did you mean {meant}?' if meant else ''}")
    if not key.startswith(SEARCHED):
        allowed = ", ".join(name + ("*" if name.endswith(".") else "") for name in SEARCHED)
        raise UserError(f"the space names {key}, under whose values scores cannot be compared; it may name {allowed}")
    if key in fixed:
        raise UserError(f"the space names {key}, which is fixed by {fixed[key]!r}; leave one of the two out")


def _dimension(key: str, of: DimensionConfig, leaves: Mapping[str, Any]) -> Dimension:
    if of.choices is not None:
        if len(set(map(str, of.choices))) < 2:
            raise UserError(f"{key} has the choices {of.choices}; it must have two different ones or more")
        return Dimension(key=key, kind="choice", choices=tuple(of.choices))
    value = leaves[of.of or key]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UserError(f"{key} is searched in a range, but {of.of or key} is {value!r}; give it choices, or a number")
    kind = "int" if isinstance(value, int) else "float"  # as the run has it: a range of whole numbers stays whole
    if of.around is not None:
        return _checked(key, kind, value / of.around, value * of.around, log=True, points=of.points)
    if of.low is None or of.high is None:
        raise UserError(f"{key} has low={of.low} and high={of.high}; it must have both")
    # what matters of a rate and of a length is its factor
    log = key.endswith("lr") or key == "optim.steps" if of.log is None else of.log
    return _checked(key, kind, of.low, of.high, log=log, points=of.points)


def _checked(key: str, kind: str, low: float, high: float, *, log: bool, points: int) -> Dimension:
    if kind == "int":
        low, high = math.ceil(low), math.floor(high)
    if not low < high:
        raise UserError(f"{key} has the range {low:g} to {high:g}; its lower end must be below its upper one")
    if log and low <= 0:
        raise UserError(
            f"{key} has the range {low:g} to {high:g} on a logarithmic scale; its lower end must be above 0"
        )
    return Dimension(key=key, kind=kind, low=low, high=high, log=log, points=points)
