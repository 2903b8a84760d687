import builtins
import gzip
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.data.tables import read_table, table_parts
from graphadapt.errors import DataError, DependencyError

CSV = "name,smiles,activity,note\nx,CCO,1.5,good\ny,c1ccccc1,,\nz,CC,high,7\n"


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        path = tmp_path / name
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "T.CSV"])
def test_a_csv_file_is_read_column_by_column(written, name):
    table = read_table(written(name, CSV))
    assert table.smiles == ["CCO", "c1ccccc1", "CC"]
    np.testing.assert_array_equal(table.numbers("activity"), np.float32([1.5, np.nan, np.nan]))
    assert table.texts["activity"] == {2: "high"}
    assert table.words("note") == ["good", "", "7"]
    assert table.row_numbers.tolist() == [1, 2, 3]
    assert not table.is_numeric("name")


@pytest.mark.parametrize("parting", [";", "\t"])
def test_semicolons_and_tabs_part_columns_too(written, parting):
    table = read_table(written("t.csv", CSV.replace(",", parting)))
    assert table.smiles == ["CCO", "c1ccccc1", "CC"]
    assert table.texts["activity"] == {2: "high"}


def test_quoted_cells_byte_order_mark_and_windows_lines(written):
    text = '\ufeffSMILES,"a, b"\r\n"CC(=O)O","1,5"\r\n C ,2\r\n'
    table = read_table(written("t.csv", text))
    assert table.smiles == ["CC(=O)O", "C"]
    assert table.texts["a, b"] == {0: "1,5"}


def test_blank_lines_count_as_rows_but_give_none(written):
    table = read_table(written("t.csv", "smiles,y\nC,1\n\nCC,2\n"))
    assert table.row_numbers.tolist() == [1, 3]


def test_a_row_of_another_width_keeps_only_its_smiles(written):
    table = read_table(written("t.csv", "smiles,y,z\nC,1\nCC,2,3\nCCC,4,5,6\nO,1,2,,\n"))
    assert table.problems == {0: "2 cells, the header has 3", 2: "4 cells, the header has 3"}
    assert table.smiles == ["C", "CC", "CCC", "O"]
    np.testing.assert_array_equal(table.numbers("y"), np.float32([np.nan, 2, np.nan, 1]))


def test_a_smi_file_has_names_comments_and_blank_lines(written):
    table = read_table(written("m.smi", "# two molecules\nCCO ethanol is it\n\nC\n"))
    assert table.smiles == ["CCO", "C"]
    assert table.words("name") == ["ethanol is it", ""]
    assert table.row_numbers.tolist() == [2, 4]
    assert table.problems == {}


@pytest.mark.parametrize("parting", ["\t", "  "])
def test_a_smi_file_with_a_header_has_columns(written, parting):
    lines = [["SMILES", "y", "who"], ["C", "1", "me"], ["CC", "0.5", "you"]]
    table = read_table(written("m.smi", "\n".join(parting.join(line) for line in lines)))
    assert table.smiles == ["C", "CC"]
    assert table.numbers("y").tolist() == [1, 0.5]
    assert table.words("who") == ["me", "you"]


