import pytest

from lorasweep.evaluate.text import NOTES, VETOES, note_text, read_notes, read_veto, veto_text
from lorasweep.outcomes import NoteKind, VetoKind
from lorasweep.records import Note, Veto

OF_VERSION_0_1 = {
    (
        "nothing measures how well a style is met (evaluate.subject is none), so there is no automatic pick: "
        "look at the sheet"
    ): [Note(NoteKind.STYLE)],
    "identity is not judged: no prompt asks for a photo of the subject's face": [
        Note(NoteKind.FACE_NOT_ASKED, {"component": "identity"})
    ],
    "identity is not judged: no prompt asks for a photo of the subject": [Note(NoteKind.SUBJECT_NOT_ASKED)],
    "identity is not measurable: 3 photos show a face, 5 are needed": [
        Note(NoteKind.FEW_FACES, {"count": 3, "needed": 5})
    ],
    "identity is not measurable: there are 3 photos, 4 are needed": [
        Note(NoteKind.FEW_PHOTOS, {"count": 3, "needed": 4})
    ],
    (
        "identity is not measurable: the photos are 0.81 alike among themselves and 0.75 alike to the base model's "
        "strangers, and a gap of 0.15 is needed"
    ): [Note(NoteKind.STRANGERS_ALIKE, {"ceiling": 0.81, "floor": 0.75, "needed": 0.15})],
    (
        "identity is not measurable: the photos are 0.81 alike among themselves and 0.75 alike to what the base model "
        "draws, and a gap of 0.072 (3 standard errors) is needed"
    ): [Note(NoteKind.IMAGES_ALIKE, {"ceiling": 0.81, "floor": 0.75, "needed": 0.072, "errors": 3})],
    "prompt-following is not judged: the sheet has fewer than two different texts": [Note(NoteKind.ONE_TEXT)],
    "prompt-following is not judged: the base model does not follow it itself": [Note(NoteKind.BASE_IGNORES_TEXT)],
    "artifacts are not judged: no prompt asks for a photo": [Note(NoteKind.PHOTO_NOT_ASKED)],
    "looks blocky, as a bad JPEG is": [Note(NoteKind.DAMAGED, {"fault": "blocky, as a bad JPEG is"})],
    "geometry is not judged: no face was looked for": [Note(NoteKind.FACES_NOT_SOUGHT)],
    "geometry is not judged: no prompt asks for a photo of the subject's face": [
        Note(NoteKind.FACE_NOT_ASKED, {"component": "geometry"})
    ],
    "copying is not judged: it takes two training photos and a prompt with the subject": [
        Note(NoteKind.NOTHING_TO_COPY)
    ],
    "pictures of one prompt hardly differ; no held-out photos: copying cannot be ruled out": [
        Note(NoteKind.SEEDS_ALIKE),
        Note(NoteKind.NO_HELD_OUT),
    ],
}
"""Every sentence that the journals of version 0.1 may hold."""


@pytest.mark.parametrize("sentence", OF_VERSION_0_1)
def test_a_sentence_of_an_old_journal_is_the_fact_that_it_was_made_from(sentence):
    assert list(read_notes(sentence)) == OF_VERSION_0_1[sentence]
    assert "; ".join(note_text(note) for note in read_notes(sentence)) == sentence


SINCE = {NoteKind.PROMPTS_ALIKE, NoteKind.NO_WITNESS}
"""Notes that no journal of version 0.1 holds."""


def test_every_note_and_veto_has_a_sentence_and_every_old_note_was_tried():
    assert set(NOTES) == set(NoteKind)
    assert set(NoteKind) - SINCE == {note.kind for notes in OF_VERSION_0_1.values() for note in notes}
    assert set(VETOES) == set(VetoKind)


@pytest.mark.parametrize(
    ("sentence", "veto"),
    [
        ("40% of it is copied from training photos", Veto(VetoKind.COPIES, 0.4)),
        ("100% of its pictures show no face", Veto(VetoKind.NO_FACE, 1.0)),
    ],
)
def test_a_veto_of_an_old_journal_stays_a_veto(sentence, veto):
    assert read_veto(sentence) == veto
    assert veto_text(veto) == sentence


def test_a_sentence_that_was_never_written_is_refused():
    with pytest.raises(ValueError, match=r"holds the sentence 'looks', which version 0\.1 never wrote"):
        read_notes("looks")
