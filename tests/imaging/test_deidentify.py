"""De-identification: pseudonyms, the key file, and that a slice record holds nothing that was planted."""

import os
import threading
from dataclasses import asdict, replace

import numpy as np
import pytest
from dicom_files import dataset, header_of, mr_header, to_bytes

from mricore.errors import UserError
from mricore.imaging.deidentify import KEY_BYTES, Pseudonymizer, load_or_create_key, slice_record
from mricore.imaging.volumes import Volume
from mricore.records import Intensity

SECRETS = {
    "PatientName": "ZORBLATT^QUENTINA",
    "PatientID": "PID7731905",
    "PatientBirthDate": "19471103",
    "PatientAge": "078Y",
    "OtherPatientIDs": "OTHERSECRET",
    "IssuerOfPatientID": "ISSUERSECRET",
    "AccessionNumber": "ACC5550123",
    "StudyDate": "19991231",
    "StudyID": "STUDYSECRET",
    "InstitutionName": "XYLOPHONIA GENERAL",
    "ReferringPhysicianName": "DRVANSNOOT",
    "OperatorsName": "OPSECRET",
    "StationName": "STATIONSECRET",
    "DeviceSerialNumber": "SERIALSECRET",
    "PatientComments": "COMMENTSECRET",
    "ImageComments": "IMAGESECRET",
    "StudyDescription": "knee FREETEXTSECRET",
    "SeriesDescription": "t1 SERIESSECRET",
    "ProtocolName": "PROTOCOLSECRET",
    "RequestedProcedureDescription": "REQUESTSECRET",
    "ReceiveCoilName": "COILSECRET",
    "ManufacturerModelName": "MODELSECRET",
    "SequenceName": "SEQUENCESECRET",
    "StudyInstanceUID": "9.87.6543.21",
    "SeriesInstanceUID": "9.87.6543.22",
    "SOPInstanceUID": "9.87.6543.23",
    "FrameOfReferenceUID": "9.87.6543.24",
}
FLAT = Intensity(0.0, 1.0, 0.0, 1.0)


def planted():
    image = dataset(**SECRETS)
    image.private_block(0x0099, "PRIVATECREATOR", create=True).add_new(1, "LO", "PRIVATESECRET")
    header = header_of(to_bytes(image), "s3://URISECRET/ZORBLATT.dcm")
    return replace(header, scan_options=("OPTIONSECRET",))


def record(header, location="knee", sequence="T1", key=b"k" * 32):
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    volume = Volume((header,), 3.0)
    return slice_record(header, pixels, volume, 0, FLAT, FLAT, Pseudonymizer(key), location, sequence)


def test_a_slice_record_holds_nothing_that_was_planted():
    header = planted()
    words = {part for value in SECRETS.values() for part in (value, *value.split(), *value.split("^"))}
    words -= {"knee", "t1", "GENERAL"}
    words |= {"URISECRET", "PRIVATESECRET", "OPTIONSECRET", "SECRET", header.patient_key}
    content = [str(value).lower() for value in asdict(record(header)).values()]
    for word in words:
        assert not any(word.lower() in value for value in content)


def test_every_text_of_a_record_is_a_pseudonym_or_a_word_of_a_closed_list():
    texts = {name: value for name, value in asdict(record(planted())).items() if isinstance(value, str)}
    pseudonyms = {name: texts.pop(name) for name in ("slice_id", "volume_id", "exam_id", "patient_id")}
    assert texts == {"location": "knee", "sequence": "T1", "plane": "axial", "vendor": "siemens"}
    assert len(set(pseudonyms.values())) == 4
    for value in pseudonyms.values():
        assert len(value) == 20
        int(value, 16)


@pytest.mark.parametrize("category", [{"location": "FREETEXTSECRET"}, {"sequence": "ZORBLATT"}])
def test_free_text_cannot_pass_as_a_category(category):
    with pytest.raises(ValueError, match="closed") as caught:
        record(planted(), **category)
    assert not any(word in str(caught.value) for word in category.values())


