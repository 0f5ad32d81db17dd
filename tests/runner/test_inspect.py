"""The inventory, for users."""
from __future__ import annotations

import json

import pytest
import tenfold


def test_every_layer_is_listed_with_its_cost_and_what_applies(tiny_file):
    report = tenfold.inspect(tiny_file)
    conv, fc = report
    assert (conv.layer.name, conv.layer.macs, conv.layer.params) == ("conv", 8 * 27 * 64, 8 * 27)
    assert (fc.layer.name, fc.layer.macs, fc.layer.params) == ("fc", 640, 640)
    assert conv.share == pytest.approx(13824 / 14464) and conv.share + fc.share == pytest.approx(1)
    assert conv.methods[:3] == ("spatial_svd", "channel_svd", "tucker2") and {"cp", "decoupled"} < set(conv.methods)
    assert fc.methods == ("svd",)
    assert conv.reason is None
    assert (report.macs, report.params) == (14464, 8 * 27 + 8 + 640 + 5)


def test_json_holds_the_same(tiny_file):
    report = tenfold.inspect(tiny_file)
    content = json.loads(report.to_json())
    assert content["macs"] == report.macs and content["sha256"] == report.sha256
    assert [layer["name"] for layer in content["layers"]] == ["conv", "fc"]
    assert content["layers"][0]["weight_shape"] == [8, 3, 3, 3] and content["layers"][0]["methods"] == list(report.layers[0].methods)
