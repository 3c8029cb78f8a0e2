"""Tables of exams as hospitals export them, and what goes wrong with them; nothing of a table leaks."""

import io
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers import s3_server

from mricore.data.exam_table import read_exam_table
from mricore.errors import UserError

PRIVATE = "00Secret7"


def pseudonym(identifier):
    return f"<{identifier[::-1]}>"


@pytest.fixture
def read(tmp_path):
    """Reads a table from bytes, text or an Arrow table; returns its types as a plain dictionary."""

    def from_content(content, columns=""):
        path = tmp_path / "exams"
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return dict(read_exam_table(str(path), pseudonym, columns).types)

    return from_content


ONE = {"<2100>": ("MRI left knee",)}


@pytest.mark.parametrize(
    "content",
    [
        "accession,report_type\n0012,MRI left knee\n",
        "accession,report_type\n0012,MRI left knee",
        "\ufeffAccession Number;Report Type\r\n0012;MRI left knee\r\n",
        "ACC_NO\tPROCEDURE\r0012\tMRI left knee\r",
        "AccessionNumber|ExamType\n0012|MRI left knee\n",
        '"accession","patient, name","protocol"\n"0012","Doe, Jane","MRI left knee"\n',
        "\n\n;;\naccession;x;description\n\n0012;1;MRI left knee\n\n;;\n",
        '"accession";text;type;"Report\ntype"\n 0012 ;"several\nlines; quoted";x; MRI left knee \n',
        "description,accession,report type\nnothing,0012,MRI left knee\n",
        "accession,report type\n0012,MRI left knee\n0012,MRI left knee\n",
        "accession,report type\n0012,\n0012,MRI left knee\n,MRI hip\n",
        "Accession\tReport Type\r\n0012\tMRI left knee\r\n".encode("utf-16"),
        b"\xfe\xff" + "Accession\tReport Type\r\n0012\tMRI left knee\r\n".encode("utf-16-be"),
    ],
)
def test_what_hospitals_export_is_read_alike(read, content):
    assert read(content) == ONE


def test_accession_numbers_are_text_and_words_for_nothing_are_words(read):
    found = read("accession,procedure\n007,a\n7,b\n1e3,c\nNA,NULL\n12345678901234567890,d\n")
    assert found == {
        "<700>": ("a",),
        "<7>": ("b",),
        "<3e1>": ("c",),
        "<AN>": ("NULL",),
        "<09876543210987654321>": ("d",),
    }


def test_all_report_types_of_an_exam_are_kept_in_their_order(read):
    found = read("accession,procedure\n1,MRI knee\n2,\n1,MRI hip\n1,MRI knee\n")
    assert found == {"<1>": ("MRI knee", "MRI hip"), "<2>": ()}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_letters_survive_every_usual_encoding(read, encoding):
    content = "accession;procedure;größe\n1;MRI Hüfte;x\n2;IRM épaule;y\n".encode(encoding)
    assert read(content) == {"<1>": ("MRI Hüfte",), "<2>": ("IRM épaule",)}


def test_an_exam_is_found_by_its_accession_number_and_by_its_uid(read):
    found = read("StudyInstanceUID,accession,procedure\n1.2.3,7,MRI knee\n1.2.4,,MRI hip\n")
    assert found == {"<7>": ("MRI knee",), "<3.2.1>": ("MRI knee",), "<4.2.1>": ("MRI hip",)}
    assert read("study_uid,description\n1.2.3,MRI knee\n") == {"<3.2.1>": ("MRI knee",)}


def test_columns_with_other_names_can_be_named(read):
    content = "Auftrag,Untersuchung,procedure,accession\n0012,MRI left knee,x,y\n"
    assert read(content, "accession=Auftrag, type=Untersuchung") == ONE
    assert read(content, "accession=Auftrag") == {"<2100>": ("x",)}
    assert read("uid;Untersuchung\n1.2;a\n", "study=uid,type=Untersuchung") == {"<2.1>": ("a",)}


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"accession": ["0012"], "other": [1.5], "report_type": ["MRI left knee"]}),
        pa.table(
            {
                "Accession Number": pa.array(["0012", None, "0012"]).dictionary_encode(),
                "Procedure": pa.array(["MRI left knee", "x", None], pa.large_string()),
            }
        ),
        pa.table({"accession": pa.array([b"0012"]), "report_type": pa.array([b"MRI left knee"])}),
    ],
)
def test_parquet_is_read_like_csv(read, table):
    assert read(table) == ONE


def test_whole_numbers_of_parquet_are_text(read):
    assert read(pa.table({"accession": [12, 13], "procedure": ["a", "b"]})) == {
        "<21>": ("a",),
        "<31>": ("b",),
    }


