import dataclasses
import json
import os
import re
import sys
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasweep.config.compose import as_override, conf_dir, from_plain, hydra_entry, load_run, presets, to_plain
from lorasweep.config.schema import RunConfig
from lorasweep.errors import UserError

BASE = ["preset=person_portraits", "data.path=photos"]
STORED = to_plain(load_run(BASE))
# What a path may hold on one system or another; the awkward signs come often.
SIGNS = st.sampled_from([*" ,='\"\\$()[]:#~+%*?\tä", "${x}", "\\${x}", "\\\\", "\\'"]) | st.characters(codec="utf-8")
PATHS = st.lists(SIGNS, min_size=1).map("".join).filter(lambda text: not set(text) & {"\0", "\n", "\r"})
PATHS = PATHS.filter(lambda text: text != "???")  # OmegaConf's own word for a value that is missing


@given(PATHS)
@settings(max_examples=200, deadline=None)
def test_any_path_survives_the_grammar_of_overrides(path):
    parsed = OverridesParser.create().parse_override(as_override("data.path", path))
    assert not parsed.is_sweep_override()
    from omegaconf import OmegaConf

    assert OmegaConf.create({"path": parsed.value()}).path == path


@given(PATHS)
@settings(max_examples=8, deadline=None)
def test_any_path_arrives_in_the_run_and_comes_back_from_storage(path):
    run = load_run(["preset=person_portraits", as_override("data.path", path)])
    assert run.data.path == path
    assert from_plain(json.loads(json.dumps(to_plain(run)))) == run


def test_a_run_comes_back_equal_from_json_with_its_sheet_in_order(tmp_path):
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "mine.yaml").write_text("prompts: {z_last: {text: last}, a_first: {text: first}}\n")
    run = load_run([*BASE, "optim.lr=3.3e-4", "sample=mine"], config_dirs=[tmp_path])
    back = from_plain(json.loads(json.dumps(to_plain(run), sort_keys=True)))
    assert back == run
    assert list(back.sample.prompts) == list(run.sample.prompts)
    assert list(run.sample.prompts) == ["a_first", "z_last"]


def test_no_hydra_type_leaves_the_room():
    def kinds(node):
        yield type(node).__module__.split(".")[0]
        children = (
            vars(node).values() if dataclasses.is_dataclass(node) else node.values() if isinstance(node, dict) else ()
        )
        for child in children:
            yield from kinds(child)

    assert set(kinds(load_run(BASE))) == {"lorasweep", "builtins"}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([], "preset is not chosen; add preset=NAME, one of character_flux, "),
        (["preset=person_portrait"], "preset is 'person_portrait'; did you mean person_portraits?"),
        (["preset=person_portraits"], "data.path is not set; name the folder of photos"),
        (["preset=person_sd15", "data.path=x"], "model.path is not set; add model.path=FOLDER"),
        ([*BASE, "optim.lrr=1"], "optim.lrr is not a key of a run; did you mean optim.lr?"),
        ([*BASE, "lr=1e-4"], "lr is not a key of a run; did you mean optim.lr?"),
        ([*BASE, "+lr=1e-4"], "lr is not a key of a run; did you mean optim.lr?"),
        ([*BASE, "+optim.momentum=1"], "optim.momentum is not a key of a run"),
        ([*BASE, "sample.prompts.p1_plain.txt=a"], "did you mean sample.prompts.*.text?"),
        ([*BASE, "optim.lr=fast"], "optim.lr is 'fast'; it must be a number"),
        ([*BASE, "optim.steps=1.5"], "optim.steps is '1.5'; it must be a whole number"),
        ([*BASE, "sample.seeds=[a]"], "sample.seeds[0] is 'a'; it must be a whole number"),
        ([*BASE, "sample.seeds=7"], "sample.seeds is 7; it must be a list of whole numbers"),
        ([*BASE, "optim=adam"], "optim is 'adam'; did you mean adamw? it must be one of adafactor, adamw, prodigy"),
        ([*BASE, "optim.lr=1e-4,2e-4"], "'optim.lr=1e-4,2e-4' holds several values; add -m"),
        ([*BASE, "optim.lr"], "'optim.lr' cannot be read as key=value"),
        ([*BASE, "data.trigger=${oc.env:NO_SUCH}"], "data.trigger cannot be used"),
        ([*BASE, "+sample.prompts.new.text=a"], "'+sample.prompts.new.text=a' cannot be used"),
    ],
)
def test_a_bad_override_is_one_sentence(overrides, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        load_run(overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": {"_target_": "os.system"}}, "model holds a _target_; a stored run may name no code"),
        ({"sample": {"prompts": {"p": {"text": "a", "_target_": "x"}}}}, "sample.prompts.p holds a _target_"),
        ({"name": "${oc.env:HOME}"}, "name is '${oc.env:HOME}'; a stored run may hold no ${…}"),
        ({"optim": {"lrr": 1}}, "optim.lrr is not a key of a run; did you mean optim.lr?"),
        ({"hydra": {"run": {}}}, "hydra is not a key of a run"),
        ({"optim": {"lr": "fast"}}, "optim.lr is 'fast'; it must be a number"),
        ({"optim": {"lr": -1}}, "optim.lr is -1.0; it must be a number above zero"),
    ],
)
def test_a_stored_run_that_is_not_one_is_refused_by_name(change, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        from_plain({**STORED, **change})
    assert "\n" not in str(caught.value)


def test_a_users_own_preset_is_found_after_the_packages(tmp_path, monkeypatch):
    mine = tmp_path / "my presets, old" / "preset"
    mine.mkdir(parents=True)
    header = "# @package _global_\ndefaults:\n  - override /model: portraits\n"
    (mine / "mine.yaml").write_text(f"{header}preset: mine\noptim: {{lr: 7.0e-4}}\n")
    (mine / "person_portraits.yaml").write_text("nonsense: true\n")
    assert load_run(["preset=mine", "data.path=x"], config_dirs=[mine.parent]).optim.lr == 7e-4
    monkeypatch.setenv("LORASWEEP_CONF", str(mine.parent))
    assert load_run(["preset=mine", "data.path=x"]).optim.lr == 7e-4
    assert load_run(BASE).preset == "person_portraits"
    assert "mine" in presets()


def test_a_typo_in_a_users_preset_names_the_file_and_the_key(tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text("# @package _global_\npreset: mine\noptim: {lrr: 1}\n")
    with pytest.raises(UserError, match=r"^in preset/mine\.yaml: optim\.lrr is not a key of a run"):
        load_run(["preset=mine", "model=portraits", "data.path=x"], config_dirs=[tmp_path])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("defaults: [\n", r"^.*/preset/mine\.yaml: line 2 cannot be read as YAML: expected the node content"),
        ("name: \xff\n", r"^a preset: it cannot be read as YAML: .* is not UTF-8"),
    ],
)
def test_a_preset_that_is_no_yaml_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=sentence) as caught:
        load_run(["preset=mine", "data.path=x"], config_dirs=[tmp_path])
    assert "\n" not in str(caught.value)


