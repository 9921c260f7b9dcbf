"""Models trained with this package, predicted with by an nnU-Net that has never heard of it."""

import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.evaluation.find_best_configuration import print_inference_instructions
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.run.run_training import get_trainer_from_args
from support.nnunet_environment import DATASET, PLANS, NNUNetEnvironment, build_environment

from nnunetv2_simple.nnunet.export import TrainedModel, export_model, main

TRAINER = "SimPLeTrainer_OneEpoch"
MODEL = f"{TRAINER}__{PLANS}__3d_fullres"
STOCK_MODEL = f"nnUNetTrainer__{PLANS}__3d_fullres"
FOLDS = (0, 1)
TRAINER_FILE = """
from dataclasses import replace

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2_simple.training.trainer import PhasedTrainer
from nnunetv2_simple.training.phases import FINETUNE, TRAIN

SHORT = {{"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}}


class {name}(PhasedTrainer):
    phases = (replace(TRAIN, **SHORT), replace(FINETUNE, **SHORT))
    {further}
"""
NO_PLUGIN = """
import sys

class NoPlugin:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "nnunetv2_simple":
            raise ModuleNotFoundError("nnunetv2_simple is not installed here", name=name)

sys.meta_path.insert(0, NoPlugin())
"""


class ShortEnvironment(NNUNetEnvironment):
    @property
    def variables(self) -> dict[str, str]:
        return super().variables | {"nnUNet_extTrainer": str(self.folder / "trainers"), "nnUNet_n_proc_DA": "0"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    """Two trained folds. nnU-Net's commands are left out where they would only import and validate for long."""
    environment = ShortEnvironment(build_environment(tmp_path_factory.mktemp("nnunet")).folder)
    write_trainer(environment.folder / "trainers", TRAINER)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.variables.items():
            patch.setenv(name, value)
        for fold in FOLDS:
            get_trainer_from_args("501", "3d_fullres", fold, TRAINER, PLANS, device=torch.device("cpu")).run_training()
        write_choice(environment.folder / "results" / DATASET)
    return environment


def write_trainer(folder: Path, name: str, *, further: str = "") -> None:
    folder.mkdir()
    (folder / f"{name}.py").write_text(TRAINER_FILE.format(name=name, further=further))


def write_choice(dataset: Path) -> None:
    """Leave what nnUNetv2_find_best_configuration leaves, the instructions being written by nnU-Net itself."""
    merged = dataset / MODEL / "crossval_results_folds_0_1"
    merged.mkdir()
    for name in ("summary.json", "postprocessing.pkl", "postprocessing.json", "plans.json", "case_0.nii.gz"):
        (merged / name).touch()
    model = {"configuration": "3d_fullres", "trainer": TRAINER}
    content = {
        "folds": FOLDS,
        "dataset_name_or_id": DATASET,
        "considered_models": [model | {"plans": PLANS}],
        "ensembling_allowed": True,
        "all_results": {MODEL: 0.25},
        "best_model_or_ensemble": {
            "result_on_crossval_pre_pp": 0.25,
            "result_on_crossval_post_pp": 0.5,
            "postprocessing_file": str(merged / "postprocessing.pkl"),
            "some_plans_file": str(merged / "plans.json"),
            "selected_model_or_models": [model | {"plans_identifier": PLANS}],
        },
    }
    (dataset / "inference_information.json").write_text(json.dumps(content))
    print_inference_instructions(content, str(dataset / "inference_instructions.txt"))


@pytest.fixture(scope="module")
def exported(environment) -> Path:
    """The zip file, by the command line and with its defaults."""
    file = environment.folder / "exports" / "tiny.zip"
    output = run(
        *("python", "-m", "nnunetv2_simple.nnunet.export", "-d", "501", "-o", file, "-tr", TRAINER, "-p", PLANS),
        variables=os.environ | environment.variables,
    )
    assert f"{MODEL} -> {STOCK_MODEL}" in output
    assert f"nnUNetv2_predict -i INPUT_FOLDER -o OUTPUT_FOLDER -d {DATASET} -c 3d_fullres -f 0 1 -p {PLANS}" in output
    assert list(file.parent.iterdir()) == [file]
    return file


@pytest.fixture(scope="module")
def installed(environment, exported) -> dict[str, str]:
    """The variables of an nnU-Net without the plugin, into which the zip file was installed."""
    folder = environment.folder / "elsewhere"
    (folder / "results").mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(NO_PLUGIN)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("nnUNet_")}
    variables |= {"nnUNet_results": str(folder / "results"), "PYTHONPATH": str(folder)}
    run("nnUNetv2_install_pretrained_model_from_zip", exported, variables=variables)
    return variables


