"""The stand-ins for tensorflow_serving.apis and tensorflow: found only where the real ones are not, and equal to them."""
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
DESCRIPTORS = HERE.parent / "tern" / "serving_stubs" / "descriptors.bin"
needs_protobuf = pytest.mark.skipif(importlib.util.find_spec("google.protobuf") is None, reason="no protobuf")
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("tensorflow_serving") is None,
    reason="no tensorflow and tensorflow-serving-api to compare with")


def python(*arguments, text=None):
    """Runs Python in a process of its own and returns what it printed."""
    done = subprocess.run([sys.executable, "-W", "ignore", *map(str, arguments)], cwd=HERE, input=text, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}", "TF_CPP_MIN_LOG_LEVEL": "3"},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def script(*lines, hide=()):
    """Runs lines with the stand-ins installed and packages hidden."""
    first = ["import sys", "import hidden", f"hidden.hide(*{tuple(hide)!r})", "import tern.serving_stubs as stubs", "stubs.install()"]
    return python("-c", "\n".join([*first, *lines])).strip()


BOTH = ("tensorflow", "tensorflow_serving")


@pytest.fixture(scope="module")
def real():
    return json.loads(python("tensor_cases.py", "real"))


@needs_tensorflow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("hidden_too", [[], ["tensorflow_serving"]])
def test_tensors_types_and_shapes_are_as_tensorflows(real, hidden_too):
    light = json.loads(python("tensor_cases.py", "light", *hidden_too))
    assert {name: (value, light.get(name)) for name, value in real.items() if value != light.get(name)} == {}
    assert len(light) == len(real) > 9000


# What Tern's proto files leave out, or write otherwise, of the originals.
KNOWN = {
    "tensorflow.VariantTensorDataProto.tensors",  # may nest without end; kept as an unknown field
    "tensorflow.TensorInfo.CompositeTensor.type_spec", "tensorflow.TensorInfo.CompositeTensor.components",  # likewise
    "tensorflow/core/protobuf/error_codes.proto", "tensorflow.error.Code",  # a file that hands on another; a value not to be used
    "tensorflow.serving.PredictRequest.predict_streamed_options", "tensorflow.serving.PredictRequest.client_id",  # language models
    "tensorflow.serving.PredictRequest.request_options",
    *(f"tensorflow.serving.FileSystemStoragePathSourceConfig.{name}"  # only its policy is part of a model's configuration
      for name in ("servables", "file_system_poll_wait_seconds", "fail_if_zero_versions_at_startup",
                   "servable_versions_always_present")),
    "tensorflow.serving.PerTaskSamplingConfig.task_index",  # optional there
}


@needs_tensorflow
def test_descriptors_are_as_the_originals():
    files, different = json.loads(python("descriptor_cases.py", DESCRIPTORS))
    assert files >= 20
    assert {name for name, _, _ in different} == KNOWN, different


@pytest.mark.skipif(shutil.which("protoc") is None, reason="no protoc")
def test_descriptors_are_made_from_the_proto_files(tmp_path):
    tool = HERE.parents[1] / "tools" / "stubs.py"
    if not tool.exists():
        pytest.skip("not in the project's tree")
    python(tool, tmp_path / "new.bin")
    assert (tmp_path / "new.bin").read_bytes() == DESCRIPTORS.read_bytes(), "run tools/stubs.py"


@needs_tensorflow
def test_real_packages_win():
    for name in BOTH:
        origin = script(f"import importlib.util; print(importlib.util.find_spec({name!r}).origin)")
        assert "serving_stubs" not in origin
    # Of a real tensorflow nothing comes from here, not even what it does not have.
    assert script("try:\n    import tensorflow.contrib\nexcept ImportError as error:\n    print(type(error).__name__)",
                  "print('tensorflow.python' in sys.modules)") == "ModuleNotFoundError\nTrue"


@needs_tensorflow
@pytest.mark.parametrize("hide", [["tensorflow"], ["tensorflow_serving"], BOTH])
def test_any_mixture_of_real_and_light(hide):
    said = script(
        "import numpy, tensorflow as tf",
        "from tensorflow_serving.apis import (predict_pb2, prediction_service_pb2, prediction_service_pb2_grpc, classification_pb2,",
        "    regression_pb2, inference_pb2, input_pb2, model_pb2, get_model_metadata_pb2, get_model_status_pb2, model_service_pb2,",
        "    model_service_pb2_grpc, model_management_pb2, status_pb2, logging_pb2)" if "tensorflow_serving" not in hide else
        "    model_service_pb2_grpc, model_management_pb2, status_pb2)",
        "from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2",
        "from tensorflow.core.example import example_pb2, feature_pb2",
        "request = predict_pb2.PredictRequest()",
        "request.model_spec.name = 'm'",
        "request.model_spec.version.value = 3",
        "request.inputs['x'].CopyFrom(tf.make_tensor_proto(numpy.arange(6.0).reshape(2, 3), tf.float32))",
        "assert isinstance(request.inputs['x'], tensor_pb2.TensorProto)",
        "assert types_pb2.DT_FLOAT == 1 == tf.float32.as_datatype_enum",
        "given = input_pb2.Input()",
        "given.example_list.examples.add().features.feature['a'].int64_list.value.append(1)",
        "assert isinstance(given.example_list.examples[0], tf.train.Example)",
        "assert predict_pb2.PredictRequest.__module__ == 'tensorflow_serving.apis.predict_pb2'",
        "light = [name for name in ('tensorflow', 'tensorflow_serving') if 'serving_stubs' in (sys.modules[name].__file__ or '')]",
        "print(request.SerializeToString(deterministic=True).hex(), *light)",
        hide=hide).split()
    tensor = "0801" + "1208120208021202" + "0803" + "2218" + "000000000000803f0000004000004040000080400000a040"
    assert said == ["0a070a016d12020803" + "122b" + "0a0178" + "1226" + tensor, *hide]


