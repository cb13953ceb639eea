"""Callbacks with Keras's names, arguments and rules."""

from fastconv.callbacks.backup_and_restore import BackupAndRestore
from fastconv.callbacks.callback import Callback, History
from fastconv.callbacks.callback_list import CallbackList
from fastconv.callbacks.csv_logger import CSVLogger
from fastconv.callbacks.early_stopping import EarlyStopping
from fastconv.callbacks.lambda_callback import LambdaCallback
from fastconv.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from fastconv.callbacks.model_checkpoint import ModelCheckpoint
from fastconv.callbacks.progbar_logger import ProgbarLogger
from fastconv.callbacks.swap_ema_weights import SwapEMAWeights
from fastconv.callbacks.tensorboard import TensorBoard
from fastconv.callbacks.terminate_on_nan import TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
