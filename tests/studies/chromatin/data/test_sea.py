"""Motif-activity assembly against the vector of the original's function
(golden/epibert_preproc.npz), bit for bit."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from petriscope.errors import UserError
from petriscope.studies.chromatin.data.sea import assemble_sea, read_sea

HEADER = "RANK\tDB\tID\tENR_RATIO\tLOG_EVALUE\n"


def test_a_real_run_gives_the_originals_vector(shared: Path) -> None:
    golden = np.load(shared / "golden/epibert_preproc.npz")["motif_ENCFF135AEX"]
    table = read_sea(shared / "data/real/motifs/ENCFF135AEX.sea.tsv.gz")
    activity = assemble_sea(table, table.motif.tolist())
    assert activity.dtype == np.float32 and len(activity) == 693
    np.testing.assert_array_equal(activity.to_numpy(), golden)
    assert activity.index[0].startswith("AC0001") and activity.idxmax() == table.motif[0]
    shuffled = table.sample(frac=1, random_state=1)
    np.testing.assert_array_equal(assemble_sea(shuffled).to_numpy(), golden)


def test_order_and_scale(tmp_path: Path) -> None:
    path = tmp_path / "sea.tsv"
    path.write_text(
        HEADER + "1\tdb\tAC2\t2.0\t-30\n2\tdb\tAC1\t1.5\t-10\n3\tdb\tAC3\t1.0\t5\n\n# footer\n"
    )
    activity = assemble_sea(read_sea(path))
    assert activity.index.tolist() == ["AC1", "AC2", "AC3"]
    np.testing.assert_allclose(activity, [15 / 35, 1, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column ID: is missing"),
        ("RANK\tID\tENR_RATIO\n1\tAC1\t1\n", r"column LOG_EVALUE: is missing.*MEME SEA"),
        (HEADER + "1\tdb\tAC1\t1\tx\n", r"AC1: log_evalue: 'x' is not a number"),
        (HEADER + "1\tdb\tAC1\t1\t1\n2\tdb\tAC1\t1\t2\n", "AC1: appears twice"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sea.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_sea(path)
    assert str(path) in str(caught.value)


def test_missing_motifs_and_flat_scores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sea.tsv"
    path.write_text(HEADER + "1\tdb\tAC1\t1\t1\n2\tdb\tAC2\t1\t1\n")
    with pytest.raises(UserError, match=r"nothing for 1 motifs, such as AC9.*--thresh"):
        assemble_sea(read_sea(path), ["AC1", "AC9"])
    with pytest.raises(UserError, match="same enrichment"):
        assemble_sea(read_sea(path))
    with pytest.raises(UserError, match="no such file"):
        read_sea(tmp_path / "absent")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(HEADER.encode() * 99)[:30])
    with pytest.raises(UserError, match=r"cut\.gz: gzip damaged"):
        read_sea(tmp_path / "cut.gz")