def test_physics_and_geometry_are_passed_on():
    header = header_of(to_bytes(dataset(RescaleSlope=2, RescaleIntercept=-1, PixelSpacing=[0.7, 0.6])))
    found = record(header)
    assert (found.slope, found.intercept, found.spacing_row, found.spacing_column) == (2, -1, 0.7, 0.6)
    assert (found.spacing_slice, found.repetition_time, found.echo_time) == (3.0, 500, 10)
    assert (found.field_strength, found.flip_angle, found.index, found.slices_in_volume) == (1.5, 90, 0, 1)
    assert np.isnan(found.inversion_time)


def test_slices_of_one_volume_share_all_ids_but_their_own():
    first = planted()
    second = replace(first, sop_uid="9.87.6543.99", instance_number=2)
    volume = Volume((first, second), 3.0)
    pixels = np.zeros((2, 2), np.uint16)
    one, other = (
        slice_record(frame, pixels, volume, k, FLAT, FLAT, Pseudonymizer(b"k" * 32), "knee", "T1")
        for k, frame in enumerate(volume.frames)
    )
    assert one.slice_id != other.slice_id
    assert (one.volume_id, one.exam_id, one.patient_id) == (other.volume_id, other.exam_id, other.patient_id)


def test_pseudonyms_are_stable_and_differ_by_kind_and_key():
    one, same, other = Pseudonymizer(b"a" * 32), Pseudonymizer(b"a" * 32), Pseudonymizer(b"b" * 32)
    assert one.pseudonym("patient", "X") == same.pseudonym("patient", "X")
    assert len({one.pseudonym(kind, "X") for kind in ("patient", "exam", "volume", "slice")}) == 4
    assert one.pseudonym("patient", "X") != other.pseudonym("patient", "X")
    assert one.pseudonym("patient", "X") != one.pseudonym("patient", "Y")
    assert one.order("X") != other.order("X")


def test_lists_of_parts_are_not_confused():
    maker = Pseudonymizer(b"a" * 32)
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc")]
    assert len({maker.pseudonym("volume", *some) for some in parts}) == len(parts)


def test_any_text_has_a_pseudonym():
    assert len(Pseudonymizer(b"a" * 32).pseudonym("patient", "\udcff łź \x00")) == 20


def test_neither_key_nor_frames_show_in_repr():
    key = b"SECRETKEYSECRETKEYSECRETKEYSECRE"
    assert "SECRET" not in repr(Pseudonymizer(key))
    assert "ZORBLATT" not in repr(Volume((planted(),), 3.0))


def test_a_key_is_created_once_and_is_private(tmp_path):
    path = tmp_path / "deep" / "er" / "key"
    first = load_or_create_key(path)
    assert len(first) == KEY_BYTES
    assert load_or_create_key(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["key"]
    assert load_or_create_key(tmp_path / "another") != first


def test_a_lax_umask_does_not_open_the_key(tmp_path):
    before = os.umask(0)
    try:
        load_or_create_key(tmp_path / "new" / "key")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_processes_that_begin_at_once_agree_on_the_key(tmp_path):
    keys = []
    barrier = threading.Barrier(8)

    def begin():
        barrier.wait()
        keys.append(load_or_create_key(tmp_path / "key"))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"abcd", b"zz" * 32, b"ab" * 31, b"ab" * 33, b"\xff\xfe" * 32]
)
def test_a_malformed_key_is_a_user_error_that_does_not_quote_it(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_or_create_key(path)
    assert str(path) in str(caught.value)
    assert "--key" in str(caught.value)
    assert not content.strip() or content.decode("latin-1") not in str(caught.value)
    assert path.read_bytes() == content


def test_a_key_that_cannot_be_made_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "key", tmp_path):
        with pytest.raises(UserError):
            load_or_create_key(path)


def test_a_patient_keeps_the_pseudonym_in_every_exam():
    """Else k-NN and splits by patient would leak."""
    first = record(mr_header(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", InversionTime=150))
    second = record(mr_header(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.2"))
    other = record(mr_header(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1"))
    assert first.exam_id == second.exam_id != other.exam_id
    assert first.patient_id == second.patient_id == other.patient_id
    assert first.inversion_time == 150
