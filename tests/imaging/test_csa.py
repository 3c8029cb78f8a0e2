"""Siemens' private header: what gdcm's reader makes of it, and no end but an error for damage."""

import struct

import gdcm
import numpy as np
import pytest
from mosaic_files import csa_header

from mricore.imaging.csa import csa_values

ENTRIES = {
    "EchoLinePosition": [],
    "NumberOfImagesInMosaic": ["36"],
    "SliceNormalVector": ["-0.10000000", "0.20000000", "0.97467943"],
    "UsedChannelMask": ["0"],
}
NAMES = tuple(ENTRIES)


def by_gdcm(content, name):
    element = gdcm.DataElement(gdcm.Tag(0x0029, 0x1010))
    element.SetByteStringValue(content)
    header = gdcm.CSAHeader()
    assert header.LoadFromDataElement(element) and header.FindCSAElementByName(name)
    value = header.GetCSAElementByName(name).GetByteValue()
    return str(value).split("\\") if value else []


@pytest.mark.parametrize("new", [True, False])
def test_values_are_those_that_gdcm_reads(new):
    content = csa_header(ENTRIES, new)
    found = csa_values(content, NAMES)
    assert found == ENTRIES
    for name in ("NumberOfImagesInMosaic", "SliceNormalVector"):
        assert found[name] == by_gdcm(content, name)


def test_only_the_entries_asked_for_are_given():
    assert csa_values(csa_header(ENTRIES), ("UsedChannelMask", "NoSuchEntry")) == {"UsedChannelMask": ["0"]}


def test_damage_ends_in_an_error_or_in_other_values():
    rng = np.random.default_rng(0)
    content = csa_header(ENTRIES)
    failed = 0
    for _ in range(500):
        bad = bytearray(content)
        for place in rng.integers(0, len(bad), 3):
            bad[place] = rng.integers(256)
        try:
            csa_values(bytes(bad[: rng.integers(len(bad) // 2, len(bad) + 1)]), NAMES)
        except (ValueError, struct.error):
            failed += 1
    assert failed > 100


def test_counts_of_billions_end_at_the_end_of_the_bytes():
    with pytest.raises(struct.error):
        csa_values(b"SV10\4\3\2\1" + struct.pack("<II", 0xFFFFFFFF, 77) + bytes(100_000), NAMES)
