import pytest

from nnunetv2_simple.demo.demo import Demo, main, progress_of


def test_of_nnunets_output_what_tells_how_far_it_is_is_shown():
    assert progress_of("2026-11-28 20:00:00.000000: Epoch 3 \n") == "Epoch 3"
    assert progress_of("6 of 6 cases converted to raw\n") == "6 of 6 cases converted to raw"
    assert progress_of("using pin_memory on device 0\n") is None


def test_a_folder_of_somebody_else_is_neither_used_nor_removed(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    for options in ([], ["--overwrite"]):
        with pytest.raises(SystemExit):
            main(["-o", str(tmp_path), *options])
        assert str(tmp_path) in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_command_that_fails_ends_the_demo_and_names_the_log(tmp_path):
    demo = Demo(tmp_path, num_training=1, num_test=1, seed=0)
    with pytest.raises(SystemExit, match="commands.log"):
        demo.command("false")
