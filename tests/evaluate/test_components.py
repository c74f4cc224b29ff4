import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from contracts import metric, subject

from lorasweep.evaluate.artifact import FAULTS, NOTICEABLE, reference
from lorasweep.evaluate.identity import likeness
from lorasweep.evaluate.novelty import rank_test
from lorasweep.evaluate.score import JUDGES
from lorasweep.outcomes import NoteKind, VetoKind
from lorasweep.records import COMPONENTS, TEXTURE, Evidence, Features, Note
from lorasweep.vision.strangers import HEADS, PITCHES, YAWS, turned_shapes

BAD = {
    "identity": {"likeness": 0.2},
    "prompt": {"follow": 0.0},
    "geometry": {"deformed": 0.08},
    "novelty": {"copied": 1.0},
}


def faceless(drawn: Features, rows) -> Features:
    drawn.face_count[rows] = 0
    drawn.face_size[rows] = 0
    drawn.face[rows] = 0
    drawn.landmarks[rows] = np.nan
    return drawn


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_keeps_the_contract(name):
    metric.keeps_its_range(JUDGES[name])
    metric.does_not_depend_on_order(JUDGES[name])
    metric.is_a_pure_function(JUDGES[name])


@pytest.mark.parametrize("name", BAD)
def test_every_component_sees_what_it_is_responsible_for(name):
    metric.prefers(JUDGES[name], subject.sheet, lambda known: subject.sheet(known, **BAD[name]))


@pytest.mark.parametrize(("fault", "column", "sign"), [(f, *sign) for f, signs in FAULTS.items() for sign in signs])
def test_a_clearly_noticeable_change_of_any_texture_is_damage_and_has_a_name(fault, column, sign):
    def changed(known):
        return subject.damaged(subject.sheet(known), **{column: 3 * sign * NOTICEABLE[column]})

    metric.prefers(JUDGES["artifact"], subject.sheet, changed)
    known = subject.evidence(0)
    (note,) = JUDGES["artifact"](changed(known), known).notes
    assert note.kind is NoteKind.DAMAGED
    assert (column, sign) in FAULTS[str(note.values["fault"])]


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_fault_of_one_kind_hardly_moves_the_others(name):
    for cause, dose in BAD.items():
        known = subject.evidence(1)
        before = metric.value(JUDGES[name], subject.sheet(known, 1), known)
        after = metric.value(JUDGES[name], subject.sheet(known, 1, **dose), known)
        if cause != name:
            assert abs(before - after) < 0.1, (name, cause)


def test_the_base_model_has_no_identity_and_all_of_the_rest():
    known = subject.evidence(2)
    values = {name: metric.value(JUDGES[name], known.base, known) for name in COMPONENTS}
    assert values["identity"] < 0.02
    assert min(values[name] for name in COMPONENTS[1:]) > 0.95


def test_likeness_beyond_the_photos_own_is_not_rewarded():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    center = subject.unit(known.held_out.face.mean(axis=0))
    drawn.face[:] = center
    assert metric.value(JUDGES["identity"], drawn, known) == 1.0
    assert np.nanmax(JUDGES["identity"](drawn, known).shares) == 1.25


def test_a_missing_face_counts_zero_and_never_nan():
    known = subject.evidence(0)
    whole = JUDGES["identity"](subject.sheet(known), known).shares
    gone = JUDGES["identity"](faceless(subject.sheet(known), [0, 1]), known).shares
    assert gone[:2].tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(gone[2:], whole[2:])


def test_a_face_too_small_to_recognise_does_not_count():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    drawn.face_size[0] = 0.05
    assert np.isnan(JUDGES["identity"](drawn, known).shares[0])
    assert np.isnan(JUDGES["geometry"](drawn, known).shares[0])


@pytest.mark.parametrize("name", ["identity", "geometry"])
def test_a_face_that_most_of_the_base_models_images_of_a_prompt_lack_too_is_not_judged(name):
    known = subject.evidence(0)
    faceless(known.base, [0, 1, 2])
    shares = JUDGES[name](faceless(subject.sheet(known), [0, 1, 4]), known).shares
    assert np.isnan(shares[:2]).all()
    assert shares[4] == 0


