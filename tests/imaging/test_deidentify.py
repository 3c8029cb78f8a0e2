"""De-identification: neither what is kept of a header nor a slice record holds anything that was planted."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from dicom_files import dataset, header_of, mr_header, to_bytes

from mricore.config.curation import Curation, Protocol
from mricore.imaging import deidentify
from mricore.imaging.anatomy import Finding
from mricore.imaging.deidentify import frame_of, slice_record
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.volumes import Volume
from mricore.records import Intensity, Reason

PSEUDONYMS = Pseudonymizer(b"k" * 32)
POLICY = Curation()

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
    return replace(header, stack="STACKSECRET")


def kept(header, policy=POLICY, file=0):
    return frame_of(header, file, policy, PSEUDONYMS)


def record(header, index=0, headers=None):
    frames = [kept(one) for one in headers or [header]]
    volume = Volume(tuple((one,) for one in frames), 3.0)
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    return slice_record(kept(header), volume, index, pixels, FLAT, FLAT, PSEUDONYMS)


@pytest.mark.parametrize("view", [kept, record], ids=["index", "shard"])
def test_what_is_kept_holds_nothing_that_was_planted(view):
    header = planted()
    words = {part for value in SECRETS.values() for part in (value, *value.split(), *value.split("^"))}
    words -= {"knee", "t1", "GENERAL"}
    words |= {"URISECRET", "PRIVATESECRET", "STACKSECRET", "SECRET", header.patient_key}
    content = [str(value).lower() for value in asdict(view(header)).values()]
    for word in words:
        assert not any(word.lower() in value for value in content)


def test_every_text_of_a_record_is_a_pseudonym_or_a_word_of_a_closed_list():
    texts = {name: value for name, value in asdict(record(planted())).items() if isinstance(value, str)}
    pseudonyms = {name: texts.pop(name) for name in ("slice_id", "volume_id", "exam_id", "patient_id")}
    assert texts == {
        "location": "knee",
        "location_evidence": "BodyPartExamined",
        "sequence": "T1",
        "sequence_evidence": "SeriesDescription+timing",
        "plane": "axial",
        "vendor": "siemens",
        "vendor_evidence": "Manufacturer",
    }
    assert len(set(pseudonyms.values())) == 4
    for value in pseudonyms.values():
        assert len(value) == 20
        int(value, 16)


def test_every_text_of_the_index_is_a_pseudonym_or_a_word_of_a_closed_list():
    texts = {name: value for name, value in asdict(kept(planted())).items() if isinstance(value, str)}
    words = {"knee", "BodyPartExamined", "T1", "SeriesDescription+timing", "siemens", "Manufacturer", "M", ""}
    hidden = [name for name, value in texts.items() if value not in words]
    ids = ["slice_id", "series_id", "exam_id", "patient_id"]
    assert hidden == [*ids, "accession_key", "study_key", "series_key", "protocol", "stack"]
    for name in hidden:
        int(texts[name], 16)


@pytest.mark.parametrize("finder", ["locate", "sequence_type", "vendor"])
@pytest.mark.parametrize("found", [("FREETEXTSECRET", "none"), ("unknown", "ZORBLATT")])
def test_free_text_cannot_pass_as_a_category_or_as_its_evidence(finder, found, monkeypatch):
    monkeypatch.setattr(deidentify, finder, lambda _: Finding(*found))
    with pytest.raises(ValueError, match="closed") as caught:
        kept(planted())
    assert not any(word in str(caught.value) for word in found[:1])


def test_a_protocol_is_a_name_of_the_policy_or_a_pseudonym():
    header = mr_header(StudyDescription="MR KNEE of ZORBLATT")
    knees = Curation(protocols=(Protocol(name="MR knee", any_of=("knee",)),))
    hips = Curation(protocols=(Protocol(name="MR hip", any_of=("hip",)),))
    assert kept(header, knees).protocol == "MR knee"
    assert kept(header, hips).protocol == ""
    assert len(kept(header).protocol) == 20
    assert kept(header).protocol == kept(mr_header(StudyDescription="MRI knee left of Zorblatt")).protocol
    assert kept(header).protocol != kept(mr_header(StudyDescription="MR HIP")).protocol


def test_an_exam_without_description_is_one_of_its_location():
    one = kept(mr_header(StudyDescription=None, SeriesInstanceUID="1"))
    other = kept(mr_header(StudyDescription=None, BodyPartExamined="HIP"))
    assert one.protocol != other.protocol
    assert one.protocol == kept(mr_header(StudyDescription=None, SeriesInstanceUID="2")).protocol


def test_named_protocols_take_an_exam_without_description_by_its_location():
    """Many archives strip descriptions and leave the receive coil."""
    knees = Curation(protocols=(Protocol(name="MR knee", any_of=("knee",)),))
    assert kept(mr_header(StudyDescription=None), knees).protocol == "MR knee"
    assert kept(mr_header(StudyDescription="MR FOLLOW UP"), knees).protocol == ""


def test_a_table_finds_an_exam_by_accession_number_or_study():
    header = mr_header(AccessionNumber="00123", StudyInstanceUID="1.2.3")
    assert kept(header).accession_key == PSEUDONYMS.exam_key("00123")
    assert kept(header).study_key == PSEUDONYMS.exam_key("1.2.3")
    assert kept(mr_header()).accession_key == ""


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, ""),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Reason.LOCALIZER),
        ({"StudyDescription": "knee, post mortem"}, Reason.EXCLUDED_WORDS),
        ({"RequestedProcedureDescription": "CADAVER KNEE"}, Reason.EXCLUDED_WORDS),
    ],
)
def test_the_reason_against_an_image_is_kept_with_it(attributes, reason):
    assert kept(mr_header(**attributes)).reason == reason


def test_patients_whose_files_share_uids_are_not_merged():
    """As careless anonymisers write them."""
    one, other = (kept(mr_header(PatientID=name, SOPInstanceUID="1.5")) for name in ("a", "b"))
    for name in ("slice_id", "series_id", "exam_id", "patient_id"):
        assert getattr(one, name) != getattr(other, name)


def test_a_date_does_not_pass_as_a_count():
    assert kept(mr_header(AcquisitionNumber=12)).acquisition_number == 12
    assert kept(mr_header(AcquisitionNumber=19471103)).acquisition_number is None


def test_frames_of_one_file_are_slices_of_their_own():
    header = mr_header(SOPInstanceUID="1.5")
    assert kept(header).slice_id != kept(replace(header, frame=1)).slice_id
    assert kept(header).series_id == kept(replace(header, frame=1)).series_id


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
    one, other = (record(header, k, (first, second)) for k, header in enumerate((first, second)))
    assert one.slice_id != other.slice_id
    assert (one.volume_id, one.exam_id, one.patient_id) == (other.volume_id, other.exam_id, other.patient_id)


def test_a_volume_is_the_set_of_its_slices():
    headers = [mr_header(SOPInstanceUID=f"1.{k}") for k in range(3)]
    assert record(headers[0], 0, headers).volume_id == record(headers[0], 0, headers[::-1]).volume_id
    assert record(headers[0], 0, headers).volume_id != record(headers[0], 0, headers[:2]).volume_id


def test_a_patient_keeps_the_pseudonym_in_every_exam():
    """Else k-NN and splits by patient would leak."""
    first = record(mr_header(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", InversionTime=150))
    second = record(mr_header(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.2"))
    other = record(mr_header(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1"))
    assert first.exam_id == second.exam_id != other.exam_id
    assert first.patient_id == second.patient_id == other.patient_id
    assert first.inversion_time == 150


@pytest.mark.parametrize(
    "name",
    [
        "body_part",
        "study_description",
        "series_description",
        "protocol_name",
        "requested_procedure",
        "procedures",
    ],
)
def test_excluded_words_count_in_every_description_and_before_all_else(name):
    scout = mr_header(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert kept(scout).reason == Reason.LOCALIZER
    assert kept(replace(scout, **{name: "knee of a cadaver"})).reason == Reason.EXCLUDED_WORDS


def test_the_study_tells_the_protocol_and_the_request_where_it_does_not():
    limbs = tuple(Protocol(name=name, any_of=(name,)) for name in ("knee", "hip"))
    policy = Curation(protocols=limbs)
    for study, request, expected in (
        ("hip", "knee", "hip"),
        ("x", "knee", "knee"),
        ("", "hip", "hip"),
        ("x", "x", ""),
    ):
        header = replace(mr_header(), study_description=study, requested_procedure=request)
        assert kept(header, policy).protocol == expected
