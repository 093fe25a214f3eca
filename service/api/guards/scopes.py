"""Which scope a request needs, by its path and method.

What is not listed here needs `admin`: a path that is added later is closed until it is listed.
"""

import re

OPEN: frozenset[str] = frozenset()
"""Needs no key. These paths say nothing of a model, an image or a client."""
ADMIN = frozenset({"admin"})

_OPEN_PATHS = frozenset({"/", "/docs", "/docs/guide", "/openapi.json"})
_OPEN_FOLDERS = ("/health/", "/v2/health/", "/playground/", "/docs/assets/", "/docs/guide/")
_ADMIN_FOLDERS = ("/v1/admin/", "/v2/repository/models/")
_CHANGED_FOLDERS = (*_ADMIN_FOLDERS, "/v1/models/")
"""Where calls that change what is served are; the last has others too."""
_ANY_OF_MODELS = frozenset({"infer", "explain", "admin"})
_MODELS = re.compile(r"/v1/models(/.*)?", re.DOTALL)
_INFER = frozenset({"infer"})
_BY_PATH = (
    (re.compile(r"/v1/explain|/v1/models/[^/]+/filters"), frozenset({"explain"})),
    (_MODELS, _ANY_OF_MODELS),
    (re.compile(r"/v2/models/.+/infer", re.DOTALL), _INFER),
    (re.compile(r"/v2(/models/.+|/repository/index)?", re.DOTALL), _ANY_OF_MODELS),
    (re.compile(r"/v1/(?!admin(/|$))[^/]+"), _INFER),
    (re.compile(r"(/v1/vision|/label-studio|/x-anylabeling)(/.*)?", re.DOTALL), _INFER),
    (re.compile(r"/kserve(/.*)?", re.DOTALL), _ANY_OF_MODELS),
    (re.compile(r"/metrics"), frozenset({"metrics"})),
)
_READS = frozenset({"GET", "HEAD"})
_PREDICTS = re.compile(r"(/kserve)?/v1/models/[^/]+(/versions/[0-9]+)?:predict")
"""Of KServe V1: a POST to the path of a model that changes nothing."""


def needed_scopes(method: str, path: str) -> frozenset[str]:
    """Return the scopes of which a key needs one; empty where no key is needed."""
    if is_open(path):
        return OPEN
    if method == "POST" and _PREDICTS.fullmatch(path):
        return _INFER
    if path.startswith(_ADMIN_FOLDERS) or (method not in _READS and _MODELS.fullmatch(path)):
        return ADMIN
    return next((scopes for pattern, scopes in _BY_PATH if pattern.fullmatch(path)), ADMIN)


def changes_models(method: str, path: str) -> bool:
    """Return whether a request changes what is served."""
    return path.startswith(_CHANGED_FOLDERS) and needed_scopes(method, path) is ADMIN


def is_open(path: str) -> bool:
    """Return whether a path needs no key: the pages, and what orchestrators ask."""
    return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS)
