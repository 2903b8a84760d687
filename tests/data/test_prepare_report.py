from graphadapt.data.prepare_report import PrepareReport, TaskCount


def report(tasks, **more):
    settings = {
        "store": "out",
        "source": "in.csv",
        "molecules": 1234,
        "unlabelled": 0,
        "split": "random",
        "features": {"counts": 2048},
        "tasks": tuple(tasks),
        "rejected_rows": {"no label": 2},
        "rejected_labels": {},
        "warnings": (),
    }
    return PrepareReport(**{**settings, **more})


ACTIVE = TaskCount("active", "binary", "", 1000, 100, 99, 0, 37)
LOGP = TaskCount("logP", "regression", "log", 10, 0, 2, 0, None)


def test_the_table_lines_up():
    assert report([ACTIVE, LOGP]).to_text().splitlines() == [
        "1,234 molecules from in.csv in out",
        "features: counts, 2,048 columns",
        "split: random",
        "",
        "task       kind        train  valid  test  positive  units",
        "active     binary      1,000    100    99        37",
        "logP       regression     10      0     2            log",
        "all tasks              1,010    100   101",
        "",
        "rows left out (see rejected.csv):",
        "          2  no label",
    ]


def test_one_column_is_no_plural():
    assert "features: columns, 1 column" in report([LOGP], features={"columns": 1}).to_text().split(
        "\n"
    )


def test_columns_that_say_nothing_are_left_out():
    lines = report([TaskCount("y", "regression", "", 5, 1, 1, 0, None)]).to_text().splitlines()
    assert "task       kind        train  valid  test" in lines
    assert not any("all tasks" in line for line in lines)
    lines = report([TaskCount("y", "regression", "", 5, 1, 1, 3, None)]).to_text().splitlines()
    assert "task       kind        train  valid  test  unused" in lines


def test_many_tasks_are_cut_but_summed():
    tasks = [TaskCount(f"t{index}", "binary", "", 1, 0, 0, 0, 1) for index in range(50)]
    text = report(tasks).to_text()
    assert "t39" in text
    assert "t40" not in text
    assert "10 more tasks are in the sum; --json lists all" in text
    assert any(line.split()[:3] == ["all", "tasks", "50"] for line in text.splitlines())


def test_without_tasks_there_is_no_table():
    text = report([], unlabelled=1234, rejected_rows={}).to_text()
    assert text.splitlines()[1] == "1,234 of them without any label"
    assert "task" not in text


def test_everything_is_plain_for_json():
    import json

    table = json.loads(json.dumps(report([ACTIVE]).to_dict()))
    assert table["tasks"][0]["positives"] == 37
