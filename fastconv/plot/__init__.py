"""Pictures of training and of what a network has learned, drawn by matplotlib (`pip install 'fastconv[plot]'`).

    from fastconv import plot

    plot.history(model.fit(...), save="curves.png")
    plot.confusion(y_test, model.predict(x_test))
    plot.filters(model)
    plot.feature_maps(model, "conv2d", x_test[0])

Each function returns a matplotlib figure, a new one or that of `ax`. A notebook shows it by itself (end the line with a
semicolon, or it does so twice); elsewhere call `matplotlib.pyplot.show()`, or give `save=`.
"""

from fastconv.plot.confusion_matrix import confusion
from fastconv.plot.curves import history
from fastconv.plot.maps import feature_maps, filters

__all__ = ["confusion", "feature_maps", "filters", "history"]
