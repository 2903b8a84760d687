import json
import platform


def test_results_name_command_machine_versions_and_seeds(tmp_path):
    from evidence.results import save_results

    path = tmp_path / "new" / "results.json"
    save_results(path, [{"a": 1}], command="python x.py", seeds=[0, 1])
    found = json.loads(path.read_text("utf-8"))
    assert list(found) == ["command", "date", "machine", "versions", "seeds", "rows"]
    assert found["command"] == "python x.py"
    assert found["rows"] == [{"a": 1}]
    assert found["seeds"] == [0, 1]
    assert found["versions"]["python"] == platform.python_version()
    assert found["machine"]["cores"] >= 1
    assert list(path.parent.iterdir()) == [path]


def test_saved_rows_come_back_and_a_missing_file_holds_none(tmp_path):
    from evidence.results import save_results, saved_rows

    rows = [{"settings": {"epochs": 3}, "test": {"rmse": 0.5}}]
    assert saved_rows(tmp_path / "results.json") == []
    save_results(tmp_path / "results.json", rows, command="python x.py")
    assert saved_rows(tmp_path / "results.json") == rows
