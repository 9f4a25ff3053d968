"""The receipt of a run, and what a resumed run says of other conditions."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shop import COLUMNS, SMALL, fitted, log

import minisasrec
from minisasrec import Recommender, receipt, train, use_backend
from minisasrec.commands.cli import run_command
from minisasrec.errors import CheckpointError
from minisasrec.learn import receipt as receipts
from minisasrec.learn.receipt import COMPUTES, PARTS, Receipt, code_fingerprint, made_by
from minisasrec.learn.runs import Run

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """A function that trains on a small log; one in the same words is trained once."""
    base = tmp_path_factory.mktemp("receipt")
    log(users=30).to_csv(base / "log.csv", index=False)
    done: dict[tuple[object, ...], Path] = {}

    def call(*options: object, again: bool = False, data: str = "log.csv") -> Path:
        key = (data, *options)
        if key not in done or again:
            out = base / f"run{len(list(base.iterdir()))}"
            columns = ("--user-column", "visitor", "--item-column", "page", "--time-column", "at")
            size = ("--min-actions", 1, "--d", 8, "--n", 8, "--blocks", 1, "--epochs", 2)
            words = ("--dataset", base / data, *columns, *size, "--out", out, *options)
            assert run_command(train.main, [str(word) for word in words]) == 0
            done[key] = out
        return done[key]

    return call


def resume(out: Path, *options: object) -> int:
    return run_command(train.main, ["--resume", "--out", str(out), *map(str, options)])


def differing(ours: Path, theirs: Path) -> list[str]:
    here, there = Receipt.read(ours), Receipt.read(theirs)
    return [part for part in PARTS if here.sha256[part] != there.sha256[part]]


def test_two_runs_of_the_same_have_the_same_receipt(trained: Train) -> None:
    ours, theirs = trained(), trained(again=True)
    assert differing(ours, theirs) == []
    assert Receipt.read(ours).overall == Receipt.read(theirs).overall
    said = Receipt.read(ours).compare(Receipt.read(theirs))
    assert said == "the same data, settings, code, machine, weights and figures, bit for bit"


@pytest.mark.parametrize(
    "options", [("--threads", 2), ("--keep-histories", False), ("--detect-anomaly",)]
)
def test_what_changes_no_number_changes_no_receipt(trained: Train, options: Any) -> None:
    if options[-1] is False:
        options = ("--no-keep-histories",)
    assert differing(trained(), trained(*options)) == []


def test_the_path_of_the_data_is_not_in_it(trained: Train) -> None:
    source = trained().parent / "log.csv"
    (source.parent / "elsewhere").mkdir()
    shutil.copy(source, source.parent / "elsewhere" / "clicks.csv")
    assert differing(trained(), trained(data="elsewhere/clicks.csv")) == []


def test_it_needs_no_data_and_no_folder_of_its_own(trained: Train, tmp_path: Path) -> None:
    shutil.copytree(trained(), tmp_path / "copy")
    assert differing(trained(), tmp_path / "copy") == []
    Recommender.load(trained()).save(tmp_path / "home")
    assert differing(trained(), tmp_path / "home") == ["figures"]  # nothing was measured there
    assert Receipt.read(trained()).compare(Receipt.read(tmp_path / "home")) == (
        "the same data, settings, code, machine and weights, bit for bit; figures are in one of "
        "them alone"
    )


def test_other_data(trained: Train) -> None:
    """One action at another place in its user's history."""
    table = log(users=30)
    table.loc[[3, 4], "page"] = table.loc[[4, 3], "page"].to_numpy()
    table.to_csv(trained().parent / "turned.csv", index=False)
    theirs = trained(data="turned.csv")
    assert differing(trained(), theirs)[0] == "data"
    said = Receipt.read(trained()).compare(Receipt.read(theirs))
    assert said == "other data: other numbers are to be expected"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--seed", 1), "seed 0, there 1"),
        (("--dropout", 0.1), "dropout 0.5, there 0.1"),
        (("--epochs", 1), "epochs 2, there 1"),
    ],
)
def test_other_settings(trained: Train, options: Any, told: str) -> None:
    theirs = trained(*options)
    assert differing(trained(), theirs)[0] == "settings"
    said = Receipt.read(trained()).compare(Receipt.read(theirs))
    assert said == f"the same data, other settings ({told}): other numbers are to be expected"


def test_another_backend(trained: Train) -> None:
    theirs = trained("--backend", "numpy")
    assert differing(trained(), theirs)[0] == "machine"
    said = Receipt.read(trained()).compare(Receipt.read(theirs))
    assert said.startswith(
        "the same data, settings and code, other machine (backend numba, there numpy"
    )
    assert "bits may differ; here they " in said


