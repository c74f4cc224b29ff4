"""What a run is: every knob's type, default, unit and check.

YAML under ``conf/`` says only how a preset differs from these defaults. The classes are plain data: whatever needs a
file, a device or a model to be checked is checked when that is opened.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from lorasweep.config.checks import among, between, multiple_of_8, positive
from lorasweep.config.photos import KINDS, DataConfig
from lorasweep.errors import UserError


@dataclass(kw_only=True)
class ModelConfig:
    """The frozen base model that the LoRA is trained on."""

    family: str = "sd15"
    """Which loader reads it: a key of ``lorasweep.models.FAMILIES``."""
    path: str = MISSING
    """A diffusers folder, a single ``.safetensors`` checkpoint, a hub id ``owner/name``, or the word ``portraits`` for
    the model that ships inside the package."""
    revision: str | None = None
    """The commit or tag of a hub id: a branch may hold other weights tomorrow."""
    config: str | None = None
    """A diffusers folder for what a single file lacks: configurations, tokenizers, text encoders, VAE. None takes the
    configurations of the well-known models, which ship inside the package."""
    offline: bool = False
    """Never ask the hub, only its cache on this machine. The environment variable HF_HUB_OFFLINE does the same."""
    resolution: int = 512
    """Side of a training image in pixels."""
    prediction: str = "auto"
    """``auto`` reads the scheduler's own prediction_type; else epsilon or v_prediction."""
    zero_terminal_snr: bool | None = None
    """Rescale the noise schedule so that its last step is pure noise (Lin et al. 2023, arXiv 2305.08891); None
    keeps what the model says of itself."""

    def __post_init__(self) -> None:
        multiple_of_8("model.resolution", self.resolution)
        among("model.prediction", self.prediction, ("auto", "epsilon", "v_prediction"))


