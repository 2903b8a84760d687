def test_a_table_has_every_column_once_and_short_numbers():
    from evidence.tables import markdown_table

    rows = [{"way": "a", "seconds": 0.123456}, {"way": "b", "n": 3}]
    assert markdown_table(rows).splitlines() == [
        "| way | seconds | n |",
        "| --- | --- | --- |",
        "| a | 0.1235 |  |",
        "| b |  | 3 |",
    ]
    assert markdown_table(rows, ["n"]).splitlines()[2:] == ["|  |", "| 3 |"]
