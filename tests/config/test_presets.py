"""Every preset is what its base model expects and what its recipe says, and draws enough to pick from.

The figures are facts from the sources that each preset names in its own comments.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
from contracts.tiny_models import load_tiny_kind, write_tiny

from lorasweep.config.compose import conf_dir, load_run, presets
from lorasweep.config.schema import RunConfig
from lorasweep.data.prompts import fill_prompts
from lorasweep.plan.budget import drawn_steps, sheet_cost, training_cost
from lorasweep.records import Prompt
from lorasweep.train.schedules import checkpoint_steps

CLIP_TOKENS = 75
"""CLIP reads 77 with the two that begin and end a text; what is beyond is cut off without a word."""
DRAWN_OVER_PERSON = (2.5, 5.0)
"""How much higher the effective rate is for drawn characters: 1e-3 to 2e-3 where a person takes 4e-4."""


class Base(NamedTuple):
    """How a base model wants to be drawn from."""

    family: str
    resolution: tuple[int, int]
    """From and to, in pixels a side."""
    samplers: tuple[str, ...]
    steps: tuple[int, int]
    guidance: tuple[float, float]
    clip_skip: int
    """Layers beyond what the family leaves out anyway: A1111's number less 1 on SD 1.5, less 2 on SDXL."""
    prefix: str = ""


BASES = {
    # A1111's guidance 7 and diffusers' 7.5; 20 to 25 steps of DPM++ 2M (diffusers' documentation)
    "sd15": Base("sd15", (512, 512), ("dpmpp_2m",), (20, 25), (7, 7.5), 0),
    # NovelAI's improvements on Stable Diffusion: CLIP's last layer but one
    "anime": Base("sd15", (512, 512), ("dpmpp_2m",), (20, 25), (7, 7.5), 1, "masterpiece, best quality"),
    # arXiv 2307.01952; diffusers' pipeline has guidance 5; its DPM++ leaves noise on SDXL (diffusers#5689)
    "sdxl": Base("sdxl", (1024, 1024), ("auto", "euler", "euler_a"), (20, 30), (5, 7.5), 0),
    # civitai.com/models/257749: Euler a, 25 steps, 1024 px, the whole row of scores
    "pony": Base("sdxl", (1024, 1024), ("euler_a",), (25, 25), (5, 7.5), 0, "score_9, score_8_up, score_7_up"),
    # OnomaAIResearch/Illustrious-xl-early-release-v0: Euler a, 20 to 28 steps, guidance 5 to 7.5
    "illustrious": Base("sdxl", (1024, 1024), ("euler_a",), (20, 28), (5, 7.5), 0, "masterpiece, best quality"),
    # ai-toolkit trains 512 to 1024 and draws 20 steps; diffusers' pipeline has guidance 3.5
    "flux": Base("flux", (512, 1024), ("auto", "euler"), (20, 30), (3.5, 4), 0),
}


class Recipe(NamedTuple):
    """What people have trained with."""

    base: str
    lowest: float
    highest: float
    """Effective rates, lr * alpha / rank, of the sources."""


RECIPES = {
    "person_sd15": Recipe("sd15", 6e-6, 1e-4),  # sd-scripts' general advice; kohya_ss "EDG_LoraOptiSettings"
    "character_sd15": Recipe("anime", 2.5e-4, 2.5e-4),  # kohya-colab: 5e-4 at alpha = half the rank
    "person_sdxl": Recipe("sdxl", 4e-5, 5e-5),  # kohya_ss "malcolmrey"; sd-scripts, kohya_ss "face dogu_cat"
    "character_pony": Recipe("pony", 1e-4, 2e-4),  # dim 32 at 1e-4; SeaArt's guide
    "character_illustrious": Recipe("illustrious", 7.5e-5, 3e-4),  # 3e-4, alpha a quarter of the rank to all of it
    "object_sdxl": Recipe("sdxl", 1.9e-5, 1e-4),  # OneTrainer's default; diffusers' DreamBooth example
    "style_sdxl": Recipe("sdxl", 3e-5, 5e-5),  # kohya_ss "AI_characters"; sd-scripts' general advice
    "person_flux": Recipe("flux", 2.5e-5, 3e-4),  # 4e-4 at alpha 1 of 16; kohya_ss "flux1D - adamw8bit fp8"
    "character_flux": Recipe("flux", 6.25e-5, 1e-3),  # 1e-3 at alpha 1 of 16; SimpleTuner: 1e-3 "roasts"
}
PERSON_BESIDE = {
    "character_sd15": "person_sd15",
    "character_pony": "person_sdxl",
    "character_illustrious": "person_sdxl",
    "character_flux": "person_flux",
}
NAMES = tuple(RECIPES)
PEOPLE = tuple(name for name in NAMES if name.startswith("person_"))


@cache
def composed(name: str) -> RunConfig:
    return load_run([f"preset={name}", "data.path=pictures", "model.path=base", "hardware=cpu"])


def sheet(name: str) -> tuple[Prompt, ...]:
    run = composed(name)
    return fill_prompts(run.sample, run.data)


def effective_rate(run: RunConfig) -> float:
    return run.optim.lr * run.lora.alpha / run.lora.rank


