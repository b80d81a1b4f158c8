"""A download is made readable: it is decompressed, extracted or indexed, and is then whole or
absent."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

import pysam

from petriscope.errors import UserError
from petriscope.files import atomic_folder, atomic_path

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def gunzip(path: Path) -> Path:
    """Decompress ``path`` beside itself (name without .gz) unless that is there; returns the plain
    file."""
    plain = path.with_suffix("")
    if plain.is_file() and plain.stat().st_mtime >= path.stat().st_mtime:
        return plain
    try:
        with (
            atomic_path(plain) as temporary,
            gzip.open(path, "rb") as source,
            temporary.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"gzip damaged ({error})", file=path, remedy="Delete it and fetch it again."
        ) from None
    return plain


def is_archive(path: Path) -> bool:
    """True for the archive formats `extract` knows, by name."""
    return path.name.endswith(ARCHIVES)


def extract(path: Path) -> Path:
    """Extract an archive into a folder of its name unless that is there; members that would leave
    it are refused."""
    name = next(path.name.removesuffix(suffix) for suffix in ARCHIVES if path.name.endswith(suffix))
    folder = path.with_name(name + ".files")
    if folder.is_dir():
        return folder
    try:
        with atomic_folder(folder) as temporary:
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    for member in archive.namelist():
                        if member.startswith("/") or ".." in Path(member).parts:
                            raise UserError(
                                f"member {member!r} leaves the folder",
                                file=path,
                                remedy="Do not use it.",
                            )
                    archive.extractall(temporary)
            else:
                with tarfile.open(path) as archive_tar:
                    _refuse_unsafe(archive_tar, path)
                    archive_tar.extractall(temporary)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(
            f"archive damaged ({error})", file=path, remedy="Delete it and fetch it again."
        ) from None
    return folder


def _refuse_unsafe(archive: tarfile.TarFile, path: Path) -> None:
    """Plain files and folders below the root of the archive, nothing else: `filter="data"` is newer
    than Python 3.11.2."""
    for member in archive.getmembers():
        leaves = member.name.startswith("/") or ".." in Path(member.name).parts
        if leaves or not (member.isfile() or member.isdir()):
            raise UserError(
                f"unsafe member {member.name!r}", file=path, remedy="Do not use this archive."
            )
        member.mode = 0o755 if member.isdir() else 0o644
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""


def index_bam(path: Path) -> Path:
    """Index a BAM beside itself unless it has a current index; refuses one that is not sorted by
    position."""
    index = path.with_name(path.name + ".bai")
    if index.is_file() and index.stat().st_mtime >= path.stat().st_mtime:
        return index
    try:
        with atomic_path(index) as temporary:
            pysam.index(str(path), str(temporary))
    except (pysam.SamtoolsError, OSError) as error:
        remedy = f"Sort it first: `samtools sort -o sorted.bam {path.name}`."
        raise UserError(f"cannot be indexed ({error})", file=path, remedy=remedy) from None
    return index


def index_fasta(path: Path) -> Path:
    """Index a plain FASTA beside itself unless it has a current index."""
    index = path.with_name(path.name + ".fai")
    if index.is_file() and index.stat().st_mtime >= path.stat().st_mtime:
        return index
    try:
        with atomic_path(index) as temporary:
            pysam.faidx(str(path), "--fai-idx", str(temporary))
    except (pysam.SamtoolsError, OSError) as error:
        raise UserError(
            f"cannot be indexed ({error})", file=path, remedy="Delete it and fetch it again."
        ) from None
    return index


def checkpoint_prefixes(folder: Path) -> list[Path]:
    """Prefixes of the TensorFlow checkpoints under ``folder`` (each `X.index` with its `X.data-*`),
    sorted."""
    found = (path.with_suffix("") for path in folder.rglob("*.index"))
    return sorted(prefix for prefix in found if list(prefix.parent.glob(f"{prefix.name}.data-*")))
