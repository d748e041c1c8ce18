"""latadj prune on the toy project, through the real command line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.pruning_runs import (
    QUICK,
    killed,
    killed_after,
    killed_in,
    plain_project,
    pruned,
    same,
    same_weights,
)

import latadj
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import read_metadata
from latadj.commands.prune.pruning_model import PruningModel
from latadj.pruning import remove, structure_of, units_of
from latadj.pruning.surgery import parameter_count
from latadj.tasks.encoding.batches import pad
from latadj.training import fit

# So that a run that is killed in its recovery has a state to go on from.
OFTEN = ["recover.eval_steps=4"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return plain_project(tmp_path_factory)


@pytest.fixture(scope="module")
def accurate(root):
    return pruned(root, root / "accurate", *OFTEN)


@pytest.fixture(scope="module")
def unrecovered(root):
    return pruned(root, root / "unrecovered", "prune.recover_epochs=0")


def test_prune_json_holds_what_it_promises(accurate):
    assert accurate["schema"] == "latadj.prune/2"
    assert (accurate["objective"], accurate["tolerance"], accurate["metric"]) == ("accuracy", 0.0, "accuracy")
    named = {"name", "kind", "layer", "cost_flops", "cost_parameters", "metric_before", "metric_after", "kept"}
    assert all(named <= set(record) for record in accurate["candidates"])
    assert all(record["cost_flops"] > 0 and record["cost_parameters"] > 0 for record in accurate["candidates"])
    (model,) = accurate["frontier"]
    assert accurate["confirmation"] == model["holdout"]
    assert model["validation"]["examples"] + model["holdout"]["examples"] > 100
    assert accurate["environment"]["packages"]["torch"] == torch.__version__
    assert accurate["config"]["prune"]["groups"] == 2


def test_it_is_said_in_which_precision_models_were_judged_and_confirmed(root, accurate, tmp_path):
    assert accurate["environment"]["precision"] == "fp32"
    options = ["device.train_precision=bf16", "prune.recover_epochs=0", "prune.layers=1"]
    assert pruned(root, tmp_path, *options)["environment"]["precision"] == "bf16 autocast, fp32"


def test_no_removal_takes_the_metric_below_the_full_models(accurate):
    (model,) = accurate["frontier"]
    assert model["validation"]["full_metric"] > 0.8
    out = [record for record in accurate["candidates"] if not record["kept"]]
    assert out
    assert all(record["difference"] >= 0 for record in out)
    assert all(
        record["difference"] == pytest.approx(record["metric_after"] - model["validation"]["full_metric"])
        for record in out
    )
    assert model["validation"]["metric"] >= model["validation"]["full_metric"]


@pytest.mark.parametrize("factor", [-1.0, 0.1], ids=["wrong", "unsure"])
def test_a_recovery_that_only_raises_the_loss_is_undone(root, unrecovered, tmp_path, monkeypatch, factor):
    @torch.no_grad()
    def spoil(model, step, *, last):
        head = model.session.model.classifier
        head.weight.mul_(factor)
        head.bias.mul_(factor)

    monkeypatch.setattr(PruningModel, "recover", spoil)
    (model,) = pruned(root, tmp_path / "spoiled")["frontier"]
    assert not model["recovered"]
    assert model["validation"] == unrecovered["frontier"][0]["validation"]


def test_a_recovery_that_lowers_the_loss_is_kept(accurate, unrecovered):
    (model,), (before,) = accurate["frontier"], unrecovered["frontier"]
    assert not before["recovered"]
    assert model["recovered"]
    assert before["validation"]["metric"] >= before["validation"]["full_metric"]
    assert model["validation"]["loss"] < before["validation"]["loss"]
    assert model["validation"]["difference_ci"][1] >= 0, "by more than chance below the full model"


def test_what_was_removed_is_gone_from_the_saved_weights(root, accurate):
    full, tokenizer = latadj.load(root / "out" / "plain", precision=None)
    ours, _ = latadj.load(root / "accurate" / "pruned", precision=None)
    sizes = accurate["sizes"]
    assert parameter_count(full) == sizes["full"]["parameters"]
    assert parameter_count(ours) == sizes["pruned"]["parameters"] < sizes["full"]["parameters"]
    assert sizes["pruned"]["flops"] < sizes["full"]["flops"]
    file = root / "accurate" / "pruned" / "model.safetensors"
    assert file.stat().st_size == sizes["pruned"]["file_bytes"] < sizes["full"]["file_bytes"]
    layers = accurate["frontier"][0]["layers"]
    assert [list(left.heads) for left in structure_of(ours).layers] == [layer["heads"] for layer in layers]
    notes = json.loads((root / "accurate" / "pruned" / "latadj.json").read_text())["notes"]
    assert notes["run"] == json.loads((root / "out" / "plain" / "latadj.json").read_text())["notes"]["run"]
    batch = pad([tokenizer("the film is good")], tokenizer)
    with torch.no_grad():
        assert ours(**batch).logits.argmax() == full(**batch).logits.argmax()


def test_the_log_says_of_every_candidate_what_became_of_it(root, accurate):
    log = (root / "accurate" / "prune" / "prune.log").read_text()
    for record in accurate["candidates"]:
        (line,) = [line for line in log.splitlines() if f"- {record['name']} (" in line]
        assert f"{record['metric_before']:.4f} -> {record['metric_after']:.4f}" in line
        assert line.endswith("kept" if record["kept"] else "removed")
    assert (root / "accurate" / "prune" / "prune.png").read_bytes().startswith(b"\x89PNG")


def test_info_says_what_is_left(root, accurate):
    folder = str(root / "accurate" / "pruned")
    found = json.loads(run("info", folder, "--json").stdout)["pruned"]
    (model,) = accurate["frontier"]
    assert found["heads"] == [len(layer["heads"]) for layer in model["layers"]]
    assert found["neurons"] == [layer["neurons"] for layer in model["layers"]]
    assert (found["of_heads"], found["of_neurons"]) == ([4, 4], [64, 64])
    assert found["notes"]["confirmed"] == model["holdout"]["metric"]
    shown = run("info", folder).stdout
    assert "for accuracy, tolerance 0" in shown
    assert f"{found['heads'][0]} {found['heads'][1]} of 4, by layer" in shown
    assert f"confirmed {model['holdout']['metric']:.4g}" in " ".join(shown.split())


def test_a_killed_search_goes_on_to_the_same_result_whatever_the_test_texts(root, accurate, tmp_path, monkeypatch):
    data = shutil.copytree(root / "data", tmp_path / "data")
    # The test split is never read: other test texts change nothing.
    rows = (data / "dev.tsv").read_text().splitlines()
    (data / "dev.tsv").write_text("\n".join([rows[0], *(row[:-1] + "0" for row in rows[1:9])]) + "\n")
    with killed(monkeypatch, lambda state: len(state.progress.candidates) == 3):
        pruned(root, tmp_path / "out", *OFTEN, f"task.data_dir={data}")
    found = pruned(root, tmp_path / "out", *OFTEN, f"task.data_dir={data}", "resume=true")
    assert same(found, accurate)


def test_a_run_killed_in_its_recovery_goes_on_to_the_same_weights(root, accurate, tmp_path, monkeypatch):
    with killed_in(monkeypatch, "recovery 1", step=5):
        pruned(root, tmp_path / "out", *OFTEN)
    assert list((tmp_path / "out" / "prune" / "recovery-1").glob("checkpoint-*"))
    assert same(pruned(root, tmp_path / "out", *OFTEN, "resume=true"), accurate)
    assert "recovery 1: going on from" in (tmp_path / "out" / "prune" / "prune.log").read_text()
    assert same_weights(tmp_path / "out" / "pruned", root / "accurate" / "pruned")


def test_after_a_recovery_what_is_left_may_be_searched_again(root, tmp_path, monkeypatch):
    options = ["prune.rounds=3", "prune.tolerance=0.02"]
    found = pruned(root, tmp_path / "undisturbed", *options)
    steps = {record["step"] for record in found["candidates"]}
    assert steps >= {1, 2}
    out = [record["name"] for record in found["candidates"] if not record["kept"]]
    assert len(out) == len(set(out))
    again = {record["name"] for record in found["candidates"] if record["step"] == 2}
    assert not again & {record["name"] for record in found["candidates"] if not record["kept"] and record["step"] == 1}
    with killed(monkeypatch, lambda state: any(one.step == 2 for one in state.progress.candidates)):
        pruned(root, tmp_path / "out", *options)
    assert same(pruned(root, tmp_path / "out", *options, "resume=true"), found)
    assert same_weights(tmp_path / "out" / "pruned", tmp_path / "undisturbed" / "pruned")
    assert not list((tmp_path / "out" / "prune").glob("weights-*"))


def test_a_run_killed_after_its_last_recovery_does_not_search_again(root, tmp_path, accurate, monkeypatch):
    with killed(monkeypatch, lambda state: state.progress.step == 1):
        pruned(root, tmp_path / "out", *OFTEN)
    monkeypatch.setattr("latadj.commands.prune.steps.search", None)
    assert same(pruned(root, tmp_path / "out", *OFTEN, "resume=true"), accurate)


def test_a_run_killed_after_its_recovery_does_not_train_again(root, accurate, tmp_path, monkeypatch):
    with killed_after(monkeypatch, recoveries=1):
        pruned(root, tmp_path / "out", *OFTEN)
    monkeypatch.setattr(fit.LatadjTrainer, "training_step", None)
    assert same(pruned(root, tmp_path / "out", *OFTEN, "resume=true"), accurate)
    assert not list((tmp_path / "out" / "prune").glob("recovery-*"))


def test_a_model_that_other_texts_find_much_worse_is_warned_about(root, tmp_path, accurate):
    ruin = ["prune.objective=size", "prune.budget=0.1", "prune.recover_epochs=0", "prune.step_epochs=0"]
    (model,) = pruned(root, tmp_path, *ruin)["frontier"]
    assert model["holdout"]["difference_ci"][1] < 0
    warning = "the pruned model is clearly worse than prune.tolerance=0 allows on texts that the search never saw"
    assert warning in (tmp_path / "prune" / "prune.log").read_text()
    assert accurate["confirmation"]["difference_ci"][1] >= 0
    assert warning not in (root / "accurate" / "prune" / "prune.log").read_text()


def test_a_regression_is_pruned_by_its_correlation(tmp_path):
    toy.write_model(tmp_path / "model", layers=2)
    rows = (toy.write_task(tmp_path / "data") / "train.tsv").read_text().splitlines()[1:]
    pairs = [row.split("\t") for row in rows]
    scored = [f"{text},{int(label) + number % 7 / 10}" for number, (text, label) in enumerate(pairs)]
    (tmp_path / "scores.csv").write_text("\n".join(["text,score", *scored]))
    common = [
        "task=text_regression",
        f"task.data_files={tmp_path / 'scores.csv'}",
        "task.text=text",
        "task.label=score",
        "task.split={train:0.5,validation:0.4,test:0.1}",
        f"model.path={tmp_path / 'model'}",
        f"folder={tmp_path / 'out'}",
        "device.threads=1",
        "device.name=cpu",
    ]
    learning = ["plain.epochs=16", "plain.patience=16", "model.learning_rate=2e-3", "plain.warmup=0"]
    run("finetune", *common, "adjustable=false", *learning)
    run("prune", *common, *QUICK, "prune.tolerance=0.01", "prune.recover_epochs=0")
    found = json.loads((tmp_path / "out" / "prune" / "prune.json").read_text())
    (model,) = found["frontier"]
    assert found["metric"] == "pearson"
    assert model["validation"]["full_metric"] > 0.8
    out = [record for record in found["candidates"] if not record["kept"]]
    assert out
    assert all(record["difference"] >= -0.01 for record in out)
    assert model["size"]["parameters"] < found["full"]["parameters"]


def test_a_run_that_is_done_is_not_done_again(root, accurate, tmp_path):
    shutil.copytree(root / "accurate", tmp_path / "out")
    output = f"output={root / 'accurate' / 'pruned'}"
    plan = json.loads((tmp_path / "out" / "prune" / "plan.json").read_text())
    plan["settings"]["output"] = str(root / "accurate" / "pruned")
    (tmp_path / "out" / "prune" / "plan.json").write_text(json.dumps(plan))
    before = (root / "accurate" / "pruned" / "model.safetensors").stat().st_mtime_ns
    found = pruned(root, tmp_path / "out", *OFTEN, "resume=true", output)
    assert same(found, accurate)
    assert found["seconds"] == accurate["seconds"] > 0
    assert (root / "accurate" / "pruned" / "model.safetensors").stat().st_mtime_ns == before


def test_a_run_does_not_go_on_with_another_model(root, accurate, tmp_path):
    other = shutil.copytree(root / "out" / "plain", tmp_path / "plain")
    model, tokenizer = checkpoint.load(other)
    with torch.no_grad():
        model.classifier.bias += 0.1
    checkpoint.save(model, tokenizer, other, read_metadata(other))
    shutil.copytree(root / "accurate", tmp_path / "out")
    plan = json.loads((tmp_path / "out" / "prune" / "plan.json").read_text())
    plan["settings"] |= {"checkpoint": str(other), "output": str(tmp_path / "out" / "pruned")}
    (tmp_path / "out" / "prune" / "plan.json").write_text(json.dumps(plan))
    result = pruned(root, tmp_path / "out", *OFTEN, f"checkpoint={other}", "resume=true", expect=2)
    assert "was started with other settings (weights); give the same ones, or start anew" in result.stderr


def test_a_run_does_not_go_on_with_other_examples(root, accurate):
    data = root / "data" / "train.tsv"
    before = data.read_text()
    data.write_text(before + "a late addition\t1\n")
    try:
        result = pruned(root, root / "accurate", *OFTEN, "resume=true", expect=2)
    finally:
        data.write_text(before)
    assert "was started with other settings (data); give the same ones, or start anew" in result.stderr


def test_a_folder_that_holds_something_else_is_not_replaced(root, tmp_path):
    size = ["prune.objective=size", "prune.budget=[0.6,0.5]"]
    for notes in (tmp_path / "notes", tmp_path / "small-0.5"):
        notes.mkdir()
        (notes / "keep.txt").write_text("mine")
    teacher = tmp_path / "out" / "teacher"
    shutil.copytree(root / "out" / "plain", teacher)
    lost = "is in this folder, and a model takes the place of all that was there"
    for options, message in (
        (
            [f"output={tmp_path / 'notes'}"],
            "this folder holds keep.txt, which is no part of a saved model and would be lost",
        ),
        (
            [f"output={tmp_path / 'small'}", *size],
            "small-0.5: this folder holds keep.txt",
        ),
        ([f"output={root / 'out'}"], lost),
        ([f"output={tmp_path}"], lost),
        ([f"output={tmp_path / 'run' / 'prune'}"], lost),
        ([f"output={teacher}", f"recover.teacher={teacher}"], lost),
    ):
        result = pruned(root, tmp_path / "run", *options, expect=2)
        assert message in result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
    for notes in (tmp_path / "notes", tmp_path / "small-0.5"):
        assert (notes / "keep.txt").read_text() == "mine"


def test_a_model_that_will_be_replaced_is_named_first(root, accurate, tmp_path, monkeypatch):
    made = shutil.copytree(root / "accurate" / "pruned", tmp_path / "pruned")
    with killed(monkeypatch, lambda state: True):
        pruned(root, tmp_path)
    log = (tmp_path / "prune" / "prune.log").read_text()
    assert f"{made} is there already, and this run will replace it" in log


def test_a_full_model_that_gives_one_answer_to_all_texts_is_warned_about(root, accurate, tmp_path):
    plain = shutil.copytree(root / "out" / "plain", tmp_path / "plain")
    model, tokenizer = checkpoint.load(plain)
    with torch.no_grad():
        model.classifier.weight.zero_()
    checkpoint.save(model, tokenizer, plain, read_metadata(plain))
    pruned(root, tmp_path / "out", f"checkpoint={plain}", "prune.layers=1", "prune.recover_epochs=0")
    log = (tmp_path / "out" / "prune" / "prune.log").read_text()
    assert "the full model gives the same answer to all" in log
    assert "the same answer to all" not in (root / "accurate" / "prune" / "prune.log").read_text()


def test_a_budgets_folder_is_never_the_checkpoint_itself(root, tmp_path):
    shutil.copytree(root / "out" / "plain", tmp_path / "model-0.5")
    options = [f"checkpoint={tmp_path / 'model-0.5'}", f"output={tmp_path / 'model'}"]
    result = pruned(root, tmp_path / "run", *options, "prune.objective=size", "prune.budget=0.5", expect=2)
    assert "the checkpoint itself; give the pruned model another folder" in result.stderr


def test_no_epochs_are_no_recovery_by_the_stages_own_name_too(root, tmp_path, monkeypatch):
    def recover(model, step, *, last):
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr(PruningModel, "recover", recover)
    (model,) = pruned(root, tmp_path, "recover.epochs=0", "prune.layers=1", recovery=())["frontier"]
    assert not model["recovered"]


def test_a_run_goes_on_with_the_same_settings_only(root, accurate):
    result = pruned(root, root / "accurate", *OFTEN, "resume=true", "prune.tolerance=0.01", expect=2)
    assert "was started with other settings (prune); give the same ones, or start anew" in result.stderr
    result = pruned(root, root / "accurate", *OFTEN, "resume=true", "device.train_precision=bf16", expect=2)
    assert "was started with other settings (train_precision)" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["prune.objective=best"], "prune.objective=best: expected one of accuracy, size, speed"),
        (["prune.tolerance=-0.01"], "prune.tolerance=-0.01: expected 0 (nothing that hurts goes) or a little more"),
        (["prune.objective=size"], "prune.objective=size needs prune.budget=: the share of the parameters"),
        (["prune.objective=speed"], "prune.objective=speed needs prune.budget=: the measured speedup wanted"),
        (["prune.budget=0.5"], "prune.budget=0.5: prune.objective=accuracy takes none"),
        (["prune.objective=size", "prune.budget=1.5"], "prune.budget=1.5: expected the share of the parameters"),
        (
            ["prune.objective=speed", "prune.budget=[1.5,fast]"],
            "prune.budget=[1.5,fast]: expected the measured speedup",
        ),
        (
            ["prune.objective=size", "prune.budget=0.001"],
            "prune.budget=0.001: what is neither attention nor feed-forward",
        ),
        (
            ["prune.objective=speed", "prune.budget=1.5", "device.precision=auto"],
            "device.precision=auto: prune.objective=speed goes by one clock",
        ),
        (
            ["prune.objective=size", "prune.budget=0.5", "prune.rounds=2"],
            "prune.rounds=2: prune.objective=size goes on until its budget is met",
        ),
        (["recover.max_steps=0"], "recover.max_steps=0: expected at least 1"),
        (["recover.epochs=-1"], "recover.epochs=-1.0: expected 0 or more"),
        (["recover.attention_dropout=1"], "recover.attention_dropout=1.0: expected a share from 0 to below 1"),
        (["recover.word_dropout_copies=-1"], "recover.word_dropout_copies=-1: expected 0 or more"),
        (["recover.warmup=5"], "recover.warmup=5.0: expected a share of the steps, from 0 to 1"),
        (["recover.weight_decay=-1"], "recover.weight_decay=-1.0: expected 0 (none) or more"),
        (["recover.patience=0"], "recover.patience=0: expected at least 1 validation"),
        (["prune.max_loss_increase=nan"], "prune.max_loss_increase=nan: expected a finite number"),
        (["prune.objective=size", "prune.budget=[0.5,0.50000001]"], "or a list of them, each once"),
        (["recover.ema_decay=1"], "recover.ema_decay=1.0: expected a share from 0 (no mean) to below 1"),
        (["prune.layers=[0]"], "prune.layers=[0]: expected numbers of layers, the first being 1, or null"),
        (["prune.layers=[2,3]"], "prune.layers=[2,3]: expected some of the model's layers 1 to 2"),
        (["prune.groups=65"], "prune.groups=65: expected from 1 to the 64 neurons of a layer"),
        (["prune.holdout_fraction=0.99"], "decide nothing: give more validation text with"),
        (["task=speeches"], "task.type=generation: prune judges a model by its head"),
        (["prompt=zero_shot"], "prompt=zero_shot: prune judges a model by its head; leave prompt= out"),
        (["checkpoint=nowhere"], "checkpoint nowhere: no such folder; make it with `latadj finetune`"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing_behind(root, tmp_path, options, message):
    with toy.inside(tmp_path):
        result = pruned(root, Path("out"), *options, expect=2)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_pruned_model_is_not_pruned_again(root, accurate, tmp_path):
    with toy.inside(tmp_path):
        result = pruned(root, Path("out"), f"checkpoint={root / 'accurate' / 'pruned'}", expect=2)
    assert "is pruned already" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_which_no_layer_is_left_gets_no_dial(root, tmp_path):
    model, tokenizer = checkpoint.load(root / "out" / "plain")
    remove(model, [unit for unit in units_of(model) if unit.kind in ("attention", "feed_forward")])
    made = tmp_path / "nothing"
    checkpoint.save(model, tokenizer, made, read_metadata(root / "out" / "plain"))
    given = [*toy.overrides(root), f"checkpoint={made}", f"folder={tmp_path / 'out'}"]
    assert "every layer of this model was pruned away" in run("calibrate", *given, expect=2).stderr


def test_random_weights_are_no_pruned_model(root, accurate, tmp_path):
    source = [f"model.path={root / 'accurate' / 'pruned'}", f"folder={tmp_path / 'out'}", "length=[8]"]
    message = run("bench", "model=minilm", *source, expect=2).stderr
    assert "this model is pruned, and one with random weights is whole: name the full model" in message
    assert not (tmp_path / "out").exists()


def test_only_the_layers_that_are_named_lose_parts(root, tmp_path):
    found = pruned(root, tmp_path / "out", "prune.layers=1", "prune.recover_epochs=0")
    assert {record["layer"] for record in found["candidates"]} == {0}
    (model,) = found["frontier"]
    whole = model["layers"][1]
    assert (len(whole["heads"]), whole["neurons"]) == (whole["of_heads"], whole["of_neurons"])
