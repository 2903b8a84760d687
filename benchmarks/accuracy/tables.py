"""Tables of the quickstart's figures for the page of results."""

from accuracy.checks import reading
from evidence.checks import Results, means
from evidence.tables import markdown_table

__all__ = ["quickstart_tables"]


def quickstart_tables(result: Results) -> list[str]:
    scores = [
        {
            "molecules are read as": reading(result),
            "mean test RMSE": round(means(row)["rmse"], 4),
            "cliff RMSE": round(means(row)["cliff_rmse"], 4),
            "whole quickstart, s": row["seconds"],
        }
        for row in result.rows
    ]
    engines = [
        {
            "batch": each["batch"],
            "times faster than PyTorch": round(each["speedup"], 2),
            "largest error, log units": f"{each['largest_error']:.1e}",
        }
        for row in result.rows
        for each in row.get("comparison", ())
    ]
    return [markdown_table(found) for found in (scores, engines) if found]