def run(*command: str | Path, variables: dict[str, str], succeeds: bool = True) -> str:
    executable, *arguments = (str(word) for word in command)
    process = subprocess.run(
        [str(Path(sys.executable).parent / executable), *arguments], env=variables, capture_output=True, text=True
    )
    assert (process.returncode == 0) == succeeds, process.stdout + process.stderr
    return process.stdout + process.stderr


@pytest.fixture
def results(environment, tmp_path, monkeypatch) -> Path:
    """A copy of what was trained, to be spoilt."""
    folder = tmp_path / "results"
    shutil.copytree(environment.folder / "results" / DATASET, folder / DATASET)
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("nnUNet_results", str(folder))
    monkeypatch.setenv("nnUNet_extTrainer", environment.variables["nnUNet_extTrainer"])
    return folder


@pytest.fixture
def output(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "model.zip"


def export(output: Path, **options):
    return export_model(501, output, **{"trainer": TRAINER, "plans": PLANS} | options)


def read_exported(file: Path, name: str) -> dict:
    with zipfile.ZipFile(file) as archive, archive.open(f"{DATASET}/{name}") as content:
        return torch.load(content, weights_only=True)


def test_nnunet_without_the_plugin_predicts_the_same_to_the_last_bit(environment, installed):
    """With the command that nnUNetv2_find_best_configuration recommends, as the export hands it on."""
    variables, folder = installed, environment.folder
    assert "is not installed here" in run(
        *("python", "-c", "import nnunetv2_simple"), variables=variables, succeeds=False
    )
    case = environment.splits["train"][0]
    (folder / "new_images").mkdir()
    shutil.copy(environment.dataset / "imagesTr" / f"{case}_0000.nii.gz", folder / "new_images")
    options = ("-device", "cpu", "-npp", "1", "-nps", "1", "--save_probabilities")
    with_plugin = environment.start(
        *("nnUNetv2_predict", "-d", 501, "-i", folder / "new_images", "-o", folder / "with_plugin"),
        *("-c", "3d_fullres", "-f", *FOLDS, "-tr", TRAINER, "-p", PLANS, *options),
        log=folder / "with_plugin.log",
    )

    instructions = Path(variables["nnUNet_results"]) / DATASET / "inference_instructions.txt"
    command = next(line for line in instructions.read_text().splitlines() if line.startswith("nnUNetv2_predict"))
    places = {"INPUT_FOLDER": str(folder / "new_images"), "OUTPUT_FOLDER": str(folder / "without_plugin")}
    run(*(places.get(word, word) for word in shlex.split(command)), *options, variables=variables)
    assert with_plugin.wait() == 0, (folder / "with_plugin.log").read_text()

    expected, got = (
        np.load(folder / name / f"{case}.npz")["probabilities"] for name in ("with_plugin", "without_plugin")
    )
    assert expected.std() > 0
    np.testing.assert_array_equal(got, expected)
    masks = [(folder / name / f"{case}.nii.gz").read_bytes() for name in ("with_plugin", "without_plugin")]
    assert masks[0] == masks[1]


def test_the_postprocessing_that_nnunet_determined_is_where_its_instructions_say(installed):
    dataset = Path(installed["nnUNet_results"]) / DATASET
    content = json.loads((dataset / "inference_information.json").read_text())
    best = content["best_model_or_ensemble"]
    assert best["selected_model_or_models"] == [
        {"configuration": "3d_fullres", "trainer": "nnUNetTrainer", "plans_identifier": PLANS}
    ]
    assert list(content["all_results"]) == [STOCK_MODEL]
    text = (dataset / "inference_instructions.txt").read_text()
    for key, name in (("postprocessing_file", "postprocessing.pkl"), ("some_plans_file", "plans.json")):
        assert best[key] == f"$nnUNet_results/{DATASET}/{STOCK_MODEL}/crossval_results_folds_0_1/{name}"
        assert best[key] in text
        assert (dataset / STOCK_MODEL / "crossval_results_folds_0_1" / name).is_file()
    assert TRAINER not in text


def test_exported_checkpoints_hold_the_same_weights_and_no_more_than_prediction_needs(environment, exported):
    different = set()
    for fold in FOLDS:
        file = environment.folder / "results" / DATASET / MODEL / f"fold_{fold}" / "checkpoint_final.pth"
        original = torch.load(file, weights_only=False)
        checkpoint = read_exported(exported, f"{STOCK_MODEL}/fold_{fold}/checkpoint_final.pth")
        assert set(checkpoint) == {
            *("network_weights", "init_args", "inference_allowed_mirroring_axes", "trainer_name"),
        }
        assert checkpoint["trainer_name"] == "nnUNetTrainer"
        assert checkpoint["inference_allowed_mirroring_axes"] == original["inference_allowed_mirroring_axes"]
        assert checkpoint["init_args"]["fold"] == fold
        assert list(checkpoint["network_weights"]) == list(original["network_weights"])
        for name, weights in checkpoint["network_weights"].items():
            assert torch.equal(weights, original["network_weights"][name])
        different.add(float(checkpoint["network_weights"]["decoder.seg_layers.1.weight"].sum()))
    assert len(different) == len(FOLDS)


def test_an_exported_model_serves_as_pretrained_weights(installed, exported, tmp_path):
    model = Path(installed["nnUNet_results"]) / DATASET / STOCK_MODEL
    predictor = nnUNetPredictor(device=torch.device("cpu"))
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    network, expected = predictor.network, predictor.list_of_parameters[0]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    load_pretrained_weights(network, str(model / "fold_0" / "checkpoint_final.pth"))
    for name, weights in network.state_dict().items():
        assert torch.equal(weights, torch.zeros_like(weights) if ".seg_layers." in name else expected[name])


def test_any_checkpoint_becomes_the_final_one_without_the_scores_of_another(results, output):
    validation = results / DATASET / MODEL / "fold_1" / "validation"
    validation.mkdir()
    (validation / "summary.json").touch()
    export(output, with_validation=True)
    scores = f"{DATASET}/{STOCK_MODEL}/fold_1/validation/summary.json"
    assert scores in zipfile.ZipFile(output).namelist()
    export(output, folds=[0, 1], checkpoint="checkpoint_train.pth", overwrite=True, with_validation=True)
    names = zipfile.ZipFile(output).namelist()
    assert {Path(name).name for name in names if not name.endswith("/")} == {
        *("checkpoint_final.pth", "plans.json", "dataset.json", "dataset_fingerprint.json", "exported_from.json"),
    }
    exported = read_exported(output, f"{STOCK_MODEL}/fold_1/checkpoint_final.pth")["network_weights"]
    fold = results / DATASET / MODEL / "fold_1"
    train, final = (
        torch.load(fold / f"checkpoint_{name}.pth", weights_only=False)["network_weights"]
        for name in ("train", "final")
    )
    assert all(torch.equal(exported[name], train[name]) for name in train)
    assert not all(torch.equal(exported[name], final[name]) for name in final)
    origin = json.loads(zipfile.ZipFile(output).read(f"{DATASET}/{STOCK_MODEL}/exported_from.json"))
    assert (origin["trainer"], origin["checkpoint"]) == (TRAINER, "checkpoint_train.pth")


def rewrite(file: Path, **changes) -> None:
    torch.save(torch.load(file, weights_only=False) | changes, file)


def add_configuration(results: Path, name: str) -> Path:
    """A second configuration: a copy of the first under another name."""
    folder = results / DATASET / f"{TRAINER}__{PLANS}__{name}"
    shutil.copytree(results / DATASET / MODEL, folder)
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"][name] = plans["configurations"]["3d_fullres"]
    (folder / "plans.json").write_text(json.dumps(plans))
    for file in folder.glob("fold_*/*.pth"):
        content = torch.load(file, weights_only=False)
        rewrite(file, init_args=content["init_args"] | {"configuration": name})
    return folder


def test_by_default_whatever_is_finished_is_exported(results, output):
    lowres = add_configuration(results, "3d_lowres")
    (lowres / "fold_0" / "checkpoint_final.pth").unlink()
    (lowres / "fold_1").rename(lowres / "fold_all")
    (results / DATASET / f"{TRAINER}__{PLANS}__2d" / "fold_0").mkdir(parents=True)
    lines = []
    models = export(output, log=lines.append)
    assert [(model.configuration, model.folds) for model in models] == [("3d_fullres", (0, 1)), ("3d_lowres", ("all",))]
    assert {name for name in zipfile.ZipFile(output).namelist() if name.endswith(".pth")} == {
        f"{DATASET}/{STOCK_MODEL}/fold_0/checkpoint_final.pth",
        f"{DATASET}/{STOCK_MODEL}/fold_1/checkpoint_final.pth",
        f"{DATASET}/nnUNetTrainer__{PLANS}__3d_lowres/fold_all/checkpoint_final.pth",
    }
    for name in ("3d_lowres/fold_0", "2d/fold_0"):
        assert f"{TRAINER}__{PLANS}__{name} has no checkpoint_final.pth and is left out" in lines


def test_a_configuration_asked_for_must_be_finished(results, output):
    for file in add_configuration(results, "3d_lowres").glob("fold_*/checkpoint_final.pth"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="there is no checkpoint_final.pth in any fold of .*__3d_lowres$"):
        export(output, configurations=["3d_fullres", "3d_lowres"])
    assert not list(output.parent.iterdir())


def write_ensemble(results: Path, *models: str, folds: str) -> str:
    folder = results / DATASET / "ensembles" / "___".join(("ensemble", *models, folds))
    folder.mkdir(parents=True)
    (folder / "postprocessing.pkl").write_bytes(b"steps")
    (folder / "case_0.nii.gz").touch()
    return folder.name


def test_ensembles_of_exported_models_and_folds_come_along(results, output):
    add_configuration(results, "3d_lowres")
    lowres = f"{TRAINER}__{PLANS}__3d_lowres"
    write_ensemble(results, MODEL, lowres, folds="0_1")
    write_ensemble(results, MODEL, lowres, folds="0_1_2_3_4")
    write_ensemble(results, MODEL, f"nnUNetTrainer__{PLANS}__3d_lowres", folds="0_1")
    export(output)
    name = f"{DATASET}/ensembles/ensemble___{STOCK_MODEL}___nnUNetTrainer__{PLANS}__3d_lowres___0_1/"
    members = [member for member in zipfile.ZipFile(output).namelist() if "/ensembles/ensemble" in member]
    assert members == [name, name + "postprocessing.pkl"]


def test_the_choice_among_models_that_are_not_exported_stays_behind(results, output):
    file = results / DATASET / "inference_information.json"
    content = json.loads(file.read_text())
    assert export(output) and f"{DATASET}/{file.name}" in zipfile.ZipFile(output).namelist()
    export(output, folds=[0], overwrite=True)
    assert f"{DATASET}/{file.name}" not in zipfile.ZipFile(output).namelist()
    content["best_model_or_ensemble"]["selected_model_or_models"][0]["trainer"] = "nnUNetTrainer"
    file.write_text(json.dumps(content))
    export(output, overwrite=True)
    assert f"{DATASET}/{file.name}" not in zipfile.ZipFile(output).namelist()


def test_results_of_models_that_are_not_exported_are_left_out_of_the_choice(results, output):
    file = results / DATASET / "inference_information.json"
    content = json.loads(file.read_text())
    content["considered_models"].append({"plans": PLANS, "configuration": "3d_fullres", "trainer": "nnUNetTrainer"})
    content["all_results"][STOCK_MODEL] = 0.125
    score = content["all_results"][MODEL]
    file.write_text(json.dumps(content))
    export(output)
    exported = json.loads(zipfile.ZipFile(output).read(f"{DATASET}/{file.name}"))
    assert exported["all_results"] == {STOCK_MODEL: score}
    assert len(exported["considered_models"]) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folds": [0, 3]}, FileNotFoundError, r"fold_3.checkpoint_final.pth does not exist; .* none"),
        ({"folds": ["all"]}, FileNotFoundError, r"fold_all.checkpoint_final.pth does not exist"),
        ({"folds": [0], "checkpoint": "x.pth"}, FileNotFoundError, r"fold_0.x.pth does not exist; .*checkpoint_train"),
        ({"checkpoint": "x.pth"}, FileNotFoundError, r"there is no x.pth in any fold of .*configurations: \['3d_full"),
        ({"configurations": ["2d"]}, FileNotFoundError, r"__2d does not exist; trained configurations: \['3d_fullres'"),
        ({"trainer": "SimPLeTrainer"}, FileNotFoundError, r"SimPLeTrainer__.*; configurations: none"),
        ({"plans": "nnUNetPlans"}, FileNotFoundError, r"__nnUNetPlans__.*; configurations: none"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(results, output, options, error, message):
    with pytest.raises(error, match=message):
        export(output, **options)
    assert not list(output.parent.iterdir())


def test_a_missing_dataset_or_results_folder_is_named(results, output, monkeypatch):
    with pytest.raises(ValueError, match="Could not find a dataset with the ID 999"):
        export_model(999, output)
    monkeypatch.delenv("nnUNet_results")
    with pytest.raises(ValueError, match="nnUNet_results must be set"):
        export_model(501, output)


def test_missing_plans_are_named(results, output):
    (results / DATASET / MODEL / "plans.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"plans.json does not exist"):
        export(output)


def test_an_existing_file_is_kept_unless_it_is_to_be_overwritten(results, output, capsys):
    output.write_text("something else")
    words = ["-d", "501", "-o", str(output), "-tr", TRAINER, "-p", PLANS, "-f", "0"]
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert output.read_text() == "something else"
    assert main([*words, "--overwrite"]) == 0
    assert zipfile.is_zipfile(output)


def test_an_interruption_leaves_what_was_there(results, output):
    output.write_text("an earlier export")

    def interrupt(line: str) -> None:
        if line == "compressing":
            assert len(list(output.parent.iterdir())) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(output, overwrite=True, log=interrupt)
    assert list(output.parent.iterdir()) == [output]
    assert output.read_text() == "an earlier export"


def test_what_a_killed_export_left_is_removed(results, output):
    left = output.with_name(output.name + ".partial_xyz")
    left.mkdir()
    (left / "weights").touch()
    export(output, folds=[0])
    assert list(output.parent.iterdir()) == [output]


def test_a_trainer_with_a_network_of_its_own_is_refused(results, output, tmp_path, monkeypatch):
    builds = "build_network_architecture = staticmethod(lambda *_: nnUNetTrainer.build_network_architecture(*_))"
    write_trainer(tmp_path / "own", TRAINER, further=builds)
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "own"))
    with pytest.raises(ValueError, match=f"{TRAINER} builds a network of its own"):
        export(output)
    assert not list(output.parent.iterdir())


def test_a_trainer_that_cannot_be_found_is_refused(results, output, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(output.parent))
    with pytest.raises(ValueError, match=f"there is no trainer {TRAINER}"):
        export(output)


def test_weights_that_nnunets_network_does_not_fit_are_refused(results, output):
    file = results / DATASET / MODEL / "plans.json"
    plans = json.loads(file.read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 9]
    file.write_text(json.dumps(plans))
    with pytest.raises(ValueError, match="do not fit the network that nnUNetTrainer builds"):
        export(output)
    assert not list(output.parent.iterdir())


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("code_was_run",)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:2000]), "cannot be read"),
        (lambda file: rewrite(file, logging=RunsCode()), r"cannot be read: it must hold .*, got (posix|nt)\.mkdir"),
        (lambda file: rewrite(file, trainer_name="SimPLeTrainer"), r"must be a checkpoint of .*OneEpoch.*, got one of"),
        (lambda file: torch.save({"weights": torch.zeros(1)}, file), r"is not a checkpoint of nnU-Net"),
        (lambda file: rewrite(file, network_weights=None), "the weights do not fit the network"),
    ],
)
def test_a_spoilt_checkpoint_is_named(results, output, spoil, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    file = results / DATASET / MODEL / "fold_1" / "checkpoint_final.pth"
    spoil(file)
    with pytest.raises(ValueError, match=rf"{MODEL}.fold_1.checkpoint_final.pth:? {message}"):
        export(output)
    assert not list(output.parent.iterdir())
    assert not Path("code_was_run").exists()


def test_damaged_plans_are_named(results, output):
    (results / DATASET / MODEL / "plans.json").write_text("{")
    with pytest.raises(ValueError, match=rf"{MODEL}.*: the weights do not fit .* plans.json and dataset.json: JSON"):
        export(output)
    assert not list(output.parent.iterdir())


def test_checkpoints_written_with_an_older_numpy_can_be_read(results, output, tmp_path):
    """NumPy renamed the module of the numbers in nnU-Net's log from numpy.core to numpy._core."""
    file = results / DATASET / MODEL / "fold_0" / "checkpoint_final.pth"
    other_name, renamed = tmp_path / "renamed.pth", 0
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(other_name, "w") as target:
        for member in archive.namelist():
            content = archive.read(member)
            if member.endswith("data.pkl"):
                names = [b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"]
                old, new = names if names[0] in content else names[::-1]
                renamed += content.count(old)
                content = content.replace(old, new)
            target.writestr(member, content)
    assert renamed
    with pytest.raises(pickle.UnpicklingError):
        torch.load(other_name, weights_only=True)
    other_name.replace(file)
    export(output, folds=[0])


def test_torch_before_2_6_loads_as_nnunet_does(results, output, monkeypatch):
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    monkeypatch.delattr(torch.serialization, "safe_globals")
    export(output, folds=[0])
    assert zipfile.is_zipfile(output)


def test_the_printed_commands_run_as_they_stand(tmp_path, monkeypatch, capsys):
    output, plans = tmp_path / "my models" / "model $1.zip", "my plans"

    def export_nothing(dataset, file, **options):
        file.parent.mkdir()
        file.touch()
        return [TrainedModel(tmp_path / DATASET / "model", "3d_fullres", (0, "all"), "checkpoint_final.pth")]

    monkeypatch.setattr("nnunetv2_simple.nnunet.export.export_model", export_nothing)
    assert main(["-d", "501", "-o", str(output), "-p", plans]) == 0
    install, predict = (line for line in capsys.readouterr().out.splitlines() if line.startswith("    nnUNetv2"))
    assert shlex.split(install) == ["nnUNetv2_install_pretrained_model_from_zip", str(output)]
    assert shlex.split(predict)[5:] == ["-d", DATASET, "-c", "3d_fullres", "-f", "0", "all", "-p", plans]


def test_options_are_not_abbreviated(capsys):
    """An output folder given by ``--o`` must not turn into ``--overwrite``."""
    with pytest.raises(SystemExit):
        main(["-d", "501", "-o", "model.zip", "--o"])
    assert "unrecognized arguments: --o" in capsys.readouterr().err
