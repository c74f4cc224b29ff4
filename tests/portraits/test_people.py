"""People, scenes and the words for them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lorasweep.portraits.people import (
    BACKGROUNDS,
    FACIAL_HAIR,
    HAIR_STYLES,
    NUMBERS,
    SHIRTS,
    Identity,
    Scene,
    caption,
    identity_distance,
    random_trigger,
    sample_identity,
    sample_scene,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_a_vector_is_in_range_and_tells_the_person_back(rng):
    for _ in range(50):
        person = sample_identity(rng)
        vector = person.vector()
        assert vector.shape == (len(NUMBERS) + 1 + len(HAIR_STYLES) + len(FACIAL_HAIR),)
        assert vector.min() >= 0 and vector.max() <= 1
        back = Identity.from_vector(vector)
        assert identity_distance(person, back) < 1e-6
        assert (back.hair_style, back.facial_hair, back.mole_side) == (
            person.hair_style,
            person.facial_hair,
            person.mole_side,
        )


def test_the_same_seed_gives_the_same_person_and_scene():
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    assert sample_identity(one) == sample_identity(two)
    assert sample_scene(one) == sample_scene(two)


def test_distance_is_zero_for_oneself_symmetric_and_large_between_strangers(rng):
    people = [sample_identity(rng) for _ in range(200)]
    gaps = [identity_distance(a, b) for a, b in pairwise(people)]
    assert identity_distance(people[0], people[0]) == 0
    assert identity_distance(people[0], people[1]) == identity_distance(people[1], people[0])
    assert 0.3 < np.mean(gaps) < 0.6 and max(gaps) <= 1


def test_a_changed_parameter_is_a_distance(rng):
    person = sample_identity(rng)
    for name in NUMBERS:
        value = getattr(person, name)
        other = replace(person, **{name: value + 0.4 if value < 0.5 else value - 0.4})
        assert identity_distance(person, other) > 0.001, name


def test_captions_never_name_the_identity(rng):
    forbidden = {
        "hair",
        "bald",
        "beard",
        "moustache",
        "mole",
        "eyes",
        "skin",
        "nose",
        "jaw",
        *HAIR_STYLES,
    }
    for _ in range(500):
        words = set(caption(sample_scene(rng), rng=rng).replace(",", " ").split())
        assert not words & forbidden


def test_the_full_caption_names_everything_in_the_scene():
    scene = Scene("orange", "green", "sad", "left", "dim", "close-up", "hat")
    assert caption(scene, trigger="s1lv10") == (
        "a close-up photo of s1lv10 person, sad, looking left, wearing a hat, "
        "orange background, wearing a green shirt, dim light"
    )


def test_random_captions_vary_and_sometimes_say_nothing(rng):
    texts = {caption(Scene("red", "blue", "smiling"), rng=rng) for _ in range(300)}
    assert len(texts) > 150
    assert any("," not in text for text in texts)


def test_a_sketch_has_no_colour_in_its_caption(rng):
    for _ in range(100):
        scene = replace(sample_scene(rng), style="sketch")
        words = set(caption(scene, rng=rng).replace(",", " ").split())
        assert "sketch" in words and not words & {*BACKGROUNDS, *SHIRTS}


def test_a_trigger_is_a_short_word_of_letters_and_digits(rng):
    assert all(4 <= len(word) <= 7 and word.isalnum() for word in (random_trigger(rng) for _ in range(50)))
