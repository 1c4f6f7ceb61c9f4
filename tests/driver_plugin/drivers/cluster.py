"""A small stand-in of the Kubernetes API: volume claims of one namespace."""

from dataclasses import dataclass, field

from aiohttp import web

from tests.driver_plugin.drivers.pipelines import Json
from tests.driver_plugin.drivers.stack import NAMESPACE


@dataclass
class Cluster:
    """Claims by name, and the requests that came in."""

    claims: dict[str, Json] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    failure: int | None = None

    def app(self) -> web.Application:
        app = web.Application()
        base = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
        app.router.add_post(base, self._create)
        app.router.add_get(base + "/{name}", self._get)
        app.router.add_delete(base + "/{name}", self._delete)
        return app

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body["metadata"]["name"]
        self.requests.append(f"POST {name}")
        if self.failure is not None:
            return web.json_response({"message": "quota exceeded"}, status=self.failure)
        if name in self.claims:
            return web.json_response({"message": "already exists"}, status=409)
        self.claims[name] = body
        return web.json_response(body, status=201)

    async def _get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.requests.append(f"GET {name}")
        if name not in self.claims:
            return web.json_response({"message": "not found"}, status=404)
        return web.json_response(self.claims[name])

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.requests.append(f"DELETE {name}")
        if self.claims.pop(name, None) is None:
            return web.json_response({"message": "not found"}, status=404)
        return web.json_response({})
