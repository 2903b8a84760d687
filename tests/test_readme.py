"""What README shows can be done as it is printed."""

import re

import pytest

from graphadapt.config import RunConfig


@pytest.fixture(scope="module")
def blocks(repository):
    """Fenced blocks of README by language, in order."""
    found = {}
    text = (repository / "README.md").read_text("utf-8")
    for language, body in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        found.setdefault(language, []).append(body)
    return found


def test_the_first_two_commands_are_one_line_each(blocks):
    quickstart, tests = (block.splitlines() for block in blocks["sh"][:2])
    assert len(quickstart) == len(tests) == 1
    assert quickstart[0].endswith("graphadapt quickstart")
    assert tests[0].endswith("pytest")


def test_the_tour_runs(blocks, tiny_store, tmp_path, monkeypatch, capsys):
    """At sizes that a test can train, on its data."""
    from_toml = RunConfig.from_toml.__func__
    small = {
        "data.store": str(tiny_store),
        "backbone.layers": 1,
        "backbone.width": 4,
        "backbone.fingerprint_width": 8,
        "backbone.embedding_width": 8,
        "adapters.rank": 2,
        "backbone.weights": "",
        "backbone.train": "all",
        "trainer.precision": "float32",
        "trainer.device": "cpu",
    }
    monkeypatch.setattr(
        RunConfig, "from_toml", classmethod(lambda *a: from_toml(*a).with_settings(small))
    )
    monkeypatch.chdir(tmp_path)
    (tour,) = blocks["python"]
    exec(compile(tour.replace("CHEMBL204_Ki", "potency"), "README.md", "exec"), {})
    shown = capsys.readouterr().out.splitlines()
    assert "rmse" in shown[0]
    assert re.fullmatch(r"\[\[ *-?\d.*\]\]", shown[-1])


def test_every_preset_that_is_named_exists(repository):
    from graphadapt.presets import preset_names

    text = (repository / "README.md").read_text("utf-8")
    named = re.search(r"Presets: (.*?)\. ", text, re.DOTALL)
    assert named is not None
    assert sorted(re.findall(r"`([\w-]+)`", named[1])) == sorted(preset_names())