@dataclass(kw_only=True)
class HardwareConfig:
    """Where and how precisely to compute; changes speed and memory and, slightly, the numbers."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: str = "fp32"
    """Mixed precision of the frozen base: fp32, bf16 or fp16. Adapters and optimiser stay in fp32. auto is bf16 where
    the card has it, fp16 on older ones, fp32 on a CPU; a stored run holds what it came to."""
    threads: int | None = None
    """CPU threads; None leaves torch's own choice."""
    memory_gb: float | None = None
    """Card memory that may be used, in units of 2^30 bytes: a bound for torch, and what ``base=auto`` chooses by. None
    sets no bound."""
    gradient_checkpointing: bool = False
    """Forget a block's activations and compute them again on the way back: far less memory, a third more time."""
    base: str = "auto"
    """How the frozen denoiser's weights are kept: full (in ``precision``), fp8 (half of that) or nf4 (a quarter; needs
    ``lorasweep[lowvram]``). auto is the first of them that takes 60 % of ``memory_gb`` at most."""
    offload: float = 0.0
    """Share of the denoiser's weights that stay in CPU memory and are brought in layer by layer. 0 to 1."""
    cache: str = "memory"
    """Where latents and text embeddings are kept: memory, or disk, from where every step reads its own."""
    unload_encoders: bool = False
    """Keep text encoders and VAE in CPU memory, bring their layers in while they are used, and encode all photos,
    captions and prompts before the first step."""

    def __post_init__(self) -> None:
        among("hardware.precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
        among("hardware.base", self.base, ("auto", "full", "fp8", "nf4"))
        among("hardware.cache", self.cache, ("memory", "disk"))
        positive("hardware.threads", self.threads)
        positive("hardware.memory_gb", self.memory_gb)
        between("hardware.offload", self.offload, 0, 1)


@dataclass(kw_only=True)
class LoraConfig:
    """The adapter. The change it makes to a weight is up @ down * alpha / rank."""

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    """Share of the adapter's input features dropped in training. 0 to below 1."""
    targets: str = "attention"
    """attention (queries, keys, values, outputs), linear (those, feed-forward and projections: Kohya's own set) or
    convolution (those and the convolutions of the residual blocks, which FLUX has not)."""
    text_encoder: bool = False
    """Whether the CLIP text encoders get an adapter too."""
    init: str | None = None
    """A LoRA file of this base model to start from; its modules, ranks and alphas replace ``rank`` and ``alpha``."""

    def __post_init__(self) -> None:
        positive("lora.rank", self.rank)
        positive("lora.alpha", self.alpha)
        between("lora.dropout", self.dropout, 0, 0.99)
        among("lora.targets", self.targets, ("attention", "linear", "convolution"))


LEAST_PRODIGY_LR = 0.01
"""Prodigy multiplies the rate that it finds by ``optim.lr``: less is a rate that was meant for AdamW."""


@dataclass(kw_only=True)
class OptimConfig:
    """How far and how fast to train."""

    name: str = "adamw"
    """adamw, adamw8bit (needs ``lorasweep[lowvram]``), prodigy or adafactor."""
    lr: float = 1e-4
    """Learning rate of the denoiser's adapter (Prodigy: a multiplier, usually 1)."""
    text_encoder_lr: float | None = None
    """Learning rate of the text encoder's adapter; None means the same."""
    steps: int = 1600
    """Optimiser steps in all."""
    batch_size: int = 1
    gradient_accumulation: int = 1
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    schedule: str = "constant"
    """constant, cosine, cosine_restarts, linear or wsd (warm-up, stable, decay)."""
    warmup_steps: int = 0
    restarts: int = 1
    """Cycles of cosine_restarts."""
    decay_fraction: float = 0.2
    """Share of the steps over which wsd decays to zero."""
    max_grad_norm: float = 1.0
    """Each trial's own gradient norm is clipped to this; 0 switches clipping off."""
    min_snr_gamma: float | None = None
    """Min-SNR weighting (Hang et al. 2023, arXiv 2303.09556); None weighs all timesteps alike, 5 is customary."""
    noise_offset: float = 0.0
    timesteps: str = "auto"
    """Which noise levels are trained: uniform, sigmoid (logit-normal), shift (sigmoid, moved by ``timestep_shift``) or
    resolution_shift (sigmoid, moved the more the larger the image). auto: uniform, and sigmoid for FLUX."""
    sigmoid_scale: float = 1.0
    """Width of the normal distribution behind sigmoid; smaller ones train the middle more."""
    timestep_shift: float = 3.0
    """t becomes shift * t / (1 + (shift - 1) * t): above 1 more noise, below 1 less."""
    guidance: float = 1.0
    """What a guidance-distilled model (FLUX.1-dev) is told in training; others do not read it."""

    def __post_init__(self) -> None:
        among("optim.name", self.name, ("adamw", "adamw8bit", "prodigy", "adafactor"))
        among("optim.schedule", self.schedule, ("constant", "cosine", "cosine_restarts", "linear", "wsd"))
        for key in ("lr", "text_encoder_lr", "steps", "batch_size", "gradient_accumulation", "min_snr_gamma"):
            positive(f"optim.{key}", getattr(self, key))
        positive("optim.restarts", self.restarts)
        between("optim.warmup_steps", self.warmup_steps, 0, self.steps)
        between("optim.weight_decay", self.weight_decay, 0, 1e6)
        between("optim.noise_offset", self.noise_offset, 0, 1)
        among("optim.timesteps", self.timesteps, ("auto", "uniform", "sigmoid", "shift", "resolution_shift"))
        positive("optim.sigmoid_scale", self.sigmoid_scale)
        positive("optim.timestep_shift", self.timestep_shift)
        between("optim.guidance", self.guidance, 0, 100)
        positive("optim.eps", self.eps)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"optim.betas is {self.betas}; it must be two numbers from 0 to below 1")
        self._check_prodigy()
        between("optim.decay_fraction", self.decay_fraction, 0, 1)
        between("optim.max_grad_norm", self.max_grad_norm, 0, 1e6)

    def _check_prodigy(self) -> None:
        # a preset's rate is meant for AdamW: with Prodigy it would train next to nothing, without a word
        if self.name == "prodigy" and self.lr < LEAST_PRODIGY_LR:
            raise UserError(
                f"optim.lr is {self.lr}; with optim.name=prodigy it multiplies the rate that Prodigy finds and must be "
                f"{LEAST_PRODIGY_LR} or more, usually 1"
            )
        if self.name == "prodigy" and self.text_encoder_lr not in (None, self.lr):
            raise UserError(
                f"optim.text_encoder_lr is {self.text_encoder_lr}; with optim.name=prodigy it must be null or equal "
                f"optim.lr ({self.lr}), since Prodigy finds one rate for all parts"
            )


@dataclass(kw_only=True)
class SaveConfig:
    """When a checkpoint is written, and with it drawn, scored and offered to the pick."""

    every_steps: int | None = None
    """Optimiser steps between checkpoints; None spreads ``count`` of them evenly."""
    count: int = 12
    """Checkpoints a run if ``every_steps`` is not given."""
    state_minutes: float = 10.0
    """Besides at every checkpoint, the full training state is saved this often."""
    states_kept: int = 2
    metadata: str = "private"
    """What the header of a LoRA file tells of the photos: private nothing; full their folder's name and how often each
    clause of a caption occurs, as Kohya writes it."""

    def __post_init__(self) -> None:
        among("save.metadata", self.metadata, ("private", "full"))
        for key in ("every_steps", "count", "state_minutes", "states_kept"):
            positive(f"save.{key}", getattr(self, key))


