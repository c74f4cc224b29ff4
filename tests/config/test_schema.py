import re
from pathlib import Path

import pytest

from lorasweep.config.compose import conf_dir, load_run, presets
from lorasweep.config.explain import keys
from lorasweep.errors import UserError

GOLDEN = Path(__file__).with_name("keys.txt")
DATA = ["preset=person_portraits", "data.path=photos"]


def test_the_keys_of_a_run_are_the_golden_ones():
    assert list(keys()) == GOLDEN.read_text().split(), (
        "a renamed key breaks stored runs and presets: say so in CHANGELOG"
    )


@pytest.mark.parametrize("preset", presets())
def test_every_preset_composes_under_its_own_name(preset):
    run = load_run([f"preset={preset}", "data.path=photos", "model.path=base"])
    assert run.preset == preset
    assert run.evaluate.enabled
    assert len(run.sample.prompts) >= 8


GROUP_FILES = sorted(path for path in conf_dir().glob("*/*.yaml") if path.parent.name != "preset")


@pytest.mark.parametrize("file", GROUP_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_group_file_is_valid(file):
    rate = ["optim.lr=1"] if file.stem == "prodigy" else []  # the preset's is AdamW's
    run = load_run([*DATA, f"{file.parent.name}={file.stem}", "model.path=base", *rate])
    assert run.data.path == "photos"


@pytest.mark.parametrize("sheet", ["person", "portraits"])
def test_the_sheet_asks_for_every_kind_of_picture(sheet):
    prompts = load_run([*DATA, f"sample={sheet}"]).sample.prompts.values()
    assert sum(not prompt.photo for prompt in prompts) == 1
    assert sum(not prompt.subject for prompt in prompts) == 1
    for prompt in prompts:
        assert ("{trigger}" in prompt.text) == prompt.subject
        assert "{class_noun}" in prompt.text
        assert "{" not in prompt.score_text
        assert prompt.score_text


def test_the_drawn_sheet_speaks_the_words_that_its_model_was_taught():
    from lorasweep.portraits.people import BACKGROUNDS, HEADS, SHIRTS, WORDS

    heads = {head for group in HEADS.values() for head in group}
    colours = {f"{colour} background" for colour in BACKGROUNDS} | {f"{colour} shirt" for colour in SHIRTS}
    words = colours | {word for name in WORDS if name not in ("background", "shirt") for word in WORDS[name]}
    for prompt in load_run([*DATA, "sample=portraits"]).sample.prompts.values():
        head, *clauses = prompt.score_text.split(", ")
        assert head.removesuffix(" a person") in heads
        assert set(clauses) <= words
        assert (
            prompt.text.replace("{trigger} {class_noun}", "a person").replace("{class_noun}", "person")
            == prompt.score_text
        )


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optim.lr=0", "optim.lr is 0.0; it must be a number above zero"),
        ("optim.lr=nan", "optim.lr is nan; it must be a number above zero"),
        ("optim.lr=inf", "optim.lr is inf; it must be a number above zero"),
        ("optim.lr=-1e-4", "optim.lr is -0.0001; it must be a number above zero"),
        ("optim.name=lion", "optim.name is 'lion'; it must be one of adamw, adamw8bit, prodigy, adafactor"),
        ("data.held_out=0.7", "data.held_out is 0.7; it must be between 0 and 0.5"),
        ("sample.seeds=[]", "sample.seeds is empty; it must name at least one seed"),
        ("sample.fresh_seeds=[]", "sample.fresh_seeds is empty; the finalists need at least one seed of their own"),
        ("sample.guidance=nan", "sample.guidance is nan; it must be between 0 and 100"),
        ("sample.width=60", "sample.width is 60; it must be a number of pixels that 8 divides"),
        ("model.resolution=0", "model.resolution is 0; it must be a number of pixels that 8 divides"),
        ("optim.betas=[0.9]", "optim.betas is [0.9]; it must be two numbers from 0 to below 1"),
        ("optim.betas=[0.9,1.5]", "optim.betas is [0.9, 1.5]; it must be two numbers from 0 to below 1"),
        ("optim.eps=-1", "optim.eps is -1.0; it must be a number above zero"),
        ("optim.warmup_steps=-5", "optim.warmup_steps is -5; it must be between 0 and 500"),
        ("data.trigger=", "data.trigger is empty; it must be at least one word"),
        ("seed=-1", "seed is -1; it must be 0 or above"),
        ("pick.prefer=newest", "pick.prefer is 'newest'; it must be one of latest, best, earliest"),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_would_be_accepted(override, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        load_run([*DATA, override])


@pytest.mark.parametrize("rates", ["optim.lr=1e-3", "optim.text_encoder_lr=0.5"])
def test_prodigy_refuses_a_rate_meant_for_another_optimiser(rates):
    with pytest.raises(UserError, match=r"^optim\.(lr|text_encoder_lr) is .*; with optim\.name=prodigy it "):
        load_run([*DATA, "optim=prodigy", "optim.lr=1", rates])
