"""Flower as people see it, in a browser: what its pages say of deployments, and what its buttons do to them."""

import json
import os
import re
import signal
import sys

import pytest
from playwright.sync_api import expect

from compose.browser import chromium
from tests.flow.conftest import Stage, flower_of

USER, PASSWORD = "operator", "correct horse"
PATIENCE = 20_000

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def flower(installation, client, engine, worker, images):
    """Flower with a password, from the moment that it hears the worker."""
    with flower_of(Stage(client, engine, installation), password=f"{USER}:{PASSWORD}") as ask:
        yield ask


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture
def page(browser, flower):
    """A window that is logged in; what goes wrong in it is printed where the test fails."""
    login = {"username": USER, "password": PASSWORD}
    context = browser.new_context(base_url=flower.url, http_credentials=login)
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(f"error in the page: {error}"))
    opened.on("requestfailed", lambda request: wrong.append(f"not answered: {request.url}: {request.failure}"))
    yield opened
    context.close()
    sys.stdout.write("\n".join(wrong))


@pytest.fixture
def slow(images):
    """An image that takes a minute to be proven, where it is told to."""
    return images("slow", "v1", command=["/bin/busybox", "sleep", "600"], healthcheck=None)


def found(page, search):
    """The rows of the task list that a search finds."""
    if not page.url.endswith("/tasks"):
        page.goto("/tasks")
    with page.expect_response(lambda answer: "datatable" in answer.url and _asks_for(answer.request, search)):
        page.locator("#tasks-table_filter input").fill(search)
    return page.locator("#tasks-table tbody tr")


def _asks_for(request, search):
    return request.post_data_json.get("search[value]") == search


def row(page, label):
    """What a task's page says beside a label."""
    return page.locator(".detail-row").filter(has=page.locator("dt", has_text=re.compile(f"^{label}$"))).locator("dd")


def names(rows):
    return set(rows.locator("td:first-child").all_inner_texts())


def of_step(step):
    return f"docker.deploy.{step}"


def test_nobody_gets_in_without_the_password(browser, flower):
    context = browser.new_context(base_url=flower.url)
    for path in ("/tasks", "/broker", "/api/tasks", "/api/workers"):
        answer = context.request.get(path)
        assert (answer.status, "docker." in answer.text()) == (401, False), path
    wrong = browser.new_context(base_url=flower.url, http_credentials={"username": USER, "password": "x"})
    assert wrong.new_page().goto("/tasks").status == 401
    context.close()
    wrong.close()


def test_a_deployment_reads_as_one_and_leads_to_its_steps(page, stage):
    done = stage.deploy("shop:v1")
    title = f"{stage.project}/staging {stage.installation.namespace}/shop:v1"
    mine = found(page, f"name:docker.deploy {stage.project}")
    expect(mine.filter(has_text=of_step("report"))).to_have_count(1)
    listed = mine.filter(has=page.get_by_role("link", name="docker.deploy", exact=True))
    expect(listed).to_contain_text(title)
    expect(listed).to_contain_text("SUCCESS")
    expect(mine.filter(has_text=title)).to_have_count(mine.count())

    listed.get_by_role("link", name=done["deployment_id"]).click()
    expect(row(page, "Arguments")).to_have_text(title)
    assert json.loads(row(page, "Result").inner_text())["ports"] == done["ports"]
    seconds = float(row(page, "Runtime").inner_text().removesuffix(" s"))
    assert sum(done["seconds"].values()) - 0.1 <= seconds < 30

    row(page, "Children").get_by_role("link").first.click()
    expect(row(page, "Name")).to_have_text(of_step("pull"))
    expect(row(page, "Arguments")).to_have_text(title)
    expect(row(page, "Root id")).to_contain_text(done["deployment_id"])


def test_a_deployment_and_its_steps_are_found_by_what_it_is_about(page, stage):
    done = stage.deploy("shop:v2")
    wanted = {"docker.deploy", *map(of_step, ["pull", "inspect", "create", "start", "prove", "promote", "report"])}
    image = f"{stage.installation.namespace}/shop:v2"
    for search in (done["deployment_id"], stage.project, f"kwargs:project={stage.project}", f"{stage.project} {image}"):
        rows = found(page, search)
        expect(rows.filter(has_text=of_step("report"))).to_have_count(1)
        assert names(rows) == wanted, search