@needs_protobuf
def test_grpc_services_both_ways():
    pytest.importorskip("grpc")
    assert script(
        "import concurrent.futures, grpc",
        "from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc as services, model_service_pb2_grpc",
        "class Service(services.PredictionServiceServicer):",
        "    def Predict(self, request, context):",
        "        answer = predict_pb2.PredictResponse()",
        "        answer.model_spec.name = request.model_spec.name.upper()",
        "        return answer",
        "server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))",
        "services.add_PredictionServiceServicer_to_server(Service(), server)",
        "port = server.add_insecure_port('localhost:0')",
        "server.start()",
        "with grpc.insecure_channel(f'localhost:{port}') as channel:",
        "    stub = services.PredictionServiceStub(channel)",
        "    request = predict_pb2.PredictRequest()",
        "    request.model_spec.name = 'name'",
        "    print(stub.Predict(request, 30).model_spec.name, stub.Predict.future(request, timeout=30).result().model_spec.name)",
        "    try: services.PredictionServiceStub(channel).Classify(__import__('tensorflow_serving.apis.classification_pb2',",
        "        fromlist=['x']).ClassificationRequest(), timeout=30)",
        "    except grpc.RpcError as error: print(error.code().name)",
        "    print(sorted(name for name in vars(model_service_pb2_grpc.ModelServiceStub(channel))))",
        "server.stop(None)",
        hide=BOTH) == "NAME NAME\nUNIMPLEMENTED\n['GetModelStatus', 'HandleReloadConfigRequest']"


def test_what_is_not_there_says_so():
    said = script(
        "import tensorflow as tf",
        "for statement in ('tf.keras', 'tf.image.resize', 'from tensorflow import keras', 'import tensorflow.keras',",
        "                  'from tensorflow_serving.apis import nothing_pb2', 'tf.io.gfile.rename', 'tf.__path_of_nothing__'):",
        "    try: exec(statement)",
        "    except Exception as error: print(type(error).__name__, str(error)[:110])",
        hide=BOTH).splitlines()
    assert [line.split()[0] for line in said] == ["AttributeError", "AttributeError", "ImportError", "ModuleNotFoundError", "ImportError",
                                                  "AttributeError", "AttributeError"]
    assert "tensorflow.keras: TensorFlow is not installed" in said[0] and "tensorflow.io.gfile.rename" in said[5]


def test_nothing_heavy_is_imported_before_it_is_needed():
    assert script(
        "import tensorflow as tf, tensorflow_serving.apis",
        "print(tf.float32, tf.float32 == 'float32', tf.int64.name, tf.__version__.split('.')[0], 'train' in dir(tf))",
        "for name in ('make_tensor_proto', 'train'):",
        "    try: getattr(tf, name)([1]) if name.startswith('make') else getattr(tf, name).Example",
        "    except ImportError as error: print(error.name)",
        hide=[*BOTH, "numpy", "google", "grpc", "ml_dtypes"]) == "<dtype: 'float32'> True int64 2 True\ngoogle\ngoogle"


@needs_protobuf
def test_small_floats_without_ml_dtypes():
    pytest.importorskip("numpy")
    assert "ml_dtypes" in script(
        "import tensorflow as tf",
        "print(tf.make_ndarray(tf.make_tensor_proto([1.5])).tolist())",
        "try: tf.make_tensor_proto([1.5], dtype=tf.bfloat16)",
        "except TypeError as error: print(error)",
        hide=[*BOTH, "ml_dtypes"])


def test_install_twice_and_uninstall():
    assert script(
        "stubs.install()",
        "count = len([finder for finder in sys.meta_path if type(finder).__module__ == 'tern.serving_stubs'])",
        "last = type(sys.meta_path[-1]).__module__",
        "stubs.uninstall(); stubs.uninstall()",
        "try: import tensorflow",
        "except ImportError: print(count, last)",
        hide=BOTH) == "1 tern.serving_stubs"


def test_the_environment_keeps_them_out(monkeypatch):
    monkeypatch.setenv("TERN_SERVING_STUBS", "0")
    assert script("try: import tensorflow", "except ImportError: print('not there')", hide=BOTH) == "not there"


def test_local_files(tmp_path):
    (tmp_path / "labels.txt").write_text("één\n", encoding="utf-8")
    assert script(
        "import tensorflow as tf",
        f"place = {str(tmp_path)!r}",
        "with tf.io.gfile.GFile(place + '/labels.txt') as text: print(ascii(text.read().strip()))",
        "with tf.io.gfile.GFile(place + '/labels.txt', 'rb') as data: print(len(data.read()))",
        "print(tf.io.gfile.exists(place), tf.io.gfile.isdir(place + '/labels.txt'), tf.io.gfile.listdir(place))",
        "print([name[-10:] for name in tf.io.gfile.glob(place + '/*.txt')])",
        hide=BOTH).splitlines() == [r"'\xe9\xe9n'", "6", "True False ['labels.txt']", "['labels.txt']"]
