"""C trainings side by side on one frozen base model; a run alone is a cohort of one.

``admit`` a trial, ``run_interval`` until something is worth looking at, ``evict`` what is not worth training on.
Slots share the base model's forward and backward pass and nothing else: images, noise, learning rate, clipping,
optimiser, loss scale and step count are each slot's own.

If images have several sizes, all slots follow one sequence of them. A trial that is admitted while the running ones
are at another position of the sequence takes its slot and waits until they reach its own.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lorasweep.errors import UserError
from lorasweep.models.family import Family, Text
from lorasweep.models.lora.layer import Adapter, AdapterBank, Dropout, adapted
from lorasweep.records import Checkpoint, Failure, Step
from lorasweep.train.cache import LatentCache, TextCache
from lorasweep.train.checkpoint import save_checkpoint
from lorasweep.train.randomness import seed_for
from lorasweep.train.slot import Slot
from lorasweep.train.state import fresh_state, load_state, save_state
from lorasweep.train.step import Batch, slot_losses
from lorasweep.train.trial import Trial, encode_ahead, micro_batch


class Cohort:
    """Up to ``width`` trials of one ``cohort_key`` on one base model.

    Args:
        cache_folder: where latents and text embeddings are kept; None keeps them in memory.
        clock: seconds, for ``save.state_minutes``.
    """

    def __init__(
        self,
        family: Family,
        width: int = 1,
        *,
        cache_folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.family = family
        self.width = width
        self.latents = LatentCache(family, cache_folder)
        self.texts = TextCache(family, cache_folder)
        self.returned: list[Trial] = []
        """Trials that had to leave because memory ran out, their states saved; admit them when there is room."""
        self.stopped = False
        """Whether ``run_interval`` ended because it was asked to stop."""
        self._clock = clock
        self._slots: list[Slot] = []
        self._waiting: list[Slot] = []
        """Admitted, but at another position in the sequence of sizes than the running slots."""
        self._bank: AdapterBank | None = None
        self._trained: Family = family

    @property
    def busy(self) -> bool:
        """Whether any slot is taken."""
        return bool(self._slots or self._waiting)

    @property
    def free_slots(self) -> int:
        """How many trials may be admitted now."""
        return self.width - len(self._slots) - len(self._waiting)

    @property
    def trials(self) -> tuple[str, ...]:
        """Names, in the order of the slots."""
        return tuple(slot.trial.name for slot in (*self._slots, *self._waiting))

    def admit(self, trial: Trial) -> int:
        """Take a trial in, fresh or from the newest whole state in its folder; return the step that it goes on from.

        A trial that is already at its last step takes no slot.

        Raises:
            UserError: no free slot, a trial that cannot share this cohort, or a state of another configuration.
        """
        if not self.free_slots:
            raise UserError(f"{trial.name} was admitted to a cohort of {self.width} that is full; evict a trial first.")
        for slot in (*self._slots, *self._waiting):
            if slot.trial.key != trial.key:
                raise UserError(f"{trial.name} cannot be trained beside {slot.trial.name}: their cohort keys differ.")
        slot = Slot(trial, load_state(trial, self.family) or fresh_state(trial, self.family), self._clock())
        if not slot.finished:
            if trial.config.hardware.unload_encoders:
                encode_ahead(trial, self.latents, self.texts)
                self._release_memory()
            self._waiting.append(slot)
            self._start_waiting()
        return slot.state.step

    def _start_waiting(self) -> None:
        """Start the waiting slots whose position in the sequence of sizes matches the running ones."""
        if not self._waiting:
            return
        # if none is running, the first that waits sets the position
        place = (self._slots or self._waiting)[0].place
        ready = [slot for slot in self._waiting if slot.place == place]
        if ready:
            self._unstack()  # the next step stacks them all anew
            self._slots += ready
            self._waiting = [slot for slot in self._waiting if slot not in ready]

    def evict(self, name: str, *, save: bool = True) -> None:
        """Take a trial out, its full state saved so that it can come back."""
        slot = self._slot(name)
        self._unstack()
        if save:
            save_state(slot.trial, self.family, slot.state)
        (self._slots if slot in self._slots else self._waiting).remove(slot)

    def adapter(self, name: str) -> Adapter:
        """Return a copy of a trial's adapter as it is now."""
        slot = self._slot(name)
        return self._bank.export(self._slots.index(slot)) if self._bank and slot in self._slots else slot.state.adapter

    def _slot(self, name: str) -> Slot:
        return next(slot for slot in (*self._slots, *self._waiting) if slot.trial.name == name)

    def run_interval(
        self, on_step: Callable[[Step], None], should_stop: Callable[[], bool] = lambda: False
    ) -> list[Checkpoint | Failure]:
        """Train until a checkpoint is due, a trial fails, a stop is asked for, or an epoch ends with a slot free.

        A trial that is finished or has failed leaves its slot. After a step on which a stop is asked for, all states
        are saved, the trials keep their slots, and ``stopped`` is true.

        Args:
            on_step: called with every optimiser step of every slot; its ``epoch`` counts from 0.

        Raises:
            UserError: the disk is full or memory does not suffice for one trial.
        """
        self.stopped = False
        while self.busy and not self.stopped:
            self._start_waiting()
            events = self._step(on_step)
            events += self._save_due()
            if should_stop():
                self.save_states()
                self.stopped = True
            self._save_old()
            if events or (self.free_slots and self._at_epoch_end()):
                return events
        return []

    def save_states(self) -> None:
        """Save the full state of every trial; at the same width training goes on from it bit-equal."""
        self._refresh()
        for slot in self._slots:
            self._save_state(slot)

    def _at_epoch_end(self) -> bool:
        return all(slot.state.step % slot.trial.steps_per_epoch == 0 for slot in self._slots)

    def _save_due(self) -> list[Checkpoint | Failure]:
        due = [slot for slot in self._slots if slot.state.step in slot.trial.saved_steps]
        if not due:
            return []
        self._refresh()
        broken = [slot for slot in due if not slot.whole]
        events: list[Checkpoint | Failure] = [slot.diverged() for slot in broken]
        for slot in due:
            if slot not in broken:
                # the file first: a run goes on after its state and never writes a checkpoint from before it
                events.append(save_checkpoint(slot.trial, self.family, slot.state))
                self._save_state(slot)
        self._release([slot for slot in due if slot.finished or slot in broken])
        return events

    def _save_old(self) -> None:
        now = self._clock()
        old = [slot for slot in self._slots if now - slot.saved_at >= 60 * slot.trial.config.save.state_minutes]
        if old:
            self._refresh()
        for slot in old:
            self._save_state(slot)

    def _save_state(self, slot: Slot) -> None:
        save_state(slot.trial, self.family, slot.state)
        slot.saved_at = self._clock()

    def _release(self, slots: Sequence[Slot]) -> None:
        if slots:
            self._unstack()
            self._slots = [slot for slot in self._slots if slot not in slots]

    def _stack(self) -> AdapterBank:
        """Return the bank over all slots, made anew if the slots have changed."""
        if self._bank is None:
            config = self._slots[0].trial.config
            adapters = [slot.state.adapter for slot in self._slots]
            self._bank = AdapterBank(adapters, self.family.device, trainable=True)
            checkpointing = config.hardware.gradient_checkpointing
            self._trained = adapted(self.family, self._bank, gradient_checkpointing=checkpointing)
            for number, slot in enumerate(self._slots):
                slot.put_on(self._bank, number)
                slot.state.widths.add(len(self._slots))  # another width rounds otherwise, within 1e-6 a step
        return self._bank

    def _refresh(self) -> None:
        """Copy what the bank and the optimisers hold into the slots' states."""
        if self._bank is not None:
            for number, slot in enumerate(self._slots):
                slot.copy_from(self._bank, number)

    def _unstack(self) -> None:
        self._refresh()
        self._bank = None
        self._trained = self.family

    def _step(self, on_step: Callable[[Step], None]) -> list[Checkpoint | Failure]:
        """Take one optimiser step of every slot; those that fail leave."""
        try:
            bank = self._stack()
            losses = self._accumulate(bank)
        except torch.OutOfMemoryError as error:
            # a copy: the error's own traceback holds the frames of the step, and these hold its activations
            full = torch.OutOfMemoryError(*error.args)
        else:
            return self._update(bank, losses, on_step)
        self._halve(full)
        return []

    def _update(self, bank: AdapterBank, losses: Tensor, on_step: Callable[[Step], None]) -> list[Checkpoint | Failure]:
        """Update every slot from its own gradients; ``losses`` [C] are told with the steps."""
        scales = torch.tensor([slot.state.loss_scale for slot in self._slots], device=losses.device)
        assert bank.gradients is not None
        norms = torch.linalg.vector_norm(bank.gradients, dim=1) / scales
        failures: dict[Slot, Checkpoint | Failure] = {}
        # one transfer from the device a step: each one waits for all kernels that were launched
        for number, (loss, norm) in enumerate(torch.stack([losses, norms], dim=1).tolist()):
            slot = self._slots[number]
            done = slot.update(bank.gradients[number], loss, norm)
            if isinstance(done, Failure):
                failures[slot] = done
            else:
                on_step(done)
        self._release(list(failures))
        return list(failures.values())

    def _accumulate(self, bank: AdapterBank) -> Tensor:
        """Put the gradients of all slots into the bank; return each slot's mean loss, [C]."""
        assert bank.gradients is not None
        bank.gradients.zero_()
        parts = self._slots[0].trial.config.optim.gradient_accumulation
        scales = torch.tensor([slot.state.loss_scale / parts for slot in self._slots], device=self.family.device)
        total = torch.zeros(len(self._slots), device=self.family.device)
        for part in range(parts):
            bank.dropout = self._dropout(part)
            losses = self._losses(part)
            # a sum over slots: the gradient of one slot's loss is zero in every other slot's adapter
            bank.backward((losses * scales).sum())
            total += losses.detach() / parts
        return total

    def _losses(self, part: int) -> Tensor:
        """Each slot's own mean loss over its rows, [C]."""
        rows = [micro_batch(slot.trial, self.latents, slot.state.step, part) for slot in self._slots]
        batch = Batch.of(rows, self.family.device)
        optims = [slot.trial.config.optim for slot in self._slots]
        return slot_losses(self._trained, batch, self._text(batch.texts), optims).mean(1)

    def _text(self, texts: list[str]) -> Text:
        """The captions' embeddings: through the adapters, made anew, or remembered."""
        config = self._slots[0].trial.config
        if config.lora.text_encoder:
            return self._trained.encode_prompts(texts, config.sample.clip_skip)
        if config.data.shuffle_captions:  # hardly any caption comes twice: a cache would only grow
            with torch.no_grad():
                return self.family.encode_prompts(texts, config.sample.clip_skip)
        return self.texts(texts, config.sample.clip_skip)

    def _dropout(self, part: int) -> list[Dropout] | None:
        shares = [slot.trial.config.lora.dropout for slot in self._slots]
        if not any(shares):
            return None
        seeds = [seed_for(s.trial.config.seed, "dropout", step=s.state.step, item=part) for s in self._slots]
        return [Dropout(share, seed) for share, seed in zip(shares, seeds, strict=True)]

    def _halve(self, error: torch.OutOfMemoryError) -> None:
        """Go on with half the width; the others' states are saved and the trials handed back."""
        if len(self._slots) == 1:
            raise UserError(
                "The device is out of memory with one trial; lower optim.batch_size or model.resolution, "
                "or set hardware.gradient_checkpointing=true, hardware.base=fp8 or hardware.offload=0.5."
            ) from error
        self.width = len(self._slots) // 2  # of those that ran, not of what was asked for
        for slot in (*self._slots[self.width :], *self._waiting):
            self.returned.append(slot.trial)
            self.evict(slot.trial.name)
        self._release_memory()

    def _release_memory(self) -> None:
        """Give back the blocks that torch keeps for the next tensors of their sizes, which may never come."""
        if self.family.device.type == "cuda":
            torch.cuda.empty_cache()
