"""What is wrong with a set of captions, as far as words alone can tell; no image is opened."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lorasweep.data.captions import holds_word
from lorasweep.data.findings import Finding

INVENTED = (
    "arafed",
    "araffe",
    "araffes",
    "holding a remote control",
    "holding a game controller",
    "holding a wii",
    "holding a nintendo wii",
    "holding a cell phone",
    "with a cell phone",
    "holding a microphone",
    "with a microphone",
    "holding a toothbrush",
    "with a tie on his neck",
    "with a picture of",
)
"""What BLIP is said to write of things that are not there. No published list was found: these are from people's caption
files, so that each is only a reason to look at the photo."""

LONGEST_PATTERN = 6
"""Words: the longest phrase whose repetition is looked for."""
SAME_SHARE = 0.3
"""From more than this share of the captions up, one text is too common."""
FEW = 5
"""Below this many captions, what they have in common says nothing."""
TEXT_ROOM = 75
"""CLIP tokens of a prompt that SD 1.5 and SDXL read in one piece: 77 less the two that begin and end it."""
PREFIX_WORDS = 4
"""At most: a first clause this short that all captions share was put there on purpose."""

WORD = re.compile(r"[^\W_]+(?:['’_-][^\W_]+)*")
PIECE = re.compile(r"['’](?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|(?:[^\w\s]|_)+")
"""CLIP's own split before it looks tokens up: words, single digits, runs of other marks, short endings."""
SAYS_NOTHING = """
a an the and or of in on at to with without by for from over under near into out up down his her its their there
this that these those is are was be being has have having wearing holding standing sitting looking posing smiling
man men woman women person people boy girl guy lady child male female human face head solo 1girl 1boy dog cat
photo photograph picture image portrait drawing illustration painting closeup close-up viewer realistic
"""
"""Words that all captions may hold without any of them describing the subject."""


def lint_captions(captions: Mapping[Path, str], trigger: str, phrases: Sequence[str] = INVENTED) -> list[Finding]:
    """Return findings in the order of the files, those about the set as a whole last.

    Args:
        captions: caption file to its text.
        trigger: the word that calls the subject; upper and lower case count alike, as in the data set.
        phrases: reported wherever a caption holds one of them as whole words.
    """
    found: list[Finding] = []
    for path, text in captions.items():
        found += _about_one(path, text, trigger, phrases)
    return [*found, *_same_captions(captions), *_one_descriptor(captions, trigger)]


def repeated_words(text: str) -> str | None:
    """Return the first word that stands three times in a row, or phrase that stands twice; None if there is none."""
    words = [match.group().casefold() for match in WORD.finditer(text)]
    for length in range(1, LONGEST_PATTERN + 1):
        times = 3 if length == 1 else 2
        for start in range(len(words) - times * length + 1):
            pattern = words[start : start + length]
            # one word as a phrase was found as a word already, or is a name: "bora bora, bora bora"
            if len(set(pattern)) == 1 and length > 1:
                continue
            if words[start : start + times * length] == pattern * times:
                return " ".join(pattern * times)
    return None


def least_tokens(text: str) -> int:
    """Return a lower bound of the CLIP tokens in ``text``, without CLIP's vocabulary."""
    # each piece becomes one token or more
    return len(PIECE.findall(text.casefold()))


def _about_one(path: Path, text: str, trigger: str, phrases: Sequence[str]) -> Iterator[Finding]:
    if not text.strip():
        yield Finding(
            kind="caption_empty",
            text=f"{path} is empty; write what the picture shows, or delete the file to get the plain caption.",
            paths=(path,),
        )
        return
    yield from _trigger(path, text, trigger)
    said = [phrase for phrase in phrases if holds_word(text, phrase)]
    if said:
        told = " and ".join(repr(phrase) for phrase in said)
        yield Finding(
            kind="invented_phrase",
            text=f"{path} says {told}, which BLIP is said to write where there is none; look at the "
            "picture, and delete it if it is not there.",
            paths=(path,),
        )
    again = repeated_words(text)
    if again:
        yield Finding(
            kind="repeated_words",
            text=f"{path} says {again!r}, a captioner's stutter; keep it once.",
            paths=(path,),
        )
    tokens = least_tokens(text)
    if tokens > TEXT_ROOM:
        yield Finding(
            kind="long_caption",
            text=f"{path} has {tokens} CLIP tokens or more; SD 1.5 and SDXL read the first {TEXT_ROOM}, so that the "
            "end is lost unless it is shortened.",
            paths=(path,),
        )


def _trigger(path: Path, text: str, trigger: str) -> Iterator[Finding]:
    if holds_word(text, trigger):
        return
    inside = re.search(rf"\w*{re.escape(trigger)}\w*", text, flags=re.IGNORECASE)
    if inside:
        kind, what = "trigger_inside_word", f"has the trigger {trigger!r} only inside of {inside.group()!r}"
    else:
        kind, what = "trigger_missing", f"has no trigger {trigger!r}"
    yield Finding(
        kind=kind,
        text=f"{path} {what}; lorasweep puts it in front when it trains, other trainers do not: write "
        f"'{trigger}, ' before the text.",
        paths=(path,),
    )


def _same_captions(captions: Mapping[Path, str]) -> Iterator[Finding]:
    alike: defaultdict[str, list[Path]] = defaultdict(list)
    for path, text in captions.items():
        alike[" ".join(text.casefold().split())].append(path)
    for text, paths in alike.items():
        if text and len(captions) >= FEW and len(paths) > SAME_SHARE * len(captions):
            yield Finding(
                kind="same_caption",
                text=f"{len(paths)} of {len(captions)} captions are all {captions[paths[0]].strip()!r}; say what each "
                "picture shows, or everything they share is learned as the subject.",
                paths=tuple(paths),
            )


def _one_descriptor(captions: Mapping[Path, str], trigger: str) -> Iterator[Finding]:
    texts = [text for text in captions.values() if text.strip()]
    if len(texts) < FEW or len(set(texts)) == 1:
        return
    rests = _without_prefix(texts)
    words = [list(dict.fromkeys(match.group().casefold() for match in WORD.finditer(text))) for text in rests]
    # words that stand in any caption describe nobody
    plain = {*SAYS_NOTHING.split(), *WORD.findall(trigger.casefold())}
    common = set[str].intersection(*map(set, words)) - plain
    if common:
        told = ", ".join(repr(word) for word in words[0] if word in common)
        yield Finding(
            kind="one_descriptor",
            text=f"All {len(texts)} captions say {told}; what every caption says is learned as strongly as the "
            "trigger and overdone, so leave out what is always true of the subject.",
        )


def _without_prefix(texts: Sequence[str]) -> list[str]:
    """Return the texts without their first clause if that is short and the same in all of them."""
    heads = {text.partition(",")[0].strip().casefold() for text in texts}
    if len(heads) > 1 or len(WORD.findall(next(iter(heads)))) > PREFIX_WORDS:
        return list(texts)
    return [text.partition(",")[2] for text in texts]
