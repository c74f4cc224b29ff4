"""Would an expert believe the scores? Known faults in known doses, known anchors, and pictures made to cheat.

Everything below was written down before anything was measured.

Where faults are planted, 16 pictures a set (8 of the sheet's prompts x 2 seeds) where nothing else is said:
- base: samples of the drawn world's base model, compared with the same samples unharmed.
- renders: drawings of the right person in the scenes that the sheet asks for, compared with the same unharmed.
- run: the same drawings, compared as in a run: with the base model's samples and the person's photos.
- photos: crops of real photographs at 128 pixels (scikit-image, scikit-learn and matplotlib ship them), 8 a set, compared
  with the same unharmed and with other crops. Only the artifact component: no face network for real faces ships.

Goals, each on every person of a half unless it says "mean":
- dose: mean Spearman correlation over people, sign turned, of the responsible component with the doses 0 to 5 of at
  least 0.9, for every fault on every substrate. Responsible is artifact, for warp geometry.
- auc: the responsible component of sets of 8 pictures at dose 3 against honest sets of 8: other pictures of the same
  prompts (other seeds; the same photographs framed and exposed a little differently) compared with the same base. At
  least 0.95 for every fault on base, renders and photos. Unharmed twins themselves would score 1 exactly: too easy.
- matrix: in the run, the mean loss that a factor at its middle dose causes in every other component is less than a third
  of that in its own. Factors: the nine faults at dose 3, six tenths of another person (identity), prompts changed over
  (prompt), training photos instead of pictures (novelty). Exceptions, which are true of the pictures and no error:
  mosaic on identity and geometry (cells hide a face); warp on identity (who one is lies in the proportions); burn and
  posterise on identity (skin and hair colour are most of who a drawn person is); copies on prompt (a training photo does
  not show what was asked for).
- anchors: held-out photos (judged in their own scenes, and further photos in the sheet's) score at least 0.9 and are
  called good; base samples score below the pick's floor and are called under. The base's own pictures lose nothing: prompt,
  artifact, geometry, novelty of every single picture within 0.01 of 1. Identity never rises by more than 0.02 from one
  of six steps to the next from the person to somebody else, and falls by at least 0.8 over all. Copies (same, mirrored,
  cropped, recoloured, pasted on another background) leave a mean novelty of at most 0.1 and an identity of at least 0.9;
  but the mirrored ones have their mole on the wrong side, in this world a trait, and no goal for identity. Mirrored
  photos whose mole was drawn on the other side beforehand lose at most 0.02 of mean identity against unmirrored ones.
  Prompts changed over leave a mean prompt component of at most 0.1.
- gaming: none of six sheets (one wrong face throughout, the mean face, blanks, two faces, sharpened copies, the training
  photos) scores as high as any honest one (renders of the right person in the scenes asked for; the same through the
  autoencoder, as soft as a model draws).

What the components do was changed on half A alone; what is reported is half B: other people, other photographs.

    python -m benchmarks.evaluator             make, judge and print; what was judged with the same code is kept
    python -m benchmarks.evaluator --replay --docs     the tables again, and those in docs/evaluator.md, from committed data
"""

PEOPLE = {"A": tuple(range(701, 709)), "B": tuple(range(711, 719))}
"""Seeds of people that nothing else uses."""
PHOTOGRAPHS = {"A": ("astronaut", "coffee", "china"), "B": ("chelsea", "rocket", "flower", "grace_hopper")}
SETS = 8
"""Of real photographs, in each half."""
GOALS = {
    "dose": 0.9,
    "auc": 0.95,
    "others": 1 / 3,
    "good": 0.9,
    "null": 0.01,
    "rise": 0.02,
    "fall": 0.8,
    "copied": 0.1,
    "kept": 0.9,
    "mirrored": 0.02,
    "swapped": 0.1,
}
EXCEPTIONS = (
    ("mosaic", "identity"),
    ("mosaic", "geometry"),
    ("warp", "identity"),
    ("burn", "identity"),
    ("posterise", "identity"),
    ("copies", "prompt"),
)
