"""Damages files of models and opens them: python mutated_files.py FOLDER FIRST LAST

Prints a JSON line: how many were opened, how many refused, and what went wrong. Each case is printed before it is
tried, so that the one that ends the process is known. See tests/test_file_mutations.py.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import random
import resource
import sys
import warnings
import zipfile
from collections import Counter

import h5py
import numpy as np

import fastconv as keras
from fastconv import callbacks, layers, saving
from fastconv.models.data import ArrayBatches, Epochs
from fastconv.models.position import Position
from fastconv.saving import backup_file

SECONDS = 20  # for one file, on a busy machine
MEMORY = 2**30  # that opening them may take beside what the process has
NASTY = [
    *(
        None,
        True,
        -1,
        0,
        2**40,
        2**70,
        1e308,
        float("nan"),
        "",
        "x" * 5000,
        [],
        {},
        [[]],
        "../../../etc/passwd",
        "os.system",
    ),
    {"module": "os", "class_name": "system", "config": {"command": "touch executed"}, "registered_name": "os>system"},
    {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}},
    {"class_name": "function", "config": "eval", "module": "builtins"},
    {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", -5, 9]}},
]
CLASSES = [
    "Lambda",
    "TFSMLayer",
    "Sequential",
    "Functional",
    "Dense",
    "Conv2D",
    "BatchNormalization",
    "Add",
    "InputLayer",
]


def small(functional=False):
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 5, 2))
    stack = [layers.Conv2D(3, 2, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.2), layers.Flatten()]
    if functional:
        x = inputs
        for layer in stack[:3]:
            x = layer(x)
        inner = keras.Sequential([keras.Input(x.shape[1:]), layers.Conv2D(3, 1)], name="inner")
        x = layers.Dense(4)(layers.Flatten()(layers.Add()([x, inner(x)])))
        model = keras.Model(inputs, x)
    else:
        model = keras.Sequential([inputs, *stack, layers.Dense(4, activation="softmax")])
    model.compile("adam", "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_weights)
    return model


def begin_fit(model):
    """The model as it is when `fit` has just begun."""
    source = Epochs(ArrayBatches(np.zeros((9, 6, 5, 2)), np.zeros((9, 4)), batch_size=3, shuffle=True), None)
    run = callbacks.CallbackList([callbacks.EarlyStopping("loss")], model=model)
    model.position = Position(model, source, run, 0)


def base_files(folder):
    """{name of the file: (its bytes, what opens such a file)}"""
    model, graph = small(), small(True)
    files = {}
    for name, one in {"a.keras": model, "graph.keras": graph, "b.h5": model, "graph.h5": graph}.items():
        one.save(os.path.join(folder, name))
        files[name] = saving.load_model
    for name, one in {"c.weights.h5": model, "graph.weights.h5": graph, "d.h5": model, "e.safetensors": model}.items():
        one.save_weights(os.path.join(folder, "w" + name))
        files["w" + name] = loader(one)
    begin_fit(model)
    with open(os.path.join(folder, "backup.weights.h5"), "wb") as stream:
        stream.write(backup_file.to_bytes(model))
    files["backup.weights.h5"] = restorer(model)
    contents = {}
    for name in files:
        with open(os.path.join(folder, name), "rb") as stream:
            contents[name] = stream.read()
        os.remove(os.path.join(folder, name))
    return {name: (contents[name], opens) for name, opens in files.items()}


def state(model):
    drawn = [getattr(layer, key) for layer in model.layers for key in layer.random_state_keys]
    return [v.numpy().tobytes() for v in [*model.weights, *model.optimizer.variables]], drawn


def unchanged_where_refused(model, action):
    before = state(model)
    try:
        action()
    except Exception:
        assert state(model) == before, "the model was changed, though the file was refused"
        raise


def loader(model):
    return lambda path: unchanged_where_refused(model, lambda: model.load_weights(path))


def restorer(model):
    def restore(path):
        begin_fit(model)
        unchanged_where_refused(model, lambda: backup_file.restore(model, path))

    return restore


# Mutations.


def mutate(data: bytes, name: str, draw: random.Random) -> bytes:
    """The file with one kind of damage."""
    kinds = [flip_bits, overwrite, cut, double, flip_bits]
    if name.endswith(".keras"):
        kinds += [edit_zip] * 5
    elif name.endswith("h5"):
        kinds += [edit_hdf5] * 7
    else:
        kinds += [edit_header] * 3
    return draw.choice(kinds)(data, draw)


def flip_bits(data, draw):
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 8, 40])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def overwrite(data, draw):
    start, length = draw.randrange(len(data)), draw.choice([1, 4, 8, 64, 500])
    filling = draw.choice([b"\xff" * length, bytes(length), draw.randbytes(length)])
    return data[:start] + filling[: len(data) - start] + data[start + length :]


def cut(data, draw):
    start = draw.randrange(len(data))
    return data[:start] if draw.random() < 0.6 else data[:start] + data[start + draw.choice([1, 8, 512]) :]


def double(data, draw):
    start, length = draw.randrange(len(data)), draw.choice([1, 16, 512])
    return data[:start] + data[start : start + length] + data[start:]


def edit_json(value, draw):
    """The JSON value with something in it changed."""
    places = []

    def walk(node):
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(value)
    for _ in range(draw.choice([1, 1, 1, 3])):
        node, key = draw.choice(places)
        how = draw.random()
        if how < 0.5:
            node[key] = draw.choice(NASTY)
        elif how < 0.65 and isinstance(node, dict):
            node.pop(key, None)
        elif how < 0.8 and isinstance(node, list):
            node.extend(node[:] * draw.choice([1, 3]))
        elif "class_name" in node:
            node["class_name"] = draw.choice(CLASSES)
        else:
            other, place = draw.choice(places)
            if isinstance(other, dict) and place in other:
                node[key] = json.loads(json.dumps(other[place], default=str))
    return value


def edit_zip(data, draw):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    how = draw.random()
    if how < 0.6:
        members["config.json"] = json.dumps(edit_json(json.loads(members["config.json"]), draw)).encode()
    elif how < 0.85:
        members["model.weights.h5"] = edit_hdf5(members["model.weights.h5"], draw)
    else:
        victim = draw.choice(list(members))
        members[victim] = draw.choice([flip_bits, overwrite, cut])(members[victim], draw)
    if draw.random() < 0.1:
        members.pop(draw.choice(list(members)))
    members[draw.choice(["assets/x", "../../escaped", "/tmp/escaped", "model.weights.json"])] = b"x"
    packed = zipfile.ZIP_DEFLATED if draw.random() < 0.1 else zipfile.ZIP_STORED
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packed) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def edit_header(data, draw):
    """The JSON header of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(edit_json(json.loads(data[8 : 8 + length]), draw)).encode()
    claimed = draw.choice([len(header)] * 4 + [2**63, len(header) + 7])
    return claimed.to_bytes(8, "little") + header + data[8 + length :]


