"""What Airflow is told of the connection types: by its own schema, and by the hooks behind them."""

from __future__ import annotations

import importlib
import json
from importlib.resources import files

import jsonschema
import pytest

from include.provider_info import get_provider_info

INFO = get_provider_info()
TYPES = {entry["connection-type"]: entry for entry in INFO["connection-types"]}
FORM_FIELDS = {"host", "password", "login", "schema", "port", "extra", "description"}


def test_airflows_own_schema_takes_it():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)
    broken = {**INFO, "connection-types": [{"connection-type": "x"}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


@pytest.mark.parametrize("conn_type", TYPES)
def test_every_type_has_its_hook_and_every_field_is_an_extra_of_it(conn_type):
    from listkeeper.hooks.vendor import HTTP_EXTRAS

    entry = TYPES[conn_type]
    module, _, name = entry["hook-class-name"].rpartition(".")
    hook = getattr(importlib.import_module(module), name)
    assert (hook.conn_type, hook.hook_name) == (conn_type, entry["hook-name"])
    assert hook.default_conn_name == f"{conn_type}_default"
    assert set(entry["conn-fields"]) <= {*hook.own_extras, *HTTP_EXTRAS}
    behaviour = entry["ui-field-behaviour"]
    for names in (behaviour["hidden-fields"], behaviour["relabeling"], behaviour["placeholders"]):
        assert set(names) <= FORM_FIELDS
    assert {"host", "password"}.isdisjoint(behaviour["hidden-fields"])


@pytest.mark.parametrize("conn_type", TYPES)
def test_the_fields_are_json_schemas_that_may_stay_empty(conn_type):
    for field in TYPES[conn_type]["conn-fields"].values():
        jsonschema.Draft202012Validator.check_schema(field["schema"])
        jsonschema.validate(None, field["schema"])
        assert field["label"]


def test_airflow_finds_the_types(airflow_db):
    """By the two text files in the dist-info folder, which lies on the path."""
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    hooks = ProvidersManagerTaskRuntime().hooks
    assert {name: hooks[name].hook_class_name for name in TYPES} == {
        name: entry["hook-class-name"] for name, entry in TYPES.items()
    }