@pytest.mark.parametrize("weights", ["same", "other"])
def test_another_processor(trained: Train, tmp_path: Path, weights: str) -> None:
    shutil.copytree(trained(), tmp_path / "theirs")
    run = Run(tmp_path / "theirs")
    if weights == "other":
        arrays, facts = run.load_arrays("best.safetensors")
        next(iter(arrays.values()))[1, 0] += 1e-7
        run.save_arrays("best.safetensors", arrays, facts)
    values = run.read_config()
    values["made_by"][0]["processor"] = "skylake"
    run.write_config(values)
    here = made_by()["processor"]
    found = "they do" if weights == "other" else "they do not, the weights are the same"
    assert Receipt.read(trained()).compare(Receipt.of(run)) == (
        f"the same data, settings and code, other machine (processor {here}, there skylake): "
        f"bits may differ; here {found}"
    )


def test_other_weights_alone_should_not_be(trained: Train, tmp_path: Path) -> None:
    shutil.copytree(trained(), tmp_path / "theirs")
    run = Run(tmp_path / "theirs")
    arrays, facts = run.load_arrays("best.safetensors")
    next(iter(arrays.values()))[1, 0] += 1e-7
    run.save_arrays("best.safetensors", arrays, facts)
    said = Receipt.read(trained()).compare(Receipt.of(run))
    assert said.startswith("the same data, settings, code and machine, other weights")


def forged(run: Path, copy: Path, *names: str) -> Run:
    """A copy of a run in which every HR@10 of the files with these names is another one."""
    shutil.copytree(run, copy)
    for name in names:
        text = (copy / name).read_text()
        assert '"HR@10": 0' in text
        (copy / name).write_text(re.sub(r'"HR@10": [\d.]+', '"HR@10": 0.9999', text))
    return Run(copy)


def test_figures_that_were_changed_are_told(trained: Train, tmp_path: Path) -> None:
    ours = Receipt.read(trained())
    theirs = forged(trained(), tmp_path / "theirs", "history.jsonl")
    assert differing(trained(), theirs.folder) == ["figures"]
    before, same = Run(trained()).history()[0]["HR@10"], "data, settings, code, machine and weights"
    told = f"HR@10 of epoch 1 {before}, there 0.9999"
    assert ours.compare(Receipt.of(theirs)).startswith(f"the same {same}, other figures ({told}): ")
    values = theirs.read_config()
    values["made_by"][0]["processor"] = "skylake"
    theirs.write_config(values)
    said = ours.compare(Receipt.of(theirs))
    assert said.endswith(f"they do not, the weights are the same, but other figures ({told})")


def test_figures_of_the_test_part_count_and_times_do_not(trained: Train, tmp_path: Path) -> None:
    shutil.copytree(trained(), tmp_path / "slow")
    run = Run(tmp_path / "slow")
    run.write_json("result.json", {**run.result(), "total_seconds": 3600.0})
    history = run.path("history.jsonl")
    slow = re.sub(r'("seconds"|"targets_per_second"): [\d.]+', r"\1: 1", history.read_text())
    history.write_text(slow)
    assert differing(trained(), run.folder) == []
    result = run.result()
    result["test"][1]["NDCG@10"] = 0.9999
    run.write_json("result.json", result)
    said = Receipt.read(trained()).compare(Receipt.of(run))
    assert "other figures (NDCG@10 of " in said and ", there 0.9999)" in said