def edit_hdf5(data, draw):
    stream = io.BytesIO(data)
    with h5py.File(stream, "r+") as file:
        paths = []
        file.visit(paths.append)
        for _ in range(draw.choice([1, 1, 2])):
            with contextlib.suppress(RuntimeError, LookupError):  # in what a link has already led astray
                edit_object(file, draw.choice(paths), draw)
    return stream.getvalue()


def edit_object(file, path, draw):
    if path not in file:
        return
    here = file[path]
    if len(here.attrs) and draw.random() < 0.5:
        edit_attribute(here, draw.choice(list(here.attrs)), draw)
        return
    shape, dtype = getattr(here, "shape", (2,)), getattr(here, "dtype", np.dtype("float32"))
    how = draw.randrange(14)
    if how == 13:
        file.move(path, path + "x")
        return
    del file[path]
    if how == 0:
        file[path] = h5py.SoftLink(draw.choice(["/vars", "/etc/passwd", path]))
    elif how == 1:
        file[path] = h5py.ExternalLink(draw.choice(["/etc/passwd", "other.h5"]), "/")
    elif how == 2:
        file[path] = file["/"]  # a cycle
    elif how == 3:
        file.create_group(path)
    elif how == 4:
        file.create_dataset(path, (2**40,), "float32", chunks=(2**10,))
    elif how == 5:
        file.create_dataset(path, shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    elif how == 6:
        layout = h5py.VirtualLayout(shape, dtype)
        if shape:
            layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape)
        file.create_virtual_dataset(path, layout)
    elif how == 7:
        file.create_dataset(path, data=np.full(shape, b"text".decode(), object), dtype=h5py.string_dtype())
    elif how == 8:
        file.create_dataset(path, shape, dtype, chunks=shape or None, compression="gzip" if shape else None)
    elif how == 9:
        file.create_dataset(path, data=np.zeros((*shape, 2), dtype))
    elif how == 10:
        file.create_dataset(path, data=np.zeros(shape, [("a", "f4")]))
    elif how == 11:
        file.create_dataset(path, data=np.zeros(shape, draw.choice(["int8", "complex64", "float16", "bool", ">f4"])))
    elif how == 12 and shape:
        file.create_dataset(path, data=np.full(shape, file.ref, h5py.ref_dtype))


