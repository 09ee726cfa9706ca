"""The guides: pages for people, written in Markdown under service/docs."""

from service.api.guide.serving import Guide

__all__ = ["Guide"]
