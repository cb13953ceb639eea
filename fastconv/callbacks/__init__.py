"""Callbacks with Keras's names, arguments and rules."""

from fastconv.callbacks.callback import Callback, CallbackList, History

__all__ = ["Callback", "CallbackList", "History"]
