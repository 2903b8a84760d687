"""From a CSV of your own assays to a small ONNX bundle that answers for the assays you choose.

    python examples/own_assays.py [--csv assays.csv] [--folder own_assays] [--small]

Without ``--csv`` it writes one first: three opioid receptors out of the bundled MoleculeACE matrix,
so that it runs without a network. Your file needs a column of SMILES and one column an assay; empty
cells are fine, and whether an assay is a yes or no or a number is found from its values. Of your
assays, the first two make the mix. Settings here are small, for minutes on a laptop; README's
`full-graph` and `full` are those to use in earnest.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from graphadapt.config import RunConfig
from graphadapt.data.load import load_source
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.data.prepare import prepare
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.run_bundle import export_run
from graphadapt.freeze import Selection
from graphadapt.molecules.features import FeatureBlock
from graphadapt.report.evaluation import task_table
from graphadapt.report.table import format_table
from graphadapt.routing.composition import weighted_composition
from graphadapt.run import Run
from graphadapt.serve.predictor import Predictor

OPIOID = {"mu": "CHEMBL233_Ki", "delta": "CHEMBL236_Ki", "kappa": "CHEMBL237_Ki"}

NEW_MOLECULES = (
    "CN1CCC23C4C1CC5=C2C(=C(C=C5)O)OC3C(C=C4)O",  # morphine
    "CCC(=O)N(C1CCN(CC1)CCc1ccccc1)c1ccccc1",  # fentanyl
    "CC(=O)Oc1ccccc1C(=O)O",  # aspirin
    "not a molecule",  # fails alone
)


def main() -> None:
    """Run every step and print what it gives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, help="Your assays; one is made when not given.")
    parser.add_argument("--folder", type=Path, default=Path("own_assays"), help="Must be new.")
    parser.add_argument("--small", action="store_true", help="A minute's trial of all steps.")
    options = parser.parse_args()
    folder: Path = options.folder
    if folder.exists():
        parser.error(f"{folder} exists already; name a new one with --folder")
    folder.mkdir(parents=True)
    assays = options.csv or write_assays(folder / "assays.csv", 120 if options.small else 1500)

    # 1. Read, clean, split by scaffold, featurise. Rows that cannot be used are listed with their
    # reason in store/rejected.csv. Give load_source tasks=, kinds=, units= where it guesses wrong.
    counts = FeatureBlock(kind="counts")
    print(prepare(load_source(assays), folder / "store", blocks=[counts]).to_text())

    # 2. Train: graph network, fingerprints, adapters inside the network and at the readout. A
    # stopped run goes on with Run.open(folder / "run", "none").train(resume=True).
    run = Run.create(settings(folder / "store", small=options.small), folder / "run")
    run.train()

    # 3. Test, with the weights of the best validation epoch.
    run = Run.open(folder / "run")
    print(task_table(run.evaluate("test")))

    # 4. Choose what the bundle answers and how assays mix: the weights decide how the adapters
    # inside the network blend. Selection prunes; here, the fewest adapters of 90 % of the weight.
    names = [task.name for task in run.inputs.tasks]
    chosen = dict(zip(names[:2], (3.0, 1.0), strict=False))
    contract, frozen = export_run(
        run,
        folder / "bundle",
        tasks=list(chosen),
        composition_T=weighted_composition(chosen, names),
        selection=Selection(mass=0.9),
        plan=ParityPlan(repeats=2, batch_sizes=(1, 16)) if options.small else None,
    )
    print(f"adapters kept: {frozen.kept}")
    print(f"largest error against float64: {contract.parity.largest_error:.1e} of the scale")

    # 5. Predict. This half needs the `serve` extra only, no torch.
    print(answer_table(folder / "bundle", NEW_MOLECULES))


def write_assays(path: Path, count: int) -> Path:
    """Write molecules with the pKi of three receptors that share many of them."""
    source = moleculeace_source(list(OPIOID.values()))
    rows = np.random.default_rng(0).choice(len(source), count, replace=False)
    source = source.take(np.sort(rows))
    pki_GT = source.labels + 9  # from -log10(nmol/L) to -log10(mol/L)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles", *OPIOID])
        for smiles, values in zip(source.smiles, pki_GT.tolist(), strict=True):
            writer.writerow([smiles, *("" if np.isnan(v) else f"{v:.3f}" for v in values)])
    return path


def settings(store: Path, *, small: bool) -> RunConfig:
    """Defaults of graphadapt/config.py, but for what few molecules and little time ask for."""
    return RunConfig().with_settings(
        {
            "data.store": str(store),
            "features.blocks": ["counts"],
            "features.hidden": [32] if small else [512, 256],
            "backbone.layers": 2 if small else 3,
            "backbone.width": 16 if small else 96,
            "backbone.dropout": 0.2,
            "adapters.count": 6,
            "adapters.rank": 4,
            # Linear layers by name pattern; one that matches nothing lists those that exist.
            "adapters.sites": ["convolutions.*.expand"],
            "sampler.batch_size": 64,
            "sampler.task_count": 2,
            "trainer.epochs": 2 if small else 20,
        }
    )


def answer_table(bundle: Path, smiles: tuple[str, ...]) -> str:
    """Answers of a bundle, a row a molecule: probabilities, or values in the assay's units."""
    predictor = Predictor(bundle)
    found = predictor.predict(smiles)
    rows = [
        [text, *map(float, values), found.failures.get(row, "")]
        for row, (text, values) in enumerate(zip(smiles, found.values, strict=True))
    ]
    return format_table(["molecule", *(task.name for task in found.tasks), "problem"], rows)


if __name__ == "__main__":
    main()
