"""Curation: an archive of DICOM -> audited, de-identified shards and a manifest (paper section 4.1).

Three passes. Headers are read, de-identified at once and remembered in the dataset's index. Series, exams
and volumes are chosen from that alone; the pixels of each chosen volume are then read once, measured and
sorted into buckets. The buckets become shards in globally shuffled order. Each task remembers its
result in the destination under a name that says what it was made from; so the same command goes on where
a killed one stopped, and adds to a finished dataset only what is new. In memory are one row per
exam, a hundred bytes per part and bucket, the dropped repeats, and a few tasks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial

from mricore.data.audit import write_audit
from mricore.data.choice import Choice, WantedSeries
from mricore.data.chunks import Chunk
from mricore.data.collect import Bucket, buckets_for, write_shards
from mricore.data.extract import Extraction, files_of
from mricore.data.finish import Finish, remove_ours, sweep
from mricore.data.funnel import Funnel
from mricore.data.index import Indexed, index_chunk, probe_header
from mricore.data.intake import Extracted
from mricore.data.job import Job, refuse_overlap
from mricore.data.ledger import ledger_rows, stored_exams
from mricore.data.manifest import INCOMPLETE, Manifest, has_manifest, read_manifest, write_manifest
from mricore.data.parts import WORK
from mricore.data.progress import Progress
from mricore.data.scratch import Scratch
from mricore.data.shards import Shard
from mricore.data.storage import StoredFile
from mricore.data.work import Runner, Work, in_tasks
from mricore.errors import UserError


def known_dataset(job: Job) -> Manifest | None:
    """The dataset at the destination if it was made from exactly this source; needs no Ray.

    Raises:
        UserError: source and destination overlap, the source cannot be read, or the destination holds a
            dataset that was made under another policy or with another key.
    """
    refuse_overlap(job.source, job.destination)
    if not has_manifest(job.destination):
        return None
    manifest = read_manifest(job.destination)
    job.target.require_same_rules(manifest)
    keys = [chunk.key for chunk in job.chunks()]
    if job.fingerprint(keys) not in {round_.source_fingerprint for round_ in manifest.rounds}:
        return None
    if job.destination.names(WORK):  # a process was killed after it had written the manifest
        sweep(job.destination, manifest, keys)
    return manifest


def curate(job: Job, run: Runner = in_tasks) -> Manifest:
    """Curate the source into the destination, return the manifest; needs a Ray session to run in tasks.

    A destination that already holds exactly this source is returned as it is; one that holds less of it
    gets what is new, in further shards; an interrupted curation goes on.

    Raises:
        UserError: see ``known_dataset``; or the source has no usable MR or can no longer be reached, or the
            destination may not be written.
    """
    manifest = known_dataset(job)
    if manifest is not None:
        return manifest
    was_there = job.destination.exists()
    job.destination.require_writable()
    scratch = Scratch()
    curation = _Curation(job, scratch, run)
    try:
        return curation.run()
    except _NothingUsableError as error:
        if not has_manifest(job.destination):
            remove_ours(job.destination)
        if not was_there:
            job.destination.remove_empty("")
        raise UserError(error.problem, error.remedy) from None
    except UserError:
        curation.refuse_other_round()  # which removes what it does not know
        raise
    finally:
        scratch.close()


class _NothingUsableError(UserError):
    """There is nothing to make a dataset from, so nothing of it must stay."""


@dataclass
class _Source:
    """What the first pass saw of the source."""

    files: int
    keys: list[str]
    attributes: Counter[str]
    complete: bool = True


class _Curation:
    """One curation from the first pass to the manifest."""

    def __init__(self, job: Job, scratch: Scratch, run: Runner) -> None:
        self._job = job
        self._scratch = scratch
        self._run = run
        self._funnel = Funnel()
        self._known = job.target.known()

    def run(self) -> Manifest:
        job = self._job
        source = self._index()
        choice = self._choose()
        extraction = self._extraction(choice.fresh())
        extracted = self._extract(extraction, choice)
        finish = Finish(job.target, self._known, extraction.buckets, extracted)
        shards = self._collect(list(finish.buckets()))
        if not shards and self._known is None:
            problem = f"no usable MR slices below {job.source.uri}"
            raise _NothingUsableError(problem, f"left out: {self._funnel.summary()}")
        complete = source.complete and all(one.complete for one in extracted)
        fingerprint = job.fingerprint(source.keys) if complete else INCOMPLETE
        manifest = finish.manifest(shards, self._funnel, fingerprint)
        self.refuse_other_round()
        write_audit(job.destination, source.files, source.attributes)
        write_manifest(job.destination, manifest)
        sweep(job.destination, manifest, source.keys)
        return manifest

    def _index(self) -> _Source:
        """Pass 1: the headers of all files."""
        job = self._job
        source, destination, policy, pseudonyms = job.source, job.destination, job.policy, job.pseudonymizer
        work: Work[Chunk, StoredFile, Indexed] = Work(
            do=lambda chunk, skipped: index_chunk(source, destination, chunk, policy, pseudonyms, skipped),
            parts=lambda chunk: chunk.files,
            probe=partial(probe_header, source),
        )
        seen = _Source(0, [], Counter())
        progress = Progress("indexing", None, "files")
        for chunk, found in self._run(work, job.chunks()):
            self._scratch.add(chunk, found.pieces)
            self._funnel.rejected.update(found.rejected)
            seen.files += len(chunk.files)
            seen.keys.append(chunk.key)
            seen.attributes.update(found.attributes)
            seen.complete &= found.complete
            progress.update(seen.files)
        if not seen.files:
            problem = f"no files below {job.source.uri}"
            raise _NothingUsableError(problem, "give the folder that contains the DICOM files")
        progress.finish(seen.files)
        self._funnel.step("files found", files=seen.files)
        return seen

    def _choose(self) -> Choice:
        """The series to take up, from what the headers said."""
        job = self._job
        ledger = self._known.ledger if self._known else ()
        self._scratch.add_stored(ledger_rows(job.destination, ledger, ("series_id", "slice_id")))
        stored = stored_exams(job.destination, ledger)
        choice = Choice(self._scratch, job.policy, job.pseudonymizer.order, job.table, stored)
        choice.draw(self._funnel)
        return choice

    def refuse_other_round(self) -> None:
        """Make sure that no other process curated into the destination in the meantime.

        Raises:
            UserError: one did.
        """
        self._job.target.require_unchanged(self._known)

    def _extraction(self, fresh: int) -> Extraction:
        job = self._job
        return Extraction(job.source, job.target, buckets_for(fresh, job.policy))

    def _extract(self, extraction: Extraction, choice: Choice) -> list[Extracted]:
        """Pass 2: the pixels of the chosen series."""
        work: Work[tuple[WantedSeries, ...], StoredFile, Extracted] = Work(
            do=extraction.run, parts=files_of, probe=extraction.probe
        )
        progress = Progress("reading", choice.images, "images")
        done = 0
        extracted = []
        for wanted, found in self._run(work, choice.groups()):
            extracted.append(found)
            self._funnel.rejected.update(found.rejected)
            done += sum(one.found.images for one in wanted)
            progress.update(done)
        images, volumes = (sum(getattr(one, name) for one in extracted) for name in ("images", "volumes"))
        self._funnel.step("continuous volumes", images=images, volumes=volumes)
        return extracted

    def _collect(self, buckets: list[Bucket]) -> list[Shard]:
        """Pass 3: the shards."""
        return write_shards(self._job.destination, buckets, self._run)