def test_parquet_numbers_texts_and_nulls(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "smiles": ["C", "CC", None],
        "y": pyarrow.array([1.5, None, 3.0]),
        "count": pyarrow.array([1, 2, 3], pyarrow.int64()),
        "active": [True, False, None],
        "who": ["a", None, "b"],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table.smiles == ["C", "CC", ""]
    np.testing.assert_array_equal(table.numbers("y"), np.float32([1.5, np.nan, 3]))
    np.testing.assert_array_equal(table.numbers("active"), np.float32([1, 0, np.nan]))
    assert table.numbers("count").tolist() == [1, 2, 3]
    assert table.words("who") == ["a", "", "b"]


def test_parquet_that_is_damaged_inside_tells_how_far_it_goes(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    table = pyarrow.table({"smiles": ["C" * (n % 50 + 1) for n in range(9000)]})
    parquet.write_table(table, path, use_dictionary=False, row_group_size=4096)
    groups = parquet.ParquetFile(path).metadata
    second = groups.row_group(1).column(0).data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[second : second + 400] = b"\xff" * 400
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"damaged: it cannot be read beyond row 4,096: .*write it"):
        read_table(path)


def test_parquet_without_pyarrow_says_what_to_install(written, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DependencyError, match="needs pyarrow, which is not installed"):
        read_table(written("t.parquet", "PAR1"))


def test_standard_input_is_csv_when_its_header_names_the_smiles(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("id,Smiles\n1,C\n"))
    assert read_table("-").smiles == ["C"]


def test_a_stream_without_header_is_one_smiles_a_line():
    table = read_table(io.StringIO("CCO first\nC\n"))
    assert table.smiles == ["CCO", "C"]
    assert read_table(io.StringIO("mol,y\nC,1\n"), smiles_column="mol").smiles == ["C"]
    assert read_table(io.StringIO("")).smiles == []


def test_only_the_named_columns_are_kept(written):
    table = read_table(written("t.csv", CSV), columns=["note"])
    assert list(table.columns) == ["note"]


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("t.csv", "mol,y\nC,1\n", {}, "no SMILES column in .*its columns are 'mol', 'y'"),
        ("t.csv", CSV, {"smiles_column": "smile"}, "did you mean 'smiles'"),
        ("t.csv", "smiles,canonical_smiles\nC,C\n", {}, "several columns that may be the SMILES"),
        ("t.csv", "smiles,y,y\nC,1,1\n", {}, "column 'y' stands twice"),
        ("t.csv", CSV, {"columns": ["activty"]}, "did you mean 'activity'"),
        ("t.csv", "", {}, "has no header row"),
        ("t.csv", b"smiles,y\nC\xff,1\n", {}, "is not UTF-8 text"),
        ("t.xlsx", CSV, {}, r"ends in '.xlsx'; tables end in .csv, .tsv"),
        ("t.parquet", CSV, {}, "is not a Parquet file"),
        ("t.csv", "smiles,y\nC,1\n" + "C" * 200_000, {}, "cannot be read to its end"),
    ],
)
def test_unusable_files_are_refused_with_a_reason(written, name, text, options, message):
    with pytest.raises(DataError, match=message):
        read_table(written(name, text), **options)


def test_a_truncated_gzip_file_is_refused(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode() * 100)[:-30])
    with pytest.raises(DataError, match="cannot be read to its end"):
        read_table(path)
    (tmp_path / "u.csv.gz").write_text(CSV)
    with pytest.raises(DataError, match="cannot be read to its end"):
        read_table(tmp_path / "u.csv.gz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist; give a table"):
        read_table(tmp_path / "nowhere.csv")


CELL = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["", "NA", "text", "a,b", 'quo"te', "line\nbreak"]),
)


@settings(deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=40), st.integers(1, 7))
def test_csv_agrees_with_a_slow_reader(rows, chunk):
    import csv

    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["smiles", "a", "b"], *(["C", *row] for row in rows)])
    stream.seek(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphadapt.data.tables._CHUNK", chunk)
        table = read_table(stream)
    assert len(table) == len(rows)
    for column, name in enumerate("ab"):
        for row, cells in enumerate(rows):
            cell = cells[column]
            try:
                expected = float(cell)
            except ValueError:
                expected = None
            if expected is not None:
                assert table.numbers(name)[row] == np.float32(expected)
            elif cell in ("", "NA"):
                assert np.isnan(table.numbers(name)[row])
                assert row not in table.texts[name]
            else:
                assert table.texts[name][row] == cell.strip()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_parts_together_are_the_table(tmp_path, size):
    path = tmp_path / "in.csv"
    path.write_text("name,smiles,dose\na,CCO,1\n\nb,C1CC,x\nc,,3,4\nd,[He],\n")
    whole, parts = read_table(path), list(table_parts(path, size=size))
    assert all(len(part) <= size for part in parts)
    assert [text for part in parts for text in part.smiles] == whole.smiles
    rows = np.concatenate([part.row_numbers for part in parts])
    np.testing.assert_array_equal(rows, whole.row_numbers)
    doses = np.concatenate([part.numbers("dose") for part in parts])
    np.testing.assert_array_equal(doses, whole.numbers("dose"))
    assert [word for part in parts for word in part.words("dose")] == whole.words("dose")
    assert len([1 for part in parts for _ in part.problems]) == len(whole.problems)


def test_parts_are_read_as_they_are_asked_for(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes(b"smiles\n" + b"CCO\n" * 60_000 + b"\xff\n")
    parts = table_parts(path, size=10)
    assert next(parts).smiles == ["CCO"] * 10
    with pytest.raises(DataError, match="not UTF-8"):
        list(parts)