def test_other_seeds_of_the_base_model_tell_whether_a_prompt_shows_a_face():
    known = subject.evidence(0)
    more = replace(known, spare=metric.take(known.base, np.arange(16)))
    faceless(known.base, [0])
    gone = faceless(subject.sheet(known), [0])
    assert np.isnan(JUDGES["identity"](gone, known).shares[0])  # one of two images is not most
    assert JUDGES["identity"](gone, more).shares[0] == 0


def test_a_face_turned_the_other_way_than_all_references_is_well_formed():
    known = subject.evidence(0)
    turned = np.array([[0.33, 0.42], [0.52, 0.42], [0.36, 0.54], [0.37, 0.66], [0.50, 0.66]])
    mirrored = turned[[1, 0, 2, 4, 3]] * (-1, 1) + (1, 0)
    for part in (known.train, known.held_out, known.base):
        part.landmarks[:] = turned + np.random.default_rng(0).normal(0, 0.003, part.landmarks.shape)
    drawn = subject.sheet(known)
    drawn.landmarks[:] = mirrored
    assert metric.value(JUDGES["geometry"], drawn, known) > 0.98


def test_a_head_turned_farther_than_any_reference_is_well_formed_if_it_is_known_how_heads_turn():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    profile = turned_shapes()[YAWS.argmax() * len(PITCHES) * HEADS + HEADS * (len(PITCHES) // 2)]
    drawn.landmarks[:] = 0.5 + 0.2 * profile
    assert metric.value(JUDGES["geometry"], drawn, known) < 0.5
    assert metric.value(JUDGES["geometry"], drawn, replace(known, shapes=turned_shapes())) == 1


def test_a_bent_face_is_deformed_however_heads_turn():
    known = replace(subject.evidence(0), shapes=turned_shapes())
    drawn = subject.sheet(known)
    drawn.landmarks[:, 0] = drawn.landmarks[:, 3]  # an eye in the corner of the mouth
    assert metric.value(JUDGES["geometry"], drawn, known) < 0.2


def test_losing_more_faces_than_the_base_model_rules_a_checkpoint_out():
    known = subject.evidence(0)
    veto = JUDGES["geometry"](faceless(subject.sheet(known), [0, 2, 4, 6]), known).veto
    assert (veto.kind, veto.share) == (VetoKind.NO_FACE, pytest.approx(4 / 12))


def test_a_face_or_two_that_the_finder_may_have_missed_rule_nothing_out():
    known = subject.evidence(0)
    for rows in ([0], [0, 2]):
        judged = JUDGES["geometry"](faceless(subject.sheet(known), rows), known)
        assert judged.veto is None
        assert np.nansum(judged.shares == 0) == len(rows)  # each still costs its share


def test_faces_that_the_base_model_misses_as_often_rule_nothing_out():
    known = subject.evidence(0)
    faceless(known.base, [0, 2, 4, 6])
    assert JUDGES["geometry"](faceless(subject.sheet(known), [0, 2, 4, 6]), known).veto is None


def test_four_photos_are_too_few_to_measure_a_likeness():
    known = subject.evidence(0, train=4, held_out=0)
    assert likeness(known) == Note(NoteKind.FEW_FACES, {"count": 4, "needed": 5})
    assert np.isnan(JUDGES["identity"](subject.sheet(known), known).shares).all()


def test_strangers_that_look_like_the_subject_make_identity_unmeasurable():
    known = subject.evidence(0)
    known.base.face[:] = subject.near(subject.direction(1, subject.FACE), 0.75, np.random.default_rng(0), 16)
    (note,) = JUDGES["identity"](subject.sheet(known), known).notes
    assert (note.kind, note.values["needed"]) == (NoteKind.STRANGERS_ALIKE, 0.15)


def test_without_held_out_photos_the_scale_is_leave_one_out_and_copying_stays_open():
    known = subject.evidence(0, train=9, held_out=0)
    scale = likeness(known)
    alike = known.train.face @ known.train.face.T
    among = (alike.sum(axis=1) - 1) / 8
    assert scale.ceiling == pytest.approx(np.median(among))
    assert metric.value(JUDGES["identity"], subject.sheet(known), known) > 0.85
    assert JUDGES["novelty"](subject.sheet(known), known).notes == (Note(NoteKind.NO_HELD_OUT),)
    assert metric.value(JUDGES["novelty"], subject.sheet(known), known) > 0.9


def test_the_held_out_photos_are_as_alike_as_can_be_asked():
    known = subject.evidence(0, held_out=16)
    drawn = replace(known.held_out, keys=subject.KEYS)
    assert metric.value(JUDGES["identity"], drawn, known) > 0.95


def test_copies_of_the_training_photos_leave_nothing_new():
    known = subject.evidence(0)
    judged = JUDGES["novelty"](subject.sheet(known, copied=1.0), known)
    assert np.nanmean(judged.shares) < 0.02
    assert judged.veto.kind is VetoKind.COPIES


def test_mirrored_copies_are_copies():
    known = subject.evidence(0)
    mirrored = metric.take(subject.photos(12, np.random.default_rng(9)), np.arange(12))
    drawn = subject.sheet(known)
    drawn.scene[:], drawn.face[:] = mirrored.scene[np.arange(16) % 12], mirrored.face[np.arange(16) % 12]
    assert metric.value(JUDGES["novelty"], drawn, known) > 0.85
    assert metric.value(JUDGES["novelty"], drawn, replace(known, mirrored=mirrored)) < 0.05


def test_a_scene_that_the_base_model_draws_for_these_words_is_no_copy():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    drawn.scene[0], drawn.face[0] = known.train.scene[0], known.train.face[0]
    copied = JUDGES["novelty"](drawn, known).shares[0]
    known.base.scene[0], known.base.face[0] = known.train.scene[0], known.train.face[0]
    assert copied < 0.1
    assert JUDGES["novelty"](drawn, known).shares[0] > 0.85


def test_a_scene_is_a_copy_as_far_as_the_face_in_it_is_as_near_to_that_photo_as_photos_of_the_person_come():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    drawn.scene[:3] = known.train.scene[0]
    drawn.face[0] = known.train.face[0]
    drawn.face[1] = known.base.face[1]
    drawn.face[2], drawn.face_count[2] = 0, 0
    shares = JUDGES["novelty"](drawn, known).shares
    assert shares[0] < 0.1
    assert shares[1] > 0.85
    assert shares[2] < 0.1  # nobody there to tell it by


def test_a_held_out_twin_excuses_its_own_training_photo_and_no_other():
    known = subject.evidence(0)
    known.held_out.scene[0] = known.train.scene[0]
    drawn = subject.sheet(known)
    for row in (0, 1):
        drawn.scene[row], drawn.face[row] = known.train.scene[row], known.train.face[row]
    known.held_out.face[0] = known.train.face[0]
    shares = JUDGES["novelty"](drawn, known).shares
    assert shares[0] > 0.85
    assert shares[1] < 0.1


def test_the_same_picture_for_every_seed_costs_novelty():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    drawn.image[1::2] = drawn.image[::2]
    assert metric.value(JUDGES["novelty"], drawn, known) < 0.05


def one_seed(part: Features) -> Features:
    return metric.take(part, np.arange(0, 16, 2))


def test_with_one_seed_previews_of_different_prompts_that_converge_cost_novelty():
    known = subject.evidence(0)
    single = replace(known, seeds=(0,), base=one_seed(known.base))
    drawn = one_seed(subject.sheet(known))
    assert metric.value(JUDGES["novelty"], drawn, single) > 0.95
    one_scene = subject.unit(drawn.scene[:7].mean(axis=0))
    drawn.scene[:7] = subject.unit(0.9 * one_scene + 0.1 * drawn.scene[:7])
    judged = JUDGES["novelty"](drawn, single)
    assert np.clip(np.nanmean(judged.shares), 0, 1) < 0.05
    assert Note(NoteKind.PROMPTS_ALIKE) in judged.notes


def test_with_one_seed_the_prompt_without_the_subject_does_not_save_the_others():
    known = subject.evidence(0)
    single = replace(known, seeds=(0,), base=one_seed(known.base))
    drawn = one_seed(subject.sheet(known))
    drawn.scene[:7] = drawn.scene[0]
    assert metric.value(JUDGES["novelty"], drawn, single) == 0


def test_seeds_that_differ_a_tenth_as_much_as_strangers_cost_no_novelty():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    for row in range(1, 16, 2):
        drawn.image[row] = drawn.image[row - 1] + 0.25 * (drawn.image[row] - drawn.image[row - 1])
    drawn.image[:] = subject.unit(drawn.image)
    assert metric.value(JUDGES["novelty"], drawn, known) > 0.95


def test_swapped_prompts_are_not_followed():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    drawn.image[:] = np.roll(drawn.image, 6, axis=0)
    assert metric.value(JUDGES["prompt"], drawn, known) < 0.05


def test_a_subject_that_leaks_into_the_class_noun_costs_that_prompt():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    before = JUDGES["prompt"](drawn, known).shares
    drawn.face[-2:] = drawn.face[:2]
    after = JUDGES["prompt"](drawn, known).shares
    np.testing.assert_array_equal(before[:-2], after[:-2])
    assert (before - after)[-2:].min() > 0.6


def test_texture_that_the_photos_have_too_is_no_damage_but_where_no_photo_is_asked_for():
    known = subject.evidence(0)
    drawn = subject.damaged(subject.sheet(known), saturation=0.5)
    assert metric.value(JUDGES["artifact"], drawn, known) < 0.2
    subject.damaged(known.train, saturation=0.5)
    subject.damaged(known.held_out, saturation=0.5)
    shares = JUDGES["artifact"](drawn, known).shares
    sketch = np.repeat([not prompt.photo for prompt in subject.PROMPTS], 2)
    assert shares[~sketch].min() > 0.9
    assert shares[sketch].max() < 0.05


def test_grain_of_the_photos_does_not_hide_what_else_they_excuse():
    known = subject.evidence(0)
    drawn = subject.damaged(subject.sheet(known), saturation=0.15)
    photo = np.repeat([prompt.photo for prompt in subject.PROMPTS], 2)
    alone = JUDGES["artifact"](drawn, known).shares[photo].mean()
    for photos in (known.train, known.held_out):
        subject.damaged(photos, saturation=0.5, grain=40.0)
    assert JUDGES["artifact"](drawn, known).shares[photo].mean() > alone + 0.3


def test_a_checkpoint_that_lost_half_of_its_soundness_is_ruled_out_if_faces_tell_the_subject():
    known = subject.evidence(0)
    assert JUDGES["artifact"](subject.sheet(known), known).veto is None
    ruined = subject.damaged(subject.sheet(known), grain=4.0)
    veto = JUDGES["artifact"](ruined, known).veto
    assert veto.kind is VetoKind.DAMAGED
    assert veto.share > 0.9
    assert JUDGES["artifact"](ruined, replace(known, told_by="image")).veto is None


def noisy(known: Evidence, rows, change: float = 3.0) -> Features:
    drawn = subject.sheet(known)
    drawn.texture[rows] += change
    return drawn


def test_damage_is_seen_at_every_prompt_also_where_no_photo_and_no_subject_is_asked_for():
    known = subject.evidence(0)
    shares = JUDGES["artifact"](noisy(known, slice(None)), known).shares
    assert shares.max() < 0.05


@pytest.mark.parametrize("prompt", range(len(subject.PROMPTS)))
def test_one_destroyed_prompt_of_a_sound_sheet_costs_that_prompt_alone(prompt):
    known = subject.evidence(0)
    rows = [2 * prompt, 2 * prompt + 1]
    drawn = subject.sheet(known)
    # One column alone, so that the sheet's mean stays near the base model's.
    drawn.texture[rows, TEXTURE.index("grain")] += [9.0, -9.0]
    shares = JUDGES["artifact"](drawn, known).shares
    assert shares[rows].max() < 0.05
    assert np.delete(shares, rows).min() > 0.95


def test_each_image_is_compared_with_the_base_models_images_of_its_own_prompt():
    known = subject.evidence(0)
    offsets = np.random.default_rng(5).normal(0, 1, (len(subject.PROMPTS), len(TEXTURE)))
    known.base.texture[:] += np.repeat(offsets, 2, axis=0)
    drawn = subject.sheet(known)
    drawn.texture[:] += np.repeat(offsets, 2, axis=0)
    assert metric.value(JUDGES["artifact"], drawn, known) > 0.98
    drawn.texture[:] = np.roll(drawn.texture, 2, axis=0)
    assert metric.value(JUDGES["artifact"], drawn, known) < 0.3


def test_more_seeds_of_a_prompt_do_not_turn_another_backdrop_into_destruction():
    known = subject.evidence(0)
    known = replace(known, spare=metric.take(known.base, np.arange(16)))  # four base images a prompt, as below
    twice = np.repeat(np.arange(16).reshape(8, 2), 2, axis=1).ravel()
    more = replace(known, seeds=(0, 1, 2, 3), base=metric.take(known.base, twice), spare=None)
    drawn = subject.sheet(known)
    spread = reference(known).spread
    drawn.texture[4:6] += 2.6 * spread * np.where(np.arange(len(spread)) % 2, 1, -1)
    shares = JUDGES["artifact"](drawn, known).shares[4:6]
    again = JUDGES["artifact"](metric.take(drawn, twice), more).shares[8:12]
    assert 0.3 < shares.mean() < 0.95
    assert again.mean() > shares.mean() - 0.1


def test_the_order_of_seeds_within_a_prompt_does_not_matter_to_damage():
    known = subject.evidence(0)
    drawn = subject.damaged(subject.sheet(known), contrast=0.1)
    swapped = np.arange(16).reshape(8, 2)[:, ::-1].ravel()
    turned = replace(known, base=metric.take(known.base, swapped))
    np.testing.assert_allclose(
        JUDGES["artifact"](drawn, turned).shares, JUDGES["artifact"](drawn, known).shares, atol=1e-12
    )


def test_the_more_seeds_of_the_base_model_differ_the_less_a_change_counts():
    known = subject.evidence(0)
    drawn = subject.damaged(subject.sheet(known), contrast=0.12)
    spare = subject.damaged(metric.take(known.base, np.arange(16)), contrast=0.2)
    assert metric.value(JUDGES["artifact"], drawn, known) < 0.3
    assert metric.value(JUDGES["artifact"], drawn, replace(known, spare=spare)) > 0.8


def test_sheets_that_differ_in_damage_are_never_tied():
    known = subject.evidence(0)
    doses = [0.3, 0.6, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0]
    values = [
        metric.value(JUDGES["artifact"], subject.damaged(subject.sheet(known), grain=dose), known) for dose in doses
    ]
    assert all(before > after for before, after in itertools.pairwise(values)), values


def test_one_seed_a_prompt_and_no_photos_still_tell_damage():
    known = subject.evidence(0)
    photos = {part: metric.take(getattr(known, part), np.arange(0)) for part in ("train", "held_out")}
    single = replace(known, seeds=(0,), base=metric.take(known.base, np.arange(0, 16, 2)), **photos)
    plain = metric.take(subject.sheet(known), np.arange(0, 16, 2))
    assert metric.value(JUDGES["artifact"], plain, single) > 0.75
    assert metric.value(JUDGES["artifact"], subject.damaged(plain, grain=3.0), single) < 0.2


def test_a_number_that_nobody_measured_takes_no_part():
    known = subject.evidence(0)
    drawn = subject.damaged(subject.sheet(known), contrast=0.1)
    for part in (known.base, known.train, known.held_out, drawn):
        part.texture[:, TEXTURE.index("lattice")] = np.nan
    assert 0.001 < metric.value(JUDGES["artifact"], drawn, known) < 0.999


def test_the_columns_of_damage_exist():
    assert {name for signs in FAULTS.values() for name, _ in signs} <= set(TEXTURE)


def test_the_rank_test_is_half_at_a_draw_and_tiny_when_all_are_above():
    same = np.linspace(0, 1, 9)
    assert rank_test(same, same) == pytest.approx(0.5, abs=0.02)
    assert 1e-4 < rank_test(np.arange(10.0, 24), np.arange(5.0)) < 1.5e-3  # exactly: 1 in 11,628
    assert rank_test(np.arange(5.0), np.arange(10.0, 24)) > 0.99


def test_ties_make_the_rank_test_no_less_sure():
    """Of 16 samples 12 have no face to compare (-1), as 6 of 8 held-out photos; tied ranks scatter less."""
    values, genuine = np.repeat([-1.0, 0.8], [12, 4]), np.repeat([-1.0, 0.5], [6, 2])
    count, others = len(values), len(genuine)
    tied = np.unique(np.concatenate([values, genuine]), return_counts=True)[1]
    total = count + others
    spread = np.sqrt(count * others / 12 * (total + 1 - (tied**3 - tied).sum() / (total * (total - 1))))
    wins = (values[:, None] > genuine).sum() + 0.5 * (values[:, None] == genuine).sum()
    z = (wins - count * others / 2 - 0.5) / spread
    assert rank_test(values, genuine) == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)))
    assert rank_test(np.ones(5), np.ones(5)) > 0.5  # nothing but ties shows nothing