def edit_attribute(here, name, draw):
    value = here.attrs[name]
    if isinstance(value, str) and value[:1] in "{[" and draw.random() < 0.8:
        here.attrs[name] = json.dumps(edit_json(json.loads(value), draw))
        return
    choices = [
        *("../..", "", "[" * 100_000, "{}", 3, -1.5, np.zeros((3, 3)), b"\xff\xfe", np.array(["x", "/", ".."], "S")),
        *(np.array([], "S1"), np.full(3, here.ref, h5py.ref_dtype), h5py.Empty("f4"), np.zeros(2, [("a", "i4")])),
    ]
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO" and len(value):
        names = [one.decode() if isinstance(one, bytes) else one for one in value]
        draw.shuffle(names)
        choices += [np.array(names, "S")] * 4 + [np.array(names[:-1] or ["q"], "S"), np.array(names * 2, "S")]
    here.attrs[name] = draw.choice(choices)


# Opening.

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.", "ctypes.dlopen", "exec"),
    *("compile", "pickle.find_class", "marshal.loads", "code.__new__", "import"),
)


class Watch:
    """Notes what opening a file does that it must not do."""

    def __init__(self):
        self.on = False
        self.seen = []
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        if not self.on:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
            self.seen.append(f"open for writing {arguments[0]!r}")
        elif event.startswith(FORBIDDEN) and not (event == "import" and arguments[0] in sys.modules):
            self.seen.append(f"{event} {str(arguments)[:200]}")


def main(folder, first, last):
    os.chdir(folder)
    warnings.simplefilter("ignore")
    bases = base_files(folder)
    for name, (data, opens) in bases.items():  # what is imported on first use is imported now
        with open(name, "wb") as stream:
            stream.write(data)
        opens(os.path.join(folder, name))
        os.remove(name)
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    watch, outcomes, problems = Watch(), Counter(), []
    for case in range(first, last):
        draw = random.Random(case)
        name = sorted(bases)[case % len(bases)]
        data, opens = bases[name]
        print(f"case {case} {name}", flush=True)
        mutated = mutate(data, name, draw)
        path = os.path.join(folder, name)
        with open(path, "wb") as stream:
            stream.write(mutated)
        before = set(os.listdir(folder))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        watch.on = True
        try:
            opens(path)
            outcome = "opened"
        except (ValueError, OSError):
            outcome = "refused"
        except BaseException as error:  # noqa: BLE001  whatever else is a defect
            outcome = "failed"
            problems.append(f"case {case} {name}: {type(error).__name__}: {str(error)[:300]}")
        watch.on = False
        faulthandler.cancel_dump_traceback_later()
        outcomes[outcome] += 1
        if set(os.listdir(folder)) != before or os.path.exists(os.path.join(folder, "..", "escaped")):
            problems.append(f"case {case} {name}: it made files")
        problems += [f"case {case} {name}: {seen}" for seen in watch.seen]
        watch.seen.clear()
    print(json.dumps({"outcomes": outcomes, "problems": problems}))


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
