from pathlib import Path

import pytest

from lorasweep.config.search import DimensionConfig, load_search, searches, told_apart
from lorasweep.errors import UserError


@pytest.mark.parametrize("name", ["lr", "lr_steps", "lr_rank", "lr_te_lr", "flux_shift"])
def test_every_search_that_ships_can_be_named(name):
    search = load_search(name, {})
    assert (search.name, name in searches()) == (name, True)
    assert "optim.lr" in search.space
    assert search.about


def test_changes_stand_above_the_file():
    search = load_search("lr", {"trials": 3, "sampler": "gp", "prune": False})
    assert (search.trials, search.sampler, search.prune) == (3, "gp", False)


def test_a_search_of_ones_own_is_named_by_its_file_or_found_beside_presets(tmp_path: Path):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text("space: {optim.lr: {low: 1e-5, high: 1e-3}}\ntrials: 5\n")
    assert load_search(str(tmp_path / "sweeps" / "mine.yaml"), {}).trials == 5
    found = load_search("mine", {}, config_dirs=[tmp_path])
    assert found.space == {"optim.lr": DimensionConfig(low=1e-5, high=1e-3)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("trails: 5", r"mine\.yaml: trails is not a key of a search; it may have name, about, base, space, trials"),
        ("space: {optim.lr: {hihg: 1}}", r"mine\.yaml: space\.optim\.lr\.hihg is not a key of a search"),
        ("space: {optim.lr: {around: 2, low: 1}}", r"mine\.yaml: .*must have either around, or low and high, or"),
        ("sampler: magic", r"mine\.yaml: sampler is 'magic'; it must be one of tpe, gp, random, grid, qmc"),
        ("trials: 0", r"mine\.yaml: trials is 0; it must be a number above zero"),
        ("trials: many", r"mine\.yaml: trials is 'many'; it must be a whole number"),
        ("- 1", r"mine\.yaml: a search must be keys and values"),
        ("a: [1,\nb: {", r"mine\.yaml: line 2 cannot be read as YAML: expected the node content"),
        ("a: \xff", r"mine\.yaml: it cannot be read as YAML: .* is not UTF-8"),
    ],
)
def test_a_mistake_in_a_search_is_told_with_its_file(tmp_path: Path, text: str, says: str):
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=says):
        load_search(str(file), {})


def test_a_search_that_is_not_there_names_those_that_are():
    with pytest.raises(UserError, match=r"the search is 'rate'; it must be a YAML file or one of flux_shift, lr, lr_"):
        load_search("rate", {})


def test_keys_with_several_values_span_the_space():
    words = ["preset=x", "optim.lr=tag(log,interval(1e-5,1e-3))", "lora.rank=4,8", "optim.steps=range(100,400,100)"]
    fixed, space = told_apart([*words, "data.trigger='a, b'", "lora.targets=choice(linear,attention)"])
    assert fixed == ["preset=x", "data.trigger='a, b'"]
    assert space == {
        "optim.lr": DimensionConfig(low=1e-5, high=1e-3, log=True),
        "lora.rank": DimensionConfig(choices=[4, 8]),
        "optim.steps": DimensionConfig(choices=[100, 200, 300]),
        "lora.targets": DimensionConfig(choices=["linear", "attention"]),
    }


def test_a_glob_spans_nothing():
    with pytest.raises(UserError, match=r"'preset=glob\(\*\)' spans no values; use interval"):
        told_apart(["preset=glob(*)"])
