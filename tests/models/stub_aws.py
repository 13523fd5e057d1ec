"""Those AWS services that moto does not have, or has only in part, over real HTTP: the price list and the quotas.

They answer as https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html and
https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html say.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StubAws:
    """The state of the stub, which tests look at and change."""

    def __init__(self) -> None:
        self.prices: dict[tuple[str, str], float] = {}
        """USD an hour on demand, by region and instance type."""
        self.quotas: dict[str, float] = {}
        """vCPUs by the quota's code."""
        self.refusal: str | None = None
        """The code of every answer, where set, such as AccessDeniedException."""
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    def answer(self, target: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.requests.append((target, body))
        if self.refusal:
            return 400, {"__type": self.refusal, "message": "not authorized to perform this"}
        if target == "AWSPriceListService.GetProducts":
            wanted = {each["Field"]: each["Value"] for each in body["Filters"]}
            price = self.prices.get((wanted["regionCode"], wanted["instanceType"]))
            products = [] if price is None else [_describe_product(wanted, price), _describe_product(wanted, 0.0)]
            return 200, {"FormatVersion": "aws_v1", "PriceList": products}
        if target == "ServiceQuotasV20190624.GetServiceQuota":
            code = body["QuotaCode"]
            if code not in self.quotas:
                return 400, {"__type": "NoSuchResourceException", "message": f"no quota {code}"}
            return 200, {"Quota": {"QuotaCode": code, "ServiceCode": "ec2", "Value": self.quotas[code]}}
        return 400, {"__type": "UnknownOperationException", "message": target}


def _describe_product(wanted: dict[str, str], price: float) -> str:
    """One entry of the list. One with a price of 0 stands for capacity that is reserved and paid elsewhere."""
    rate = "JRTCKXETXF.6YS6EN2CT7"
    terms = {
        "OnDemand": {
            "SKU.JRTCKXETXF": {
                "offerTermCode": "JRTCKXETXF",
                "priceDimensions": {rate: {"unit": "Hrs", "pricePerUnit": {"USD": f"{price:.10f}"}}},
            }
        },
        "Reserved": {"SKU.38NPMPTW36": {"priceDimensions": {"x": {"unit": "Quantity", "pricePerUnit": {"USD": "9"}}}}},
    }
    return json.dumps({"product": {"attributes": wanted}, "serviceCode": "AmazonEC2", "terms": terms})


@contextmanager
def serve_aws() -> Iterator[StubAws]:
    """A stub that answers on `StubAws.url`."""
    stub = StubAws()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = stub.answer(self.headers.get("X-Amz-Target", ""), json.loads(content or b"{}"))
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