def test_a_missing_folder_of_presets_is_named(monkeypatch):
    monkeypatch.setenv("LORASWEEP_CONF", "/no/such/folder")
    with pytest.raises(UserError, match="'/no/such/folder' does not exist"):
        load_run(BASE)


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """A train application whose score is the learning rate, run in an empty folder. What it returns are the scores."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lorasweep"])
    seen: list[RunConfig] = []

    def task(run):
        seen.append(run)
        if run.seed == 13:
            raise ValueError("seed is 13; it must be a lucky number")
        return SimpleNamespace(score=run.optim.lr)

    def scores(words):
        return [result if isinstance(result, Exception) else result.score for result in hydra_entry(task)(words)]

    return scores, seen


def test_the_application_hands_over_a_run_and_passes_its_score_back(entry, tmp_path):
    train, seen = entry
    assert train([*BASE, "optim.lr=3e-4"]) == [3e-4]
    assert seen == [load_run([*BASE, "optim.lr=3e-4"])]
    assert list(tmp_path.iterdir()) == []
    assert sys.argv == ["lorasweep"]
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_a_multirun_runs_every_value_and_leaves_its_file_under_the_root(entry, tmp_path):
    train, seen = entry
    path = "photos, of 'me' = ${x}\\"
    words = ["preset=person_portraits", as_override("data.path", path), "optim.lr=1e-4,2e-4", "-m", "track.root=kept"]
    assert train(words) == [1e-4, 2e-4]
    assert [run.optim.lr for run in seen] == [1e-4, 2e-4]
    assert {run.data.path for run in seen} == {path}
    assert [file.parts[:2] for file in (found.relative_to(tmp_path) for found in tmp_path.rglob("*.yaml"))] == [
        ("kept", "multirun")
    ]


def test_cfg_job_prints_a_configuration_that_composes_to_the_same_run(entry, capsys):
    import yaml

    train, seen = entry
    assert train([*BASE, "optim.lr=3e-4", "--cfg", "job"]) == []
    assert seen == []
    assert from_plain(yaml.safe_load(capsys.readouterr().out)) == load_run([*BASE, "optim.lr=3e-4"])


def test_help_lists_groups_and_keys_without_a_preset(entry, capsys):
    train, _ = entry
    with pytest.raises(SystemExit, match="0"):
        train(["--help"])
    shown = capsys.readouterr().out
    assert "lorasweep train DIR preset=NAME" in shown
    assert "preset: character_flux, character_illustrious, character_pony, " in shown
    assert "every_steps: null" in shown


def test_what_the_task_raises_comes_through_without_noise(entry, capsys):
    train, _ = entry
    lucky, failed = train([*BASE, "seed=12,13", "-m"])
    assert lucky == load_run(BASE).optim.lr
    assert "lucky" in str(failed)
    assert capsys.readouterr().err == ""


def test_a_bad_override_of_the_application_is_one_sentence(entry, capsys):
    train, _ = entry
    with pytest.raises(UserError, match=r"optim\.lrr is not a key of a run; did you mean optim\.lr\?$"):
        train([*BASE, "optim.lrr=1"])
    assert capsys.readouterr().err == ""


def test_overrides_and_flags_may_come_in_any_order(entry, tmp_path):
    train, seen = entry
    (tmp_path / "mine" / "pick").mkdir(parents=True)
    (tmp_path / "mine" / "pick" / "mine.yaml").write_text("delta: 0.11\n")
    words = ["--config-dir", str(tmp_path / "mine"), BASE[0], "-m", BASE[1], "pick=mine"]
    assert train(words) == [load_run(BASE).optim.lr]
    assert seen[0].pick.delta == 0.11


@pytest.mark.parametrize("flag", ["--experimental-rerun", "--exp", "--experimental-rerun=x.pickle"])
def test_no_pickle_is_read(entry, flag):
    train, _ = entry
    with pytest.raises(UserError, match="would read a pickle"):
        train([flag, "x.pickle"])


def test_the_folder_of_presets_is_the_checkouts():
    assert (conf_dir() / "config.yaml").is_file()
