"""The range of shapes is that of the batches that come, written as TensorRT's provider reads it."""

from dataclasses import replace

import numpy as np
import pytest

from graphadapt.export.collate import collate
from graphadapt.export.contract_parts import Bucket
from graphadapt.export.padding import pad
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.serve.bundle_reader import read_bundle
from graphadapt.serve.shape_profile import shape_profile

BUCKETS = tuple(Bucket(atoms=n, slots=4 + n // 64, graphs=512 // n) for n in (8, 32, 64))
MOLECULES = [featurise_smiles(text) for text in ("CCO", "c1ccccc1C(=O)O", "C" * 20)]


def profile_of(folder, atoms=1024):
    return shape_profile(read_bundle(folder).contract, atoms)


@pytest.fixture
def padded(make_bundle):
    blocks = (FeatureBlock(kind="counts", size=16),)
    reads = ("padded_counts", "features")
    return profile_of(make_bundle(reads, blocks, form="padded", buckets=BUCKETS))


def test_buckets_are_the_range_of_the_padded_form(padded):
    assert padded.options() == {
        "trt_profile_min_shapes": "padded_counts:1x8,features:1x16",
        "trt_profile_opt_shapes": "padded_counts:16x32,features:16x16",
        "trt_profile_max_shapes": "padded_counts:64x64,features:64x16",
    }


def test_every_bucket_is_held_and_what_fits_none_is_not(padded):
    features = np.zeros((3, 16), np.float32)
    for bucket in BUCKETS:
        if bucket.atoms >= 20:
            arrays = pad(MOLECULES, features, atoms=bucket.atoms, slots=4, graphs=bucket.graphs)
            assert padded.holds({name: arrays[name] for name in ("padded_counts", "features")})
    for atoms, graphs in ((65, 1), (64, 65), (7, 1)):
        arrays = {
            "padded_counts": np.zeros((graphs, atoms), np.float32),
            "features": np.zeros((graphs, 16), np.float32),
        }
        assert not padded.holds(arrays)


@pytest.mark.parametrize("merge", [True, False])
def test_batches_of_the_merged_form_are_held_up_to_the_size_aimed_at(make_bundle, merge):
    contract = read_bundle(make_bundle()).contract
    profile = shape_profile(replace(contract, reads=tuple(collate(MOLECULES))), 1000)
    for count in (1, 10, 31):
        assert profile.holds(collate(MOLECULES * count, merge=merge))
    for many in ([MOLECULES[0]] * 251, [featurise_smiles("C" * 50)] * 26):
        assert not profile.holds(collate(many, merge=False))


@pytest.mark.parametrize("atoms", [1, 7, 1024, 16_384])
def test_least_usual_and_most_are_in_order(make_bundle, atoms):
    profile = profile_of(make_bundle(("graph_atoms",)), atoms)
    for name in profile.least:
        triples = zip(profile.least[name], profile.usual[name], profile.most[name], strict=True)
        assert all(1 <= low <= middle <= high for low, middle, high in triples)