def as_picture(known: Evidence) -> Evidence:
    """The same subject, told by the whole picture: the faces' vectors, and no faces."""
    parts = {name: without_faces(getattr(known, name)) for name in ("train", "held_out", "base")}
    prompts = tuple(replace(prompt, face=False) for prompt in known.prompts)
    return replace(known, prompts=prompts, told_by="image", **parts)


def without_faces(part: Features) -> Features:
    count = len(part.keys)
    gone = {"face": np.zeros((count, 0)), "face_count": np.zeros(count, np.int64), "face_size": np.zeros(count)}
    return replace(part, whole=part.face, landmarks=np.full((count, 5, 2), np.nan), **gone)


def test_a_subject_without_a_face_is_judged_on_the_same_scale_by_whole_pictures():
    known = subject.evidence(0)
    drawn = subject.sheet(known, likeness=0.4)
    by_face = JUDGES["identity"](drawn, known).shares
    np.testing.assert_array_equal(JUDGES["identity"](without_faces(drawn), as_picture(known)).shares, by_face)
    assert 0.2 < np.nanmean(by_face) < 0.8


@pytest.mark.parametrize("name", ["identity", "prompt", "novelty"])
def test_without_faces_every_component_but_geometry_sees_what_it_is_responsible_for(name):
    known = subject.evidence(0)
    thing = as_picture(known)
    good = metric.value(JUDGES[name], without_faces(subject.sheet(known)), thing)
    bad = metric.value(JUDGES[name], without_faces(subject.sheet(known, **BAD[name])), thing)
    assert good > 0.85
    assert bad < good - 0.25


