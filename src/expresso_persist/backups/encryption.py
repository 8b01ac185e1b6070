"""Archives in the age format (https://age-encryption.org/v1), through ``pyrage``.

An archive for keys (``age1…``) goes through piece by piece; one under a passphrase is held
in memory whole, compressed, because ``pyrage`` offers nothing else for those.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, TypeVar

import attrs

from expresso_persist.backups.archive import AGE_MAGIC
from expresso_persist.errors import ArchiveRefused, InvalidConfiguration, InvalidInput
from expresso_persist.model.json_text import check_storable, find_unstorable

__all__ = ["Encryption", "is_encrypted"]

MAX_IN_MEMORY = 256 * 1024**2
T = TypeVar("T")


_NO_RECIPIENT = "A recipient is no public key of age (age1…)."
_NO_IDENTITY = "An identity is no private key of age."


@attrs.frozen
class Encryption:
    """How archives are encrypted and decrypted.

    Attributes:
        recipients: Public keys (``age1…``); the holder of any of the private keys can read.
        passphrase: Instead of keys.
        identities: Private keys (``AGE-SECRET-KEY-1…``) to read with.
    """

    recipients: Sequence[str] = ()
    passphrase: str | None = attrs.field(default=None, repr=False)
    identities: Sequence[str] = attrs.field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        if self.recipients and self.passphrase is not None:
            raise InvalidInput("Encrypt with keys or with a passphrase, not with both.")
        check_storable(passphrase=self.passphrase)
        if not all(map(_is_text, self.recipients)):
            raise InvalidInput(_NO_RECIPIENT)
        if not all(map(_is_text, self.identities)):
            raise InvalidInput(_NO_IDENTITY)
        if self.passphrase == "":
            raise InvalidInput("The passphrase is empty.")

    @property
    def encrypts(self) -> bool:
        """Whether archives are written encrypted."""
        return bool(self.recipients) or self.passphrase is not None

    def encrypt(self, source: IO[bytes], target: IO[bytes]) -> None:
        """Write what ``source`` gives, encrypted.

        Raises:
            InvalidInput: A recipient is no public key.
            InvalidConfiguration: ``pyrage`` is not installed.
        """
        age = _age()
        if self.passphrase is not None:
            target.write(age.passphrase.encrypt(_whole(source), self.passphrase))
            return
        try:
            keys = [age.x25519.Recipient.from_str(key) for key in self.recipients]
        except age.RecipientError as error:
            raise InvalidInput(_NO_RECIPIENT) from error
        with _own_errors(source, target) as (watched_source, watched_target):
            age.encrypt_io(watched_source, watched_target, keys)

    def decrypt(self, source: IO[bytes], target: IO[bytes]) -> None:
        """Write what ``source`` holds, decrypted.

        Raises:
            ArchiveRefused: Keys or passphrase do not open it, or it is damaged.
            InvalidInput: An identity is no private key.
            InvalidConfiguration: ``pyrage`` is not installed.
        """
        if not self.identities and self.passphrase is None:
            raise ArchiveRefused(
                "The archive is encrypted; give the key or the passphrase that opens it."
            )
        age = _age()
        try:
            keys = [age.x25519.Identity.from_str(key) for key in self.identities]
        except age.IdentityError as error:
            raise InvalidInput(_NO_IDENTITY) from error
        try:
            with _own_errors(source, target) as (watched_source, watched_target):
                if keys:
                    age.decrypt_io(watched_source, watched_target, keys)
                else:
                    target.write(age.passphrase.decrypt(_whole(source), self.passphrase))
        except (age.DecryptError, _AgeRefused) as error:
            raise ArchiveRefused(
                "The archive cannot be decrypted: the key or passphrase is another one, or the "
                "file is damaged."
            ) from error


def is_encrypted(start: bytes) -> bool:
    """Whether a file that begins so is encrypted."""
    return start.startswith(AGE_MAGIC)


def _age() -> Any:
    try:
        import pyrage

        # Modules within the extension; nothing in the file system tells pyright of them.
        import pyrage.passphrase  # pyright: ignore[reportMissingImports]
        import pyrage.x25519  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InvalidConfiguration(
            "Encrypted archives need the package pyrage: "
            'pip install "expresso-persist[encryption]".'
        ) from error
    return pyrage


def _whole(source: IO[bytes]) -> bytes:
    content = source.read(MAX_IN_MEMORY + 1)
    if len(content) > MAX_IN_MEMORY:
        raise ArchiveRefused(
            f"An archive under a passphrase has at most {MAX_IN_MEMORY >> 20} MiB; use keys."
        )
    return content


class _AgeRefused(Exception):
    """``pyrage`` raised an OSError that came from neither of its two files."""


@contextlib.contextmanager
def _own_errors(source: IO[bytes], target: IO[bytes]) -> Iterator[tuple[_Watched, _Watched]]:
    """Raise what a file raised itself; ``pyrage`` turns it into an error of its own."""
    watched = _Watched(source), _Watched(target)
    try:
        yield watched
    except Exception as error:
        for file in watched:
            if file.error is not None:
                raise file.error from error
        if isinstance(error, OSError):
            raise _AgeRefused from error
        raise


class _Watched:
    """A file that remembers what went wrong with it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.error: BaseException | None = None
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._remember(lambda: self._file.read(size))

    def write(self, data: bytes) -> int:
        return self._remember(lambda: self._file.write(data))

    def flush(self) -> None:
        self._remember(self._file.flush)

    def _remember(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except BaseException as error:
            self.error = error
            raise


def _is_text(key: object) -> bool:
    return isinstance(key, str) and find_unstorable(key) is None
