"""Where a dataset grows, and by which rules: what curations of any kind of source share."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from mricore.config.curation import Curation
from mricore.data.manifest import Manifest, has_manifest, read_manifest
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.imaging.pseudonyms import Pseudonymizer


@dataclass(frozen=True, repr=False)
class Target:
    """Destination, policy, key of the pseudonyms, and whether what comes is of generated phantoms."""

    destination: Place
    policy: Curation
    key: bytes
    generated_phantoms: bool = False

    @property
    def pseudonymizer(self) -> Pseudonymizer:
        """Pseudonyms under the key."""
        return Pseudonymizer(self.key)

    @property
    def key_check(self) -> str:
        """Tells whether two keys are one, without telling the key."""
        return hmac.new(self.key, b"which key", hashlib.sha256).hexdigest()[:16]

    def known(self) -> Manifest | None:
        """The dataset that is there.

        Raises:
            UserError: its manifest is damaged.
        """
        return read_manifest(self.destination) if has_manifest(self.destination) else None

    def require_same_rules(self, manifest: Manifest) -> None:
        """Make sure that this may be added to a dataset.

        Raises:
            UserError: the dataset was made under another policy or with another key, or phantoms would be
                mixed with patients.
        """
        where = self.destination.uri
        if manifest.key_check != self.key_check:
            raise UserError(
                f"{where} holds a dataset whose pseudonyms have another key",
                "give its key with --key, or another destination",
            )
        changed = _changed(manifest.provenance["policy"], self.policy.model_dump(mode="json"))
        if changed:
            raise UserError(
                f"{where} holds a dataset made under another policy ({', '.join(changed)} differ)",
                "give an empty destination, or remove that dataset",
            )
        if manifest.generated_phantoms != self.generated_phantoms:
            raise UserError(
                f"{where} would mix generated phantoms with patients", "give another destination for phantoms"
            )

    def require_unchanged(self, known: Manifest | None) -> None:
        """Make sure that the dataset is still the one that was known, or still not there.

        Raises:
            UserError: another process added to it.
        """
        if self.known() != known:
            problem = f"{self.destination.uri} got other slices while this curation ran"
            raise UserError(problem, "run the same command again, and only one at a time")


def _changed(made: Mapping[str, object], asked: Mapping[str, object]) -> list[str]:
    return [name for name in asked if made.get(name) != asked[name]]
