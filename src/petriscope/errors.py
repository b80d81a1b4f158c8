"""One exception tells a user's mistake, in a single line that names the file, the field and the
remedy."""

from __future__ import annotations

import errno
from os import PathLike


class UserError(Exception):
    """Something the user can mend. The command line prints it as one line and exits with status 2.

    Parameters
    ----------
    what : str
        What went wrong.
    file, field : str or path, optional
        Where: the file, and the field or line in it.
    remedy : str, optional
        What to do about it.

    Examples
    --------
    >>> print(UserError("is 2", file="params.yaml", field="cds.alpha", remedy="Give a share."))
    params.yaml: cds.alpha: is 2. Give a share.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str | PathLike[str] | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        where = ": ".join(str(part) for part in (file, field) if part is not None)
        text = f"{where}: {what}" if where else what
        if remedy:
            text = f"{text.rstrip('.')}. {remedy}"
        super().__init__(" ".join(text.split()))


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_is_full(error: Exception) -> bool:
    """Whether a write failed for want of room: numpy tells it without the system's error number,
    safetensors in words alone."""
    words = ("free space", "requested and", *(f"os error {number})" for number in FULL))
    return getattr(error, "errno", None) in FULL or any(word in str(error) for word in words)