def test_geometry_does_not_apply_where_no_face_is_looked_for():
    known = subject.evidence(0)
    judged = JUDGES["geometry"](without_faces(subject.sheet(known)), replace(as_picture(known), prompts=known.prompts))
    assert (judged.notes, judged.veto) == ((Note(NoteKind.FACES_NOT_SOUGHT),), None)
    assert np.isnan(judged.shares).all()


def test_a_thing_that_leaks_into_its_class_costs_that_prompt():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    before = JUDGES["prompt"](without_faces(drawn), as_picture(known)).shares
    drawn.face[-2:] = drawn.face[:2]
    after = JUDGES["prompt"](without_faces(drawn), as_picture(known)).shares
    assert (before - after)[-2:].min() > 0.6


def crowded(known: Evidence, share: float) -> Evidence:
    """The same in a network whose cosines lie nearer to 1: all vectors moved towards one that they have in common."""
    common = subject.direction(5, subject.FACE)

    def moved(part: Features) -> Features:
        return replace(part, whole=subject.unit((1 - share) * part.subject + share * common))

    return replace(known, train=moved(known.train), held_out=moved(known.held_out), base=moved(known.base))


def test_a_gap_between_whole_pictures_is_held_against_its_own_error_not_against_a_cosine():
    thing = crowded(as_picture(subject.evidence(0)), 0.8)
    scale = likeness(thing)
    assert not isinstance(scale, Note)
    assert 0.02 < scale.ceiling - scale.floor < 0.15


