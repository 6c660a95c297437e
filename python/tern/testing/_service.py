"""What the server does around a script, in both generations: custom attributes, the model's address, falcon's errors."""

import json
import re
from typing import Dict, List, Mapping, Optional, Tuple
from xml.sax.saxutils import escape

GENERATIONS = ("2.19", "2.20")
_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")

_STATUSES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
             406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict", 411: "Length Required", 412: "Precondition Failed",
             413: "Payload Too Large", 415: "Unsupported Media Type", 422: "Unprocessable Entity", 424: "Failed Dependency",
             429: "Too Many Requests", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
             503: "Service Unavailable", 504: "Gateway Timeout", 507: "Insufficient Storage"}


class Refused(Exception):
    """A request that does not reach the script: its answer."""

    def __init__(self, status: int, content_type: str, body: bytes) -> None:
        super().__init__(status)
        self.status, self.content_type, self.body = status, content_type, body


def read_attributes(field: Optional[str], generation: str) -> Dict[str, str]:
    """Of X-Amzn-SageMaker-Custom-Attributes what begins with tfs-. Up to 2.19 a second '=' is an error nobody catches."""
    found: Dict[str, str] = {}
    for item in re.findall(r"tfs-[a-z\-]+=[^,]+", field or ""):
        parts = item.split("=") if generation == "2.19" else item.split("=", 1)
        if len(parts) != 2:
            raise ValueError(item)
        found[parts[0]] = parts[1]
    return found


def model_path(attributes: Mapping[str, str], default: str, generation: str, several: bool = False) -> str:
    """The path in context.rest_uri; raises Refused for what 2.20 does not let through. Of several models it is the default."""
    name = default if several else attributes.get("tfs-model-name") or default
    version, method = attributes.get("tfs-model-version"), attributes.get("tfs-method", "predict")
    if generation != "2.19":
        fault = None
        if "tfs-model-name" in attributes and not _NAME.match(attributes["tfs-model-name"]):
            fault = "invalid tfs-model-name"
        elif version is not None and not re.match(r"^\d+$", version):
            fault = "invalid tfs-model-version: must be a positive integer"
        elif method not in ("predict", "classify", "regress"):
            fault = "invalid tfs-method: must be one of predict|classify|regress"
        if fault is not None:
            raise Refused(400, "application/json", json.dumps({"error": fault}).encode())
    return f"/v1/models/{name}" + (f"/versions/{version}" if version else "") + f":{method}"


def status_line(status: int) -> str:
    return f"{status} {_STATUSES.get(status, 'Unknown')}"


def _ranges(accept: str) -> List[Tuple[str, str, float]]:
    found = []
    for part in filter(str.strip, accept.split(",")):
        kind, *parameters = [piece.strip() for piece in part.split(";")]
        kind = "*/*" if kind == "*" else kind
        if kind.count("/") != 1:
            raise ValueError(kind)
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    quality = float(value.strip().strip('"'))
                except ValueError:
                    quality = 1.0
                quality = quality if 0 <= quality <= 1 else 1.0
        main, sub = kind.split("/")
        found.append((main.strip(), sub.strip(), quality))
    return found


def error_form(accept: Optional[str]) -> Optional[str]:
    """The media type in which falcon writes an error for an Accept field, or None for an empty body."""
    if not accept:
        return "application/json"
    best: Tuple[float, int, int] = (0.0, -1, -1)
    offered = ("application/xml", "text/xml", "application/json")  # of equals the last one
    try:
        ranges = _ranges(accept)
    except ValueError:
        ranges = []
    for place, kind in enumerate(offered):
        main, sub = kind.split("/")
        fits = [((main == r[0]) * 100 + (sub == r[1]) * 10, r[2]) for r in ranges if r[0] in (main, "*") and r[1] in (sub, "*")]
        if fits:
            fit, quality = max(fits, key=lambda pair: pair[0])
            best = max(best, (quality, fit, place))
    if best[0] > 0:
        return offered[best[2]]
    lower = accept.lower()
    return "application/json" if "+json" in lower else "application/xml" if "+xml" in lower else None


def falcon_error(status: int, title: str, description: Optional[str], accept: Optional[str]) -> Tuple[str, bytes]:
    """(content type, body) of an error."""
    form = error_form(accept)
    if form is None:
        return "application/json", b""
    if form == "application/json":
        told = {"title": title} if description is None else {"title": title, "description": description}
        return form, json.dumps(told).encode()
    text = "".join(f"<{name}>{escape(value)}</{name}>" if value else f"<{name} />"
                   for name, value in (("title", title), ("description", description)) if value is not None)
    return form, f'<?xml version="1.0" encoding="UTF-8"?><error>{text}</error>'.encode()