@dataclass(kw_only=True)
class PromptConfig:
    """One line of the sheet. ``{trigger}`` and ``{class_noun}`` are filled in from ``data``."""

    text: str = MISSING
    negative: str = ""
    """What to keep out of these samples; empty means ``sample.negative``."""
    score_text: str = ""
    """What a CLIP scorer reads instead of ``text``: plain words without the trigger. Empty means ``text`` less it."""
    face: Any = True  # bool or str: OmegaConf 2.3 has no union in a dict of dataclasses
    """Whether a face of the subject is asked for: identity and geometry are judged on these only. False if it is hidden
    or drawn, since the face network knows photographed faces; ``small`` if it is too small to tell whose it is."""
    subject: bool = True
    """False for a prompt that names the class without the trigger: it must stay what the base draws."""
    photo: bool = True
    """False for a prompt in another medium than the photos: judged for prompt-following only."""
    people: int = 1
    """2 for a prompt that asks for the subject and somebody else: only one of the two may be the subject."""


@dataclass(kw_only=True)
class SampleConfig:
    """The samples that are drawn at every checkpoint: the same prompts, seeds and initial noise."""

    prompts: dict[str, PromptConfig] = field(default_factory=dict[str, PromptConfig])
    prefix: str = ""
    """Quality tags that the base model expects, put before every prompt with a comma. Captions and scorers never see
    them: a LoRA need not learn what its base knows."""
    negative: str = ""
    """For every prompt without one of its own; needs a guidance above 1, and FLUX does not read it."""
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    fresh_seeds: list[int] = field(default_factory=lambda: [1000, 1001])
    """Seeds on which the finalists are drawn and scored again. They may reverse the pick and advise a strength."""
    sampler: str = "auto"
    """auto keeps the model's own scheduler; else ddim, euler, euler_a or dpmpp_2m."""
    steps: int = 25
    guidance: float = 7.0
    clip_skip: int = 0
    width: int | None = None
    """Pixels; None means ``model.resolution``."""
    height: int | None = None
    strength: float = 1.0
    """Strength at which the LoRA file is applied."""
    every_steps: int | None = None
    """Also draw the sheet this often between checkpoints; those samples are shown, not scored, and come on top of
    ``evaluate.budget``."""
    batch_size: int = 8
    """Samples that are drawn at once, of all runs that are drawn side by side; one of each at least."""

    def __post_init__(self) -> None:
        among("sample.sampler", self.sampler, ("auto", "ddim", "euler", "euler_a", "dpmpp_2m"))
        for key in ("steps", "batch_size", "every_steps"):
            positive(f"sample.{key}", getattr(self, key))
        for key in ("width", "height"):
            multiple_of_8(f"sample.{key}", getattr(self, key))
        between("sample.guidance", self.guidance, 0, 100)
        between("sample.clip_skip", self.clip_skip, 0, 100)
        between("sample.strength", self.strength, -10, 10)
        if not self.seeds:
            raise UserError("sample.seeds is empty; it must name at least one seed")
        if not self.fresh_seeds:
            raise UserError("sample.fresh_seeds is empty; the finalists need at least one seed of their own")
        # a score on seeds that chose the finalists would be a lucky one
        if set(self.seeds) & set(self.fresh_seeds):
            raise UserError("sample.fresh_seeds repeats a seed of sample.seeds; the finalists need seeds of their own")


@dataclass(kw_only=True)
class WeightsConfig:
    """Exponents of the weighted geometric mean; they are normalised to a sum of 1."""

    identity: float = 0.40
    prompt: float = 0.20
    artifact: float = 0.15
    geometry: float = 0.10
    novelty: float = 0.15

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            between(f"evaluate.weights.{key}", value, 0, 1)


