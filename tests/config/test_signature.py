import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from lorasweep.config.compose import from_plain, load_run, to_plain
from lorasweep.config.explain import keys
from lorasweep.config.signature import evaluation_signature, run_signature

RUN = load_run(["preset=person_portraits", "data.path=photos"])
WORDS = {
    "model.prediction": "epsilon",
    "model.resolution": 128,
    "hardware.precision": "bf16",
    "hardware.base": "fp8",
    "hardware.cache": "disk",
    "lora.targets": "attention",
    "optim.name": "adafactor",
    "optim.betas": [0.9, 0.99],
    "optim.schedule": "linear",
    "optim.timesteps": "sigmoid",
    "save.metadata": "full",
    "model.zero_terminal_snr": True,
    "sample.sampler": "ddim",
    "sample.width": 128,
    "sample.height": 128,
    "evaluate.face": "facenet",
    "evaluate.subject": "image",
    "evaluate.image": "dinov2",
    "data.kind": "object",
    "pick.prefer": "best",
    "pick.confidence": 0.9,
    "pick.strengths": [0.7, 1.0],
    "data.train_on": "all",
    "data.buckets": "kohya",
    "data.masks": "alpha",
    "data.check_mirror": True,
}
LEAVES = [key.replace("*", "p1_plain") for key in keys()]


def changed(key):
    """The run with one key set to another valid value."""
    return with_change(RUN, key.split("."), WORDS.get(key))


def with_change(node, parts, new):
    name, *rest = parts
    if isinstance(node, dict):
        return {**node, name: with_change(node[name], rest, new)}
    old = getattr(node, name)
    return dataclasses.replace(node, **{name: with_change(old, rest, new) if rest else new or other(old)})


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return [*value[:-1], value[-1] + 7]
    if isinstance(value, float):
        return value / 2 if value else 0.25
    return 3 if value is None else value + 1


NEUTRAL = {"preset", "name", "data.path", "data.held_out_path", "hardware.device", "hardware.threads"}
NEUTRAL |= {"model.offline", "save.state_minutes", "save.states_kept", "save.metadata", "sample.every_steps"}
NEUTRAL |= {"evaluate.validation", "data.masks_path", "data.regularisation_path", "data.check_mirror"}
NEUTRAL |= {"hardware.offload", "hardware.cache", "hardware.unload_encoders"}
NEUTRAL |= {key for key in LEAVES if key.startswith("track.")}
SAMPLED = ("seeds", "fresh_seeds", "sampler", "steps", "guidance", "clip_skip", "width", "height", "strength")
SAMPLED += ("prefix", "negative")
JUDGED = {f"sample.{name}" for name in SAMPLED}
JUDGED |= {"model.resolution", "model.prediction", "model.zero_terminal_snr"}
JUDGED |= {"evaluate.face", "evaluate.clip", "data.trigger", "data.class_noun"}
JUDGED |= {key for key in LEAVES if key.startswith(("sample.prompts.", "evaluate.weights."))}


def test_the_run_signature_changes_with_every_key_that_can_change_the_result_and_no_other():
    before = run_signature(RUN, "photos")
    unmoved = {key for key in LEAVES if run_signature(changed(key), "photos") == before}
    assert unmoved == NEUTRAL


def test_the_evaluation_signature_changes_with_what_is_drawn_and_who_looks_and_nothing_else():
    before = evaluation_signature(RUN, 1, {"face": "a"}, "photos", "model")
    moved = {key for key in LEAVES if evaluation_signature(changed(key), 1, {"face": "a"}, "photos", "model") != before}
    assert moved == JUDGED


def test_other_scoring_code_photos_weights_or_base_model_are_another_evaluation():
    run = RUN
    signatures = {
        evaluation_signature(run, scoring, weights, photos, model)
        for scoring, weights, photos, model in [
            (1, {"face": "a"}, "photos", "model"),
            (2, {"face": "a"}, "photos", "model"),
            (1, {"face": "b"}, "photos", "model"),
            (1, {"face": "a", "clip": "c"}, "photos", "model"),
            (1, {"face": "a"}, "others", "model"),
            (1, {"face": "a"}, "photos", "tuned"),
        ]
    }
    assert len(signatures) == 6
    assert run_signature(run, "photos") != run_signature(run, "others")


def test_the_signature_is_the_first_16_hex_digits_of_a_hash_and_stays_what_it_was():
    assert run_signature(RUN, "photos") == run_signature(from_plain(to_plain(RUN)), "photos")
    assert len(run_signature(RUN, "photos")) == 16
    int(run_signature(RUN, "photos"), 16)


@given(
    st.fixed_dictionaries(
        {
            "optim": st.fixed_dictionaries({"lr": st.floats(1e-9, 1), "steps": st.integers(1, 10**6)}),
            "lora": st.fixed_dictionaries({"rank": st.integers(1, 256), "alpha": st.floats(1e-3, 256)}),
            "seed": st.integers(0, 2**31),
        }
    ),
    st.text(max_size=8).filter(lambda text: "${" not in text),
)
@settings(max_examples=10, deadline=None)
def test_storing_a_run_changes_neither_it_nor_its_signature(change, name):
    run = from_plain({**to_plain(RUN), **change, "name": name})
    back = from_plain(to_plain(run))
    assert back == run
    assert run_signature(back, "photos") == run_signature(dataclasses.replace(run, name=None), "photos")