def test_a_result_that_was_edited_is_refused(
    trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = forged(trained(), tmp_path / "theirs", "result.json")
    with pytest.raises(CheckpointError, match="result.json was damaged or changed: its SHA-256"):
        Receipt.of(run)
    capsys.readouterr()
    assert resume(run.folder) == 1
    told = capsys.readouterr()
    assert "result.json was damaged or changed" in told.err and "0.9999" not in told.out


def test_weights_to_start_from_count_by_their_content(trained: Train, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(trained(), tmp_path / name)
    first, moved = (trained("--init-from", tmp_path / name / "best.safetensors") for name in "ab")
    assert differing(first, moved) == []
    other = trained("--init-from", trained("--seed", 1) / "best.safetensors")
    assert differing(first, other)[0] == "settings"


def test_an_update_and_training_on_everything_are_seen(tmp_path: Path) -> None:
    more = log(users=2, seed=5)
    receipts_of = []
    for on in ("train", "everything"):
        made = Recommender("fmc", **SMALL, d=8).fit(log(), on=on, **COLUMNS)
        receipts_of.append(Receipt.read(made.save(tmp_path / on)))
        made.update(more, epochs=1, progress=False).save(tmp_path / on)
        receipts_of.append(Receipt.read(tmp_path / on))
    assert [found.told["settings"]["updates"] for found in receipts_of] == [[], [1], [], [1]]
    assert len({found.sha256["settings"] for found in receipts_of}) == 4


def test_the_code_is_all_that_computes(tmp_path: Path) -> None:
    root = Path(minisasrec.__file__).parent
    assert all((root / name).exists() for name in COMPUTES)
    copy = tmp_path / "package"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert code_fingerprint(copy) == code_fingerprint() == made_by()["code"]
    code_fingerprint.cache_clear()
    for file in copy.rglob("*.py"):  # as a clone on Windows has it
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    (copy / "commands" / "cli.py").write_text("# prints something else\n")
    assert code_fingerprint(copy) == made_by()["code"]
    code_fingerprint.cache_clear()
    file = copy / "ops" / "softmax.py"
    file.write_bytes(file.read_bytes().replace(b"np.exp(", b"np.exp2("))
    assert code_fingerprint(copy) != made_by()["code"]


def test_what_is_used_in_training_is_in_the_code() -> None:
    """Everything of the package that the files which compute import, without what only tells."""
    from test_layout import FILES, ROOT, imports

    tells = {"data.dataset", "errors", "terminal", "learn.config", "learn.runs", "learn.curves"}
    tells |= {"learn.receipt", "budget", "border"}  # the last two refuse what does not fit
    modules = {".".join(f.with_suffix("").parts).removesuffix(".__init__"): f for f in FILES}
    computes = {
        name
        for name, file in modules.items()
        if any(file.is_relative_to(place) for place in COMPUTES)
    }
    assert len(computes) > 60
    for name in computes:
        for target in imports(modules[name]):
            inside = target.removeprefix("minisasrec.")
            module = inside if inside in modules else inside.rpartition(".")[0]
            assert module in computes | tells, f"{ROOT / modules[name]} imports {target}"


def test_what_stands_in_the_run_about_the_machine() -> None:
    import llvmlite
    import numba
    import numpy

    with use_backend("numba"):
        made = made_by()
    assert made["minisasrec"] == minisasrec.__version__ and made["threads"] == "any number"
    assert made["processor"] == llvmlite.binding.get_host_cpu_name()
    assert made["vectors"] == ("64 bytes" if "avx512f" in made["features"].split() else "32 bytes")
    versions = (made["numpy"], made["numba"], made["llvmlite"])
    assert versions == (numpy.__version__, numba.__version__, llvmlite.__version__)
    with use_backend("numpy"):
        assert made_by()["blas"] and made_by()["blas_threads"] >= 1


@pytest.mark.parametrize("one_core", [True, False])
def test_threads_of_blas_stand_in_the_run(monkeypatch: pytest.MonkeyPatch, one_core: bool) -> None:
    cores = {0} if one_core else {0, 1, 2, 3}
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores, raising=False)
    for name in receipts.BLAS_THREADS:
        monkeypatch.delenv(name, raising=False)
    assert receipts._blas()["blas_threads"] == len(cores)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert receipts._blas()["blas_threads"] == min(2, len(cores))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert receipts._blas()["blas_threads"] == 1


# --- the command ---------------------------------------------------------------------------------


def test_the_command_prints_a_line_for_each_part(
    trained: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    out = trained()
    capsys.readouterr()
    assert run_command(receipt.main, [str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*PARTS, "overall"]
    found = Receipt.read(out)
    assert [line.split()[1] for line in lines[:-1]] == [found.sha256[p][:8] for p in PARTS]
    assert lines[-1] == f"overall   {found.overall[:8]}"
    assert "30 users" in lines[0] and "sasrec, seed 0" in lines[1]


def test_a_neighbours_receipt_comes_as_a_file(
    trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = str(trained()), str(trained("--seed", 1))
    capsys.readouterr()
    assert run_command(receipt.main, [theirs, "--json"]) == 0
    file = tmp_path / "theirs.json"
    file.write_text(capsys.readouterr().out)
    assert Receipt.read(file) == Receipt.read(Path(theirs))
    assert run_command(receipt.main, [ours, str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "data" and lines[0].endswith("same")
    assert lines[1].split()[0] == "settings" and lines[1].endswith("other")
    assert "other settings (seed 0, there 1)" in lines[-1]
    assert run_command(receipt.main, [ours, str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["compared"] == lines[-1]
    assert told["overall"] != told["other"]["overall"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"data": 1}', "[" * 9999, '{"code": {"told": [3], "sha256": "x"}}']
)
def test_a_file_that_is_no_receipt(trained: Train, tmp_path: Path, text: str) -> None:
    (tmp_path / "theirs.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"theirs\.json"):
        Receipt.read(tmp_path / "theirs.json")
    whole = Receipt.read(trained()).to_json()
    whole["machine"]["told"] = [1]
    (tmp_path / "theirs.json").write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match="a JSON object was expected"):
        Receipt.read(tmp_path / "theirs.json")


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("settings", "told", {"model": "sasrec", "seed": 99}),
        ("settings", "sha256", "0" * 64),
        ("machine", "told", []),
        ("figures", "told", {"HR@10 of epoch 1": 0.9999}),
        ("code", "told", [{"minisasrec": "0.1.0", "code": "0" * 64}]),
        ("weights", "sha256", ""),
        ("data", "sha256", "0" * 8),
        ("overall", None, "0" * 64),
    ],
)
def test_a_receipt_that_was_changed_is_no_receipt(
    trained: Train, tmp_path: Path, part: str, field: str | None, value: Any
) -> None:
    whole = Receipt.read(trained()).to_json()
    if field is None:
        whole[part] = value
    else:
        whole[part][field] = value
    (tmp_path / "theirs.json").write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match="its fingerprints are not those of what it tells"):
        Receipt.read(tmp_path / "theirs.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_receipt_as_powershell_writes_it(trained: Train, tmp_path: Path, encoding: str) -> None:
    text = json.dumps(Receipt.read(trained()).to_json())
    (tmp_path / "theirs.json").write_bytes(text.encode(encoding))
    assert Receipt.read(tmp_path / "theirs.json") == Receipt.read(trained())


def test_a_run_that_noted_too_little_says_so(trained: Train, tmp_path: Path) -> None:
    shutil.copytree(trained(), tmp_path / "old")
    run = Run(tmp_path / "old")
    values = run.read_config()
    del values["made_by"]
    run.write_config(values)
    with pytest.raises(CheckpointError, match="so it has no receipt; train it anew"):
        Receipt.of(run)
    assert resume(tmp_path / "old") == 0  # it is finished: its result is printed all the same


# --- resumed -------------------------------------------------------------------------------------


def test_resumed_it_has_the_receipt_of_one_that_was_not(
    trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained("--epochs", 1), tmp_path / "run")
    capsys.readouterr()
    assert resume(tmp_path / "run", "--epochs", 2) == 0
    assert "bits may differ" not in capsys.readouterr().err
    assert differing(trained(), tmp_path / "run") == []


CHANGES = {
    "version": ("minisasrec", "0.0.9", "minisasrec 0.0.9, now"),
    "code": ("code", "0" * 64, "files of the package"),
    "processor": ("processor", "skylake", "processor skylake, now"),
    "features": ("features", "sse2", "processor features"),
    "threads": ("threads", "one", "threads one, now any number"),
    "numba": ("numba", "0.1", "numba 0.1, now"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_resumed_under_other_conditions_one_line_says_so(
    trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    name, value, told = CHANGES[change]
    shutil.copytree(trained("--epochs", 1), tmp_path / "run")
    run = Run(tmp_path / "run")
    values = run.read_config()
    values["made_by"][0][name] = value
    run.write_config(values)
    capsys.readouterr()
    assert resume(tmp_path / "run", "--epochs", 2) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "note: " in line]
    assert told in line and "its bits may differ from those of an uninterrupted run" in line
    assert [entry[name] for entry in run.read_config()["made_by"]] == [value, made_by()[name]]
    assert resume(tmp_path / "run", "--epochs", 3) == 0  # once is enough
    assert "note: " not in capsys.readouterr().err


def test_a_run_that_noted_nothing_is_resumed_with_a_word(
    trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained("--epochs", 1), tmp_path / "run")
    run = Run(tmp_path / "run")
    values = run.read_config()
    del values["made_by"]
    run.write_config(values)
    capsys.readouterr()
    assert resume(tmp_path / "run", "--epochs", 2) == 0
    assert "(not noted then)" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="no receipt"):  # half of it is not known
        Receipt.of(run)


def test_epochs_of_a_resumed_run_are_kept_for_the_next_time(
    trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained("--epochs", 1), tmp_path / "run")
    assert resume(tmp_path / "run", "--epochs", 3) == 0
    assert Run(tmp_path / "run").settings()[0].epochs == 3


def test_saved_recommenders_have_one_too(tmp_path: Path) -> None:
    home = fitted().save(tmp_path / "home")
    assert Receipt.read(home).told["data"]["users"] == 40
