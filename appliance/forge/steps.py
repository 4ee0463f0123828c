"""How a step ends: its files are put in place, its figures noted in the folder's report."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from appliance.forge import latency
from appliance.forge.lint import lint
from appliance.forge.report import Estimate, Report, Step, write_whole
from appliance.forge.sizes import compressed_bytes


def step_of(
    name: str,
    made: str,
    tflite: bytes,
    *,
    parent: bytes | None = None,
    before: Mapping[str, Estimate] | None = None,
    after: Mapping[str, Estimate] | None = None,
    notes: tuple[str, ...] = (),
    command: str = "",
) -> Step:
    """Measure what is measured of every step: size, compressed size, latency ratio, operators an Edge TPU would run.

    Args:
        name: the command's name.
        made: the file, relative to the report's folder.
        tflite: what was made; of a Keras network, its INT8 self.
        parent: what its latency is compared with; None: it is not.
        before: figures of what went in, on the data of ``after``.
        after: figures of what came out.
        notes: sentences for people.
        command: what reproduces the step.

    Raises:
        ForgeError: the flatbuffer is damaged or does not run.
    """
    verdict = lint(tflite)
    on_cpu = tuple(each.sentence for each in verdict.operators if not each.mapped)
    refused = tuple(f"{finding.what}; {finding.fix}" for finding in verdict.findings if not verdict.compiles)
    return Step(
        step=name,
        made=made,
        size_bytes=len(tflite),
        compressed_bytes=compressed_bytes(tflite),
        before=before or {},
        after=after or {},
        latency_ratio=None if parent is None else latency.ratio(tflite, parent),
        operators=len(verdict.operators),
        operators_edgetpu=verdict.mapped,
        notes=(*notes, *(refused or on_cpu)),
        command=command,
    )


def finish(step: Step, files: Mapping[Path, bytes], folder: Path) -> Report:
    """Put the files in place, each whole or not at all, and note the step in the folder's report.

    The report is read first: one that is damaged stops the step before anything is written.

    Raises:
        ForgeError: a file cannot be written, or the folder's report cannot be read.
    """
    report = Report.load(folder)
    for file, content in files.items():
        write_whole(file, content)
    report.add(step)
    report.save()
    return report


def command_line() -> str:
    """Give the command that was called, as a shell takes it."""
    return shlex.join(["appliance", *sys.argv[1:]])
