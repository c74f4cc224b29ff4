"""Ctrl-C and SIGTERM ask first and insist second."""

import os
import signal

import pytest

from lorasweep.run.stopping import graceful_stop


def test_the_first_sigterm_only_asks_to_stop() -> None:
    with graceful_stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.signal == signal.SIGTERM


def test_a_second_signal_interrupts_at_once() -> None:
    with graceful_stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_sigterm_leaves_with_143_and_ctrl_c_as_an_interrupt() -> None:
    with graceful_stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as left:
            stop.leave()
    assert left.value.code == 143
    with graceful_stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            stop.leave()


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with graceful_stop():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
