from daam.config.load import setting, setting_paths
from daam.config.reference import settings_reference
from daam.config.schema import RunConfig


def test_every_setting_is_there_with_its_default_and_a_meaning() -> None:
    found = list(settings_reference())
    assert [known.path for known in found] == setting_paths(RunConfig)
    assert all(known.default == setting(RunConfig(), known.path) for known in found)
    assert all(known.meaning and known.allowed for known in found)


def test_choices_and_ranges_are_those_of_the_schema() -> None:
    allowed = {known.path: known.allowed for known in settings_reference()}
    assert allowed["data.decode"] == "auto | cpu | cuda"
    assert allowed["model.attention.kernel"] == "1 | 3 | 5 | 7"
    assert allowed["data.oracle_labels"] == "true | false"
    assert allowed["data.root"] == "text"
    assert allowed["loss.target.num_neighbours"] == "integer in [2, 200] | auto"
    assert allowed["loss.target.centre_cameras"] == "true | false | auto"
    assert allowed["loss.target.min_samples"] == "integer in [2, 100]"
    assert allowed["loss.triplet.weight"] == "number in [0, 1000]"
    assert allowed["loss.target.eps"] == "number in (0, 1)"
    assert allowed["optimiser.num_epochs"] == "integer >= 1"
