"""Model folders from the Hugging Face hub: at a pinned revision, and from its cache alone if the machine is offline."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from lorasweep.errors import TryAgainError, UserError

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def fetch_folder(
    name: str, revision: str | None, patterns: Sequence[str], *, key: str, offline: bool, ignored: Sequence[str] = ()
) -> Path:
    """Return the local snapshot of the hub id ``name``: the files that match ``patterns`` and none of ``ignored``.

    Args:
        key: what the user calls the model, as ``model.path``; its revision is then ``model.revision``.
        offline: read the cache only; so does ``HF_HUB_OFFLINE`` in the environment.

    Raises:
        UserError: it is not pinned, not on this disk, or the hub does not give it out.
        TryAgainError: the hub does not answer, or broke off.
    """
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        LocalEntryNotFoundError,
    )

    if revision is None:  # a branch may hold other weights tomorrow, and another run under the same name
        raise UserError(
            f"{key} is {name!r}, which is no folder or file here; if it is a hub id, pin it with "
            f"{revision_key(key)}=COMMIT, since a branch may change."
        )
    offline = offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    try:
        found = snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(ignored),
            local_files_only=offline,
        )
    except LocalEntryNotFoundError as error:
        if not offline:
            raise TryAgainError(f"The hub does not answer, and {name} at {revision} is not on disk.") from error
        raise UserError(
            f"{key} is {name!r} at revision {revision}, which is not in the hub's cache on this machine; go "
            "online once, or give a local folder."
        ) from error
    except (HTTPError, OSError, ValueError) as error:
        refused = isinstance(error, OSError | ValueError)  # what breaks off on the way is neither
        if not refused or (isinstance(error, HfHubHTTPError) and error.response.status_code >= 500):
            raise TryAgainError(f"The hub broke off while {name} was fetched ({error}).") from error
        lines = [line for line in str(error).splitlines() if line.strip()]
        why = lines[min(1, len(lines) - 1)].removesuffix(".")  # the first one is the HTTP status
        raise UserError(f"{key} is {name!r}, which the hub does not give out ({why}).") from error
    return Path(found)


def revision_key(key: str) -> str:
    """Return the key that pins a model: ``model.revision`` for ``model.path``, ``revision`` for ``model``."""
    room = key.rpartition(".")[0]
    return f"{room}.revision" if room else "revision"
