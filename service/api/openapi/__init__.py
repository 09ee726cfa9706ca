"""The API described: an OpenAPI document made of routes, models and tables, and a page of it."""

from service.api.openapi.serving import Reference

__all__ = ["Reference"]
