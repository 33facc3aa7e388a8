from worker.engine import PullProgress


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
