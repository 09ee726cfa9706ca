"""Where bugs are told of by what has to go on in spite of them."""

import asyncio


def report(what: str, error: BaseException) -> None:
    """Hand an unexpected error to the event loop, which logs it with its traceback."""
    asyncio.get_running_loop().call_exception_handler({"message": what, "exception": error})
