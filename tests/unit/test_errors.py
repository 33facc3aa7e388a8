"""Errors must come out of Celery's JSON result backend as they went in."""

import json

import pytest
from celery import Celery

from worker import errors
from worker.errors import DeploymentError, Permanent, Transient

CONTRACT = {
    "SpecInvalid",
    "PolicyDenied",
    "CredentialMissing",
    "ImageNotFound",
    "PullDenied",
    "RegistryUnavailable",
    "NameConflict",
    "PortInUse",
    "NetworkNotFound",
    "ContainerNotFound",
    "NotManaged",
    "StartFailed",
    "Unhealthy",
    "EngineUnavailable",
    "DeadlineExceeded",
    "DeploymentCancelled",
    "DeploymentSuperseded",
    "CutoverFailed",
    "DiskFull",
}


def test_there_is_a_class_for_each_error_of_the_contract():
    assert {each.__name__ for each in errors.KINDS} == CONTRACT


@pytest.mark.parametrize("kind", errors.KINDS)
def test_an_error_survives_the_result_backend(kind):
    backend = Celery(backend="cache+memory://", set_as_current=False).backend
    stored = json.loads(json.dumps(backend.prepare_exception(kind("Pulling x failed.", {"image": "x"}), "json")))
    back = backend.exception_to_python(stored)
    assert type(back) is kind
    assert (str(back), back.facts) == ("Pulling x failed.", {"image": "x", "retryable": kind.is_transient})


@pytest.mark.parametrize("kind", errors.KINDS)
def test_an_error_survives_the_record(kind):
    back = DeploymentError.from_json(kind("Pulling x failed.", {"image": "x"}).to_json())
    assert (type(back), back.args) == (kind, kind("Pulling x failed.", {"image": "x"}).args)


def test_only_what_is_out_of_reach_is_worth_a_retry():
    assert {each.__name__ for each in errors.KINDS if each.is_transient} == {"EngineUnavailable", "RegistryUnavailable"}
    assert all(issubclass(each, Transient if each.is_transient else Permanent) for each in errors.KINDS)


def test_a_failure_that_knows_better_than_its_kind_says_so():
    error = errors.CutoverFailed("Away.", {"retryable": True})
    assert error.retryable
    assert DeploymentError.from_json(error.to_json()).retryable


def test_further_facts_do_not_overwrite_what_an_error_says():
    error = errors.StartFailed("No.", {"step": "start"}).with_facts(step="prove", exit_code=3)
    assert (error.facts["step"], error.facts["exit_code"]) == ("start", 3)
