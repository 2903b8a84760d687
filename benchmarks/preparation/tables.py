"""Tables of the reader's figures for the page of results."""

from evidence.checks import Results, spread
from evidence.tables import markdown_table

__all__ = ["featurise_tables"]


def featurise_tables(result: Results) -> list[str]:
    timed = [row for row in result.rows if "way" in row]
    rates = {(row["set"], row["way"]): row["per_second"] for row in timed}
    speed = [
        {
            "set": row["set"],
            "molecules": row["molecules"],
            "blocks": row["n"],
            "smiles2graph, molecules/s": round(rates[row["set"], "ogb smiles2graph"]),
            "graphadapt, molecules/s": round(row["per_second"]),
            "times faster (quartiles)": spread(row, "times_smiles2graph"),
        }
        for row in timed
        if row["way"] == "graphadapt"
    ]
    same = [row for row in result.rows if "different" in row]
    return [markdown_table(found) for found in (speed, same) if found]