def test_a_large_table_is_read_in_pieces_without_losing_a_row(read):
    count = 60_000
    rows = "".join(f'{k:08d};"a text\nof two lines; {k}";MRI type {k % 7}\n' for k in range(count))
    found = read("accession;text;procedure\n" + rows)
    assert len(found) == count
    assert all(found[pseudonym(f"{k:08d}")] == (f"MRI type {k % 7}",) for k in range(0, count, 997))


def workbook():
    return b"PK\x03\x04" + PRIVATE.encode()


@pytest.mark.parametrize(
    ("content", "columns", "said"),
    [
        ("", "", "is empty"),
        ("\n \n", "", "is empty"),
        ("accession,procedure\n", "", "no row"),
        ("accession,procedure", "", "no row"),
        (f"accession,procedure\n,{PRIVATE}\n", "", "no row"),
        (f"{PRIVATE},MRI knee\n{PRIVATE},MRI hip\n", "", "report types"),
        (f"accession,x\n{PRIVATE},MRI knee\n", "", "report types"),
        (f"patient,procedure\n{PRIVATE},MRI knee\n", "", "accession numbers"),
        (f"accession\n{PRIVATE}\n", "", "report types"),
        (f"accession,procedure\n1,a\n\n{PRIVATE},b,c\n", "", "row 3"),
        (f"accession,procedure\n1,a\n({PRIVATE} rows affected)\n", "", "1 columns instead of 2"),
        (f"accession,accession,procedure\n1,{PRIVATE},a\n", "", "several columns for accession"),
        (f"accession,procedure\n1,{PRIVATE}\n", "accession=order", "no column 'order'"),
        (f"accession,procedure\n1,{PRIVATE}\n", "acession=accession", "'acession'"),
        (f"accession,procedure\n1,{PRIVATE}\n", "accession", "accession=COLUMN"),
        (f"accession,procedure\n1,{PRIVATE}\n", "accession=", "accession=COLUMN"),
        (workbook(), "", "Excel"),
        (b"PAR1" + PRIVATE.encode(), "", "cannot be read"),
        (bytes(range(1, 256)) * 20, "", "report types"),
        (f'accession,procedure\n1,"{PRIVATE}' + "\n2,x" * 600_000, "", "cannot be read"),
        (pa.table({"accession": [1.0], "procedure": [PRIVATE]}), "", "decimal numbers"),
        (pa.table({"accession": [[PRIVATE]], "procedure": ["a"]}), "", "cannot be read"),
        (pa.table({"accession": [PRIVATE]}), "", "report types"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_in_one_line_that_quotes_nothing_of_it(
    read, content, columns, said
):
    with pytest.raises(UserError) as caught:
        read(content, columns)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert PRIVATE not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_places_that_hold_no_table_are_told(tmp_path):
    with pytest.raises(UserError, match="nothing found"):
        read_exam_table(str(tmp_path / "absent.csv"), pseudonym)
    with pytest.raises(UserError, match="directory"):
        read_exam_table(str(tmp_path), pseudonym)
    with pytest.raises(UserError, match="neither a path nor s3"):
        read_exam_table("ftp://host/exams.csv", pseudonym)


def test_a_table_keeps_neither_accession_numbers_nor_other_columns(tmp_path):
    path = tmp_path / "exams.csv"
    path.write_text(f"accession,name,procedure\n{PRIVATE},{PRIVATE},MRI knee\n")
    table = read_exam_table(str(path), pseudonym)
    assert PRIVATE.encode() not in pickle.dumps(table)
    assert "knee" not in repr(table)


@pytest.mark.servers
def test_a_table_lives_in_a_bucket(tmp_path, monkeypatch):
    import boto3

    content = io.BytesIO()
    pq.write_table(pa.table({"accession": ["0012"], "procedure": ["MRI left knee"]}), content)
    rows = "".join(f"{k:06d},MRI type {k % 5}\n" for k in range(20_000))
    with s3_server(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="ris")
        client.put_object(Bucket="ris", Key="a/exams.parquet", Body=content.getvalue())
        client.put_object(Bucket="ris", Key="a/exams.csv", Body=f"accession,procedure\n{rows}".encode())
        assert dict(read_exam_table("s3://ris/a/exams.parquet", pseudonym).types) == ONE
        assert len(read_exam_table("s3://ris/a/exams.csv", pseudonym).types) == 20_000
        with pytest.raises(UserError, match="nothing found"):
            read_exam_table("s3://ris/a/absent.csv", pseudonym)
