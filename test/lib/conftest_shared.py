"""Fixtures of the cli and e2e parts; their conftest.py take everything from here."""
import os, shutil, sys, tempfile
import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import qmt


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
	outcome = yield
	setattr(item, "report_" + outcome.get_result().when, outcome.get_result())


@pytest.fixture
def house(request):
	top = tempfile.mkdtemp(prefix="qmt-test-")
	house = qmt.House(top)
	yield house
	house.close()
	if getattr(request.node, "report_call", None) is None or request.node.report_call.failed:
		house.report()
	shutil.rmtree(top, ignore_errors=True)
