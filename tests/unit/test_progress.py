from worker.engine import PullProgress
from worker.engine.image import Layer


def downloading(layer, current, total):
    return {"status": "Downloading", "id": layer, "progressDetail": {"current": current, "total": total}}


def test_bytes_of_all_layers_are_added_up():
    progress = PullProgress()
    for line in (
        {"status": "Pulling from acme/shop", "id": "1"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "a"},
        downloading("a", 10, 100),
        downloading("b", 5, 50),
        downloading("a", 60, 100),
        {"status": "Extracting", "id": "b", "progressDetail": {"current": 1, "total": 50}},
    ):
        progress.take(line)
    assert (progress.current, progress.total) == (65, 150)


def test_a_layer_that_is_complete_counts_in_full():
    progress = PullProgress()
    progress.take(downloading("a", 10, 100))
    progress.take({"status": "Download complete", "id": "a", "progressDetail": {}})
    assert (progress.current, progress.total) == (100, 100)


def test_it_is_known_which_layers_the_engine_is_at():
    progress = PullProgress()
    for line in (
        {"status": "Pulling from acme/shop", "id": "v1"},
        {"status": "Already exists", "progressDetail": {}, "id": "base"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "a"},
        {"status": "Waiting", "progressDetail": {}, "id": "b"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "c"},
        downloading("a", 10, 100),
        downloading("c", 1, 7),
        {"status": "Download complete", "id": "a", "progressDetail": {}},
        {"status": "Extracting", "id": "a", "progressDetail": {"current": 50, "total": 100}},
    ):
        progress.take(line)
    assert (progress.layers, progress.layers_done) == (4, 1)
    assert progress.at_work(9) == [Layer("c", "downloading", 1, 7), Layer("a", "extracting", 50, 100)]
    assert progress.at_work(1) == [Layer("c", "downloading", 1, 7)]
    progress.take({"status": "Pull complete", "id": "a", "progressDetail": {}})
    assert (progress.layers_done, [each.id for each in progress.at_work(9)]) == (2, ["c"])


def test_layers_without_figures_are_counted():
    progress = PullProgress()
    progress.take({"status": "Extracting", "id": "a", "progressDetail": None})
    assert progress.at_work(9) == [Layer("a", "extracting", 0, 0)]