@dataclass(kw_only=True)
class EvaluateConfig:
    """Who scores the samples."""

    enabled: bool = True
    subject: str = "auto"
    """What tells the subject: face; image, the whole of it; none, so that nothing is picked; or auto, by ``data.kind``:
    the face of a person, the image of an object or a drawn character, none of a style."""
    face: str = "facenet"
    """facenet (MTCNN + InceptionResnetV1), dlib (MTCNN + dlib's ResNet, the extra ``dlib``) or portraits."""
    face_weights: str | None = None
    """A local copy of the InceptionResnetV1 weights; None lets facenet-pytorch fetch its own."""
    face_weights_sha256: str | None = None
    # DreamBooth (Ruiz et al. 2023) found DINO the better subject metric
    image: str = "dinov2"
    """Who tells a subject that has no face: dinov2, or clip, the network of ``evaluate.clip``."""
    image_weights: str | None = None
    """A local folder or a hub id of DINOv2, with or without registers; None is facebook/dinov2-base."""
    image_revision: str | None = None
    """The commit of a hub id."""
    image_weights_sha256: str | None = None
    clip: str = "ViT-B-32"
    """An open_clip model name, ``local-dir:DIR``, or portraits."""
    clip_weights: str | None = "laion2b_s34b_b79k"
    """A pretrained tag of open_clip or a local file."""
    clip_weights_sha256: str | None = None
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    budget: float | None = 0.5
    """Drawing may cost this share of training time; fewer checkpoints are drawn beyond it. None sets no bound."""
    model: str | None = None
    """Another base model of the same family to draw on, named as ``model.path`` is, for those who train on one and draw
    on a fine-tune of it; both are held in memory while a run trains. None draws on ``model.path``."""
    validation: bool = True
    """Measure losses on held-out and on training photos with fixed noise at every checkpoint, and DVAR's batch between
    them, also if ``enabled`` is false. They are shown as evidence and pick nothing."""

    def __post_init__(self) -> None:
        among("evaluate.subject", self.subject, ("auto", "face", "image", "none"))
        among("evaluate.face", self.face, ("facenet", "dlib", "portraits"))
        among("evaluate.image", self.image, ("dinov2", "clip"))
        positive("evaluate.budget", self.budget)


@dataclass(kw_only=True)
class PickConfig:
    """The rule that chooses a checkpoint."""

    prefer: str = "latest"
    """latest: the latest one shown to be within ``delta`` of the best; best; or earliest within ``delta``."""
    # On half A of the benchmarks' trajectories 0.03, 0.05 and 0.06 lose 0.013, 0.013 and 0.012 of the oracle's quality;
    # 0.03 calls 16 % of acceptable checkpoints bad, 0.05 8 %; on damaged runs 0.06 begins to take what is broken.
    delta: float = 0.05
    """How much score may be given away for a later (or earlier) checkpoint. 0 to 1."""
    confidence: float = 0.84
    """One-sided confidence of 'shown to be within delta'. 0.5 to 1."""
    replicates: int = 2000
    """Bootstrap replicates."""
    floor: float = 0.2
    """A best score below this means that no checkpoint is usable."""
    least_likeness: float = 0.5  # drawn runs that fall apart at once still come to 0.59; real strangers came to 0.43
    """Identity below which a checkpoint shows somebody else and is not picked, for a subject told by the face."""
    strengths: list[float] = field(default_factory=lambda: [0.5, 0.65, 0.8, 1.15, 1.3])
    """The pick is drawn at these too: one of them may be advised, and they say between which it works. Empty: no."""

    def __post_init__(self) -> None:
        among("pick.prefer", self.prefer, ("latest", "best", "earliest"))
        between("pick.delta", self.delta, 0, 1)
        between("pick.confidence", self.confidence, 0.5, 0.9999)
        positive("pick.replicates", self.replicates)
        between("pick.floor", self.floor, 0, 1)
        between("pick.least_likeness", self.least_likeness, 0, 1)
        for strength in self.strengths:
            between("pick.strengths", strength, 0.05, 2)
        if len(set(self.strengths)) < len(self.strengths):
            raise UserError(f"pick.strengths is {self.strengths}; it must name each strength once")


@dataclass(kw_only=True)
class TrackConfig:
    """Where the run is remembered."""

    root: str = "mlruns"
    """Folder for everything that a run leaves."""
    mlflow: bool = True
    uri: str | None = None
    """None means MLFLOW_TRACKING_URI, else the SQLite store under ``root``."""
    experiment: str = "lorasweep"


@dataclass(kw_only=True)
class RunConfig:
    """One training run, whole."""

    preset: str = MISSING
    name: str | None = None
    """None lets the run be called trigger-base-lr-number."""
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    data: DataConfig = field(default_factory=DataConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    save: SaveConfig = field(default_factory=SaveConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    pick: PickConfig = field(default_factory=PickConfig)
    track: TrackConfig = field(default_factory=TrackConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; it must be 0 or above")


def told_by(run: RunConfig) -> str:
    """Return what tells a run's subject: face, image or none."""
    return KINDS[run.data.kind] if run.evaluate.subject == "auto" else run.evaluate.subject