def test_a_failed_one_says_why_in_the_contracts_words(page, stage):
    sent = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    error = sent.get(timeout=30, propagate=False)
    stopped = stage.send("docker.stop", container="nobody-has-this-name")
    missing = stopped.get(timeout=30, propagate=False)
    expect(found(page, f"{stage.project} name:report")).to_have_count(1)
    pull = found(page, f"{stage.project} name:{of_step('pull')}").locator("td:nth-child(6)").inner_text()
    for task_id, kind, sentence in (
        (sent.id, "ImageNotFound", error.args[0]),
        (pull, "ImageNotFound", error.args[0]),
        (stopped.id, "ContainerNotFound", missing.args[0]),
    ):
        page.goto(f"/task/{task_id}")
        expect(row(page, "Status")).to_have_text("FAILURE")
        expect(row(page, "Exception")).to_have_text(f"{kind}: {sentence}")
        expect(page.get_by_text("Traceback")).to_have_count(0)


def test_terminate_cancels_a_running_one_which_reads_as_that(page, stage, slow):
    before = stage.deploy("shop:v1")
    sent = stage.send("docker.deploy", **stage.deployment(slow, health={"stable": 60}))
    stage.until(lambda: stage.record(sent.id).get("step") == "prove")
    rows = found(page, f"{sent.id} name:{of_step('prove')}")
    expect(rows).to_have_count(1)
    page.goto(f"/task/{sent.id}")
    expect(row(page, "Status")).to_have_text("STARTED")
    expect(row(page, "Result")).to_have_text("step prove")

    page.get_by_role("button", name="Terminate").click()
    expect(page.get_by_role("status")).to_contain_text(sent.id)
    error = sent.get(timeout=20, propagate=False)
    assert type(error).__name__ == "DeploymentCancelled"
    # Flower's page loads itself anew some seconds later.
    expect(row(page, "Status")).to_have_text("REVOKED")
    expect(row(page, "Exception")).to_have_text(f"DeploymentCancelled: {error.args[0]}")
    expect(page.get_by_role("button", name="Terminate")).to_have_count(0)
    assert [each["Id"] for each in stage.containers()] == [before["container_id"]]


def test_one_that_a_newer_one_took_the_place_of_reads_as_that(page, stage, slow):
    running = stage.send("docker.deploy", **stage.deployment(slow, health={"stable": 60}))
    stage.until(lambda: stage.record(running.id).get("step") == "prove")
    waiting = stage.send("docker.deploy", **stage.deployment("shop:v1"))
    stage.until(lambda: stage.record(waiting.id).get("step") == "expire")
    last = stage.send("docker.deploy", **stage.deployment("shop:v2"))
    waiting.get(timeout=20, propagate=False)
    stage.ask("docker.cancel", deployment_id=running.id)
    assert last.get(timeout=30)["state"] == "live"
    page.goto(f"/task/{waiting.id}")
    expect(row(page, "Status")).to_have_text("REVOKED")
    expect(row(page, "Exception")).to_contain_text("DeploymentSuperseded: ")


def test_the_broker_page_has_all_lanes_and_what_waits_in_them(page, stage, worker):
    here = f"dw.{stage.installation.namespace}.local"
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        waiting = [stage.send("docker.list") for _ in range(5)]
        page.goto("/broker")
        expect(page.locator("tbody tr td:first-child")).to_have_text(["celery", here, f"{here}/pulls", f"{here}/quick"])
        shared, *others = map(int, page.locator("tbody tr td:nth-child(2)").all_inner_texts())
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    # Redis gives one of them to whoever waits for the next.
    assert (shared >= 4, others) == (True, [0, 0, 0])
    assert all(each.get(timeout=30) for each in waiting)


def test_the_workers_buttons_do_no_harm(page, stage):
    page.goto("/workers")
    page.locator("#workers-table .worker-name-link").first.click()
    page.get_by_role("tab", name="Pool").click()
    for button in ("#worker-pool-grow", "#worker-pool-shrink", "#worker-pool-autoscale"):
        page.locator(button).click()
        expect(page.get_by_role("alert").last).to_be_visible()
    page.get_by_role("tab", name="Queues").click()
    expect(page.locator("#tab-queues tbody tr")).to_have_count(4)
    assert stage.deploy("shop:v1")["state"] == "live"
