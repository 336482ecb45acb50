"""No operation is called implemented that no end-to-end test calls."""

import ast
import json
import pathlib

from botocore import xform_name

HERE = pathlib.Path(__file__).resolve()


def called():
    """The names of all methods that the tests' sources call or mention as `client.name`."""
    trees = [ast.parse(path.read_text()) for path in HERE.parent.glob("*.py") if path != HERE]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_every_implemented_operation_is_called_by_a_test(gateway):
    operations = json.loads(gateway.request("GET", "/_warmpod/operations")[2])["lambda"]
    implemented = [operation for operation, there in operations.items() if there]
    assert len(implemented) >= 22
    seen = called()
    assert [operation for operation in implemented if xform_name(operation) not in seen] == []