def test_photos_that_are_no_more_alike_than_the_base_models_pictures_make_no_scale():
    rng = np.random.default_rng(0)
    for seed in range(5):
        thing = as_picture(subject.evidence(seed))
        parts = (thing.train, thing.held_out, thing.base)
        for part in parts:
            part.whole[:] = subject.near(subject.direction(1, subject.FACE), 0.5, rng, len(part.keys))
        told = likeness(thing)
        assert isinstance(told, Note)
        assert (told.kind, told.values["errors"]) == (NoteKind.IMAGES_ALIKE, 3)


def test_three_pictures_are_too_few_and_four_are_enough():
    few, enough = (as_picture(subject.evidence(0, train=count, held_out=0)) for count in (3, 4))
    assert likeness(few) == Note(NoteKind.FEW_PHOTOS, {"count": 3, "needed": 4})
    assert not isinstance(likeness(enough), Note)


def test_of_a_style_everything_but_likeness_and_faces_is_judged():
    known = subject.evidence(0)
    drawn = replace(without_faces(subject.sheet(known)), whole=None)
    style = as_picture(known)
    parts = {name: replace(getattr(style, name), whole=None) for name in ("train", "held_out", "base")}
    style = replace(style, told_by="none", **parts)
    judged = {name: JUDGES[name](drawn, style) for name in COMPONENTS}
    assert {name for name in COMPONENTS if np.isnan(judged[name].shares).all()} == {"identity", "geometry"}
    assert judged["identity"].notes == (Note(NoteKind.STYLE),)