def spelled(rate: float) -> str:
    """As presets write it: 2.5e-4."""
    mantissa, exponent = f"{rate:.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def test_the_tables_know_every_preset_but_that_of_the_drawn_world() -> None:
    assert set(presets()) == {*NAMES, "person_portraits"}


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_draws_as_its_base_expects(name: str) -> None:
    run, base = composed(name), BASES[RECIPES[name].base]
    assert run.preset == name
    assert run.model.family == base.family
    assert base.resolution[0] <= run.model.resolution <= base.resolution[1]
    assert (run.sample.width, run.sample.height) == (None, None)
    assert run.sample.sampler in base.samplers
    assert base.steps[0] <= run.sample.steps <= base.steps[1]
    assert base.guidance[0] <= run.sample.guidance <= base.guidance[1]
    assert run.sample.clip_skip == base.clip_skip
    assert run.sample.prefix.startswith(base.prefix)
    assert bool(run.sample.prefix) == bool(base.prefix)
    assert bool(run.sample.negative) == (base.family != "flux")


@pytest.fixture(scope="module")
def family_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    root = tmp_path_factory.mktemp("kinds")
    return cache(lambda kind: load_tiny_kind(kind, write_tiny(kind, root / kind)))


@pytest.mark.parametrize("name", NAMES)
def test_no_family_refuses_its_preset(name: str, family_of: Callable[[str], Any]) -> None:
    family_of(composed(name).model.family).refuse(composed(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_effective_rate_is_that_of_the_recipes_and_is_written_down(name: str) -> None:
    rate = effective_rate(composed(name))
    assert RECIPES[name].lowest * 0.999 <= rate <= RECIPES[name].highest * 1.001
    comments = [line for line in _source(name).splitlines() if line.startswith("#")]
    words = " ".join(line.lstrip("# ") for line in comments)
    assert re.search(rf"[Ee]ffective rate\s+lr \* alpha / rank.{{0,20}}\b{re.escape(spelled(rate))}\b", words)


@pytest.mark.parametrize(("drawn", "person"), PERSON_BESIDE.items())
def test_a_drawn_character_learns_at_two_and_a_half_to_five_times_a_persons_rate(drawn: str, person: str) -> None:
    low, high = DRAWN_OVER_PERSON
    assert low * 0.999 <= effective_rate(composed(drawn)) / effective_rate(composed(person)) <= high * 1.001


@pytest.mark.parametrize("name", [name for name in NAMES if RECIPES[name].base == "flux"])
def test_flux_stops_at_1800_steps_and_has_a_checkpoint_near_1200(name: str) -> None:
    run = composed(name)
    assert run.optim.steps <= 1800
    assert 1200 in checkpoint_steps(run)
    assert run.optim.guidance == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_checkpoint_is_drawn_for_about_what_training_costs(name: str) -> None:
    run = composed(name)
    steps = checkpoint_steps(run)
    assert len(steps) == 12
    assert drawn_steps(run, steps) == steps
    assert len(steps) * sheet_cost(run) <= 1.3 * training_cost(run)


@pytest.mark.parametrize("name", NAMES)
def test_a_sheet_has_eight_pictures_or_nine_and_the_finalists_twice_as_many(name: str) -> None:
    sample = composed(name).sample
    assert list(sample.prompts) == sorted(sample.prompts)
    assert [key[:3] for key in sample.prompts] == [f"p{number}_" for number in range(1, 10 if name in PEOPLE else 9)]
    assert len(sample.fresh_seeds) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_one_prompt_goes_without_the_trigger_and_the_others_have_it(name: str) -> None:
    trigger = composed(name).data.trigger
    assert [prompt.key for prompt in sheet(name) if not prompt.subject] == ["p8_class"]
    for prompt in sheet(name):
        assert (trigger in prompt.text) == prompt.subject


@pytest.mark.parametrize("name", NAMES)
def test_only_people_are_asked_for_a_face_and_no_sheet_is_all_in_another_medium(name: str) -> None:
    judged = [prompt for prompt in sheet(name) if prompt.subject]
    faceless = {"p3_street", "p9_sunglasses"}  # too small, and hidden
    assert {prompt.key for prompt in judged if not prompt.face} == (
        faceless if name in PEOPLE else {prompt.key for prompt in judged}
    )
    assert sum(prompt.photo for prompt in judged) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_scorers_read_plain_words(name: str) -> None:
    run = composed(name)
    tags = {tag.strip() for tag in f"{run.sample.prefix},{run.sample.negative}".split(",")} - {"", "text"}
    tags |= {run.data.trigger, "1girl", "1boy", "solo", "looking at viewer"}
    for given, prompt in zip(run.sample.prompts.values(), sheet(name), strict=True):
        assert given.score_text
        assert "_" not in prompt.score_text
        assert len(prompt.score_text.split()) >= 5
        assert not [tag for tag in tags if re.search(rf"\b{re.escape(tag)}\b", prompt.score_text)]
    assert len({prompt.score_text for prompt in sheet(name)}) == len(sheet(name))


@pytest.mark.parametrize("name", NAMES)
def test_clip_reads_every_text_whole(name: str) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    encode = SimpleTokenizer().encode
    for prompt in sheet(name):
        for text in (prompt.text, prompt.negative, prompt.score_text):
            assert len(encode(text)) <= CLIP_TOKENS, text


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_where_its_numbers_come_from_and_what_is_not_judged(name: str) -> None:
    source = _source(name)
    for word in ("Rate", "Steps:", "Drawing"):
        assert re.search(rf"^# .*{word}", source, flags=re.MULTILINE), word
    assert ("Not judged:" in source) != name.startswith("person_")


def _source(name: str) -> str:
    return (conf_dir() / "preset" / f"{name}.yaml").read_text(encoding="utf-8")
