"""Bundles that cannot be trusted are refused, and the error says why."""

import json

import pytest

from graphadapt.errors import BundleError
from graphadapt.export.contract import FileInfo
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION
from graphadapt.serve.bundle_reader import read_bundle


def test_a_sound_bundle_is_read_whole(make_bundle):
    folder = make_bundle()
    bundle = read_bundle(str(folder))
    assert bundle.model == (folder / "model.onnx").read_bytes()
    assert bundle.contract.task_names == ("sum_graph_atoms",)
    assert bundle.folder == folder


def test_one_flipped_bit_is_noticed(make_bundle):
    path = make_bundle() / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx was changed .* \(sha256 differs\)"):
        read_bundle(path.parent)


def test_a_truncated_model_is_measured(make_bundle):
    path = make_bundle() / "model.onnx"
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    size = len(content)
    with pytest.raises(BundleError, match=f"has {size - 7} bytes where {size} were written"):
        read_bundle(path.parent)


def test_a_missing_model_is_named(make_bundle):
    folder = make_bundle()
    (folder / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"bundle: model\.onnx is missing"):
        read_bundle(folder)


def test_a_changed_contract_is_noticed(make_bundle):
    path = make_bundle() / "bundle.json"
    path.write_text(path.read_text().replace("regression", "binary"))
    with pytest.raises(BundleError, match=r"bundle\.json was changed"):
        read_bundle(path.parent)


def test_a_truncated_contract_is_damaged(make_bundle):
    path = make_bundle() / "bundle.json"
    path.write_text(path.read_text()[:-50])
    with pytest.raises(BundleError, match=r"bundle\.json is cut short or damaged"):
        read_bundle(path.parent)


def test_bytes_that_are_no_text_are_damaged(make_bundle):
    path = make_bundle() / "bundle.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match=r"bundle\.json is damaged"):
        read_bundle(path.parent)


def test_a_folder_of_something_else_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"is no bundle: it has no bundle\.json"):
        read_bundle(tmp_path)
    with pytest.raises(BundleError, match="is no folder; give the folder"):
        read_bundle(tmp_path / "absent")


def test_a_newer_bundle_asks_for_an_upgrade(make_bundle):
    path = make_bundle() / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(BundleError, match="format 99, this graphadapt reads 2; upgrade"):
        read_bundle(path.parent)


def test_another_featurisation_is_refused(make_bundle):
    folder = make_bundle(featurisation_version=FEATURISATION_VERSION + 1)
    with pytest.raises(BundleError, match=r"made for featurisation 2, this graphadapt has 1"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/file"])
def test_files_outside_the_bundle_are_not_opened(make_bundle, name):
    folder = make_bundle(files={name: FileInfo.of(b"")})
    with pytest.raises(BundleError, match="which is not in the bundle"):
        read_bundle(folder)


def test_a_bundle_without_a_model_is_refused(make_bundle):
    with pytest.raises(BundleError, match=r"names no model\.onnx"):
        read_bundle(make_bundle(files={}))


def test_a_model_that_is_no_file_is_refused(make_bundle):
    folder = make_bundle()
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    with pytest.raises(BundleError, match=r"model\.onnx cannot be read: Is a directory"):
        read_bundle(folder)
